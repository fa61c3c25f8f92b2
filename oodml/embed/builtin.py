"""Encoders without weights: `oodml:pixels` and `oodml:hog`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oodml.embed.images import SpecTransform
from oodml.embed.spec import Encoder, EncoderSpec
from oodml.errors import UnknownNameError
from oodml.registry import Name

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class PlainEncoder:
    """An encoder that is a function of the pixels alone."""

    spec: EncoderSpec
    function: Callable[[torch.Tensor], torch.Tensor]

    @property
    def transform(self) -> SpecTransform:
        return SpecTransform(self.spec)

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        return self.function(batch.float() / 255)


def open_builtin(name: Name) -> Encoder:
    """`oodml:pixels` or `oodml:hog`, either with `?size=S`."""
    size = name.resolve({"size": 32})["size"]
    if name.argument == "pixels":
        if size < 1:
            raise UnknownNameError(f"{name.text!r}: size is {size}; expected 1 or more.")
        return _plain(name, size, arch="oodml:pixels/1", dim=size * size, function=_pixels)
    if name.argument == "hog":
        if size < 16 or size % _CELL:
            raise UnknownNameError(
                f"{name.text!r}: size is {size}; expected a multiple of 8 from 16."
            )
        blocks = size // _CELL - 1
        dim = blocks * blocks * 4 * _BINS
        return _plain(name, size, arch="oodml:hog/1", dim=dim, function=orientation_histograms)
    raise UnknownNameError(f"{name.text!r} is not built in; there are oodml:hog and oodml:pixels.")


def _plain(
    name: Name, size: int, *, arch: str, dim: int, function: Callable[[torch.Tensor], torch.Tensor]
) -> Encoder:
    spec = EncoderSpec(
        name=name.text, arch=arch, dim=dim, size=size, mode="L", licence="Apache-2.0"
    )
    return PlainEncoder(spec, function)


def _pixels(images: torch.Tensor) -> torch.Tensor:
    return images.flatten(1)


_CELL = 8
_BINS = 9


def orientation_histograms(images: torch.Tensor) -> torch.Tensor:
    """Histograms of oriented gradients of `(b, 1, s, s)` images: `(b, (s/8 - 1)^2 * 36)`.

    Cells of 8 x 8 pixels, 9 unsigned orientations with linear voting between neighbouring bins,
    overlapping blocks of 2 x 2 cells normalised to length 1, clipped at 0.2 and normalised again
    (Dalal and Triggs, CVPR 2005).
    """
    import torch
    from torch.nn import functional

    padded = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    dx = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    dy = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    votes = torch.hypot(dx, dy)
    turn = torch.remainder(torch.atan2(dy, dx) / math.pi, 1.0) * _BINS - 0.5
    lower = torch.floor(turn)
    share = turn - lower
    planes = votes.new_zeros((len(images), _BINS, *images.shape[2:]))
    first = torch.remainder(lower, _BINS).long()
    planes.scatter_add_(1, first, votes * (1 - share))
    planes.scatter_add_(1, torch.remainder(first + 1, _BINS), votes * share)
    cells = functional.avg_pool2d(planes, _CELL)
    blocks = functional.unfold(cells, kernel_size=2).transpose(1, 2)  # (b, blocks, 36)
    blocks = functional.normalize(blocks, dim=2, eps=1e-3).clamp(max=0.2)
    return functional.normalize(blocks, dim=2, eps=1e-3).flatten(1)
