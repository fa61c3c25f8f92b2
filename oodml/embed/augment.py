"""Crops of images for training, as a pure function of seed and step, and for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from oodml.embed.images import Frame, shorter_side
from oodml.embed.reading import reader_pool
from oodml.embed.resize import resize_into, rows_for

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]
ATTEMPTS = 10  # torchvision's


@dataclass(frozen=True, slots=True)
class CropRule:
    """Which crops are drawn: shares of the area, ratios of width to height, chance of a flip."""

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5


def training_crops(
    images: Sequence[Array],
    size: int,
    *,
    seed: int,
    step: int,
    first: int = 0,
    rule: CropRule | None = None,
) -> torch.Tensor:
    """A random crop of every image `(h, w, 3)`, half of them flipped: `(b, 3, size, size)` uint8.

    The same for the same seed and step, and for image j whatever comes after it; `first` is the
    place of the first one in a batch of which these are a part. The crops are drawn as
    torchvision's RandomResizedCrop draws them, and resized as it does.
    """
    rule = rule or CropRule()
    rng = np.random.default_rng([seed, step, 2])  # not the numbers that drew the batch
    draws = rng.random((first + len(images), 4 * ATTEMPTS + 1))[first:]
    boxes = [
        crop_box(image.shape[0], image.shape[1], draw[:-1].reshape(ATTEMPTS, 4), rule)
        for image, draw in zip(images, draws, strict=True)
    ]
    flips = draws[:, -1] < rule.flip

    def crop(out: Array, j: int) -> None:
        top, left, height, width = boxes[j]
        part = _resized(images[j][top : top + height, left : left + width], size)
        out[:] = part[:, ::-1] if flips[j] else part

    return _filled(len(images), size, crop)


def centre_crops(images: Sequence[Array], resize: int, size: int) -> torch.Tensor:
    """The middle `size` x `size` of every image, its shorter side brought to `resize` before."""
    if not 1 <= size <= resize:
        raise ValueError(f"size is {size}; expected 1 to resize = {resize}.")
    rows = rows_for(len(images))

    def crop(out: Array, j: int) -> None:
        height, width = images[j].shape[:2]
        width, height = shorter_side((width, height), resize)
        corner = round((width - size) / 2), round((height - size) / 2)
        resize_into(out, np.array(images[j]), Frame(width, height, *corner), rows)

    return _filled(len(images), size, crop)


def crop_box(height: int, width: int, draws: Array, rule: CropRule) -> tuple[int, int, int, int]:
    """Top, left, height and width of a crop, from `draws` (attempts, 4) in 0..1.

    The first attempt that fits counts: a share of the area and the logarithm of a ratio, both
    uniform. Where none does, the largest crop in the middle whose ratio is allowed.
    """
    low, high = np.log(rule.ratio)
    area = height * width * (rule.scale[0] + draws[:, 0] * (rule.scale[1] - rule.scale[0]))
    ratio = np.exp(low + draws[:, 1] * (high - low))
    across, down = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
    fits = (across >= 1) & (across <= width) & (down >= 1) & (down <= height)
    if fits.any():
        first = int(fits.argmax())
        h, w = int(down[first]), int(across[first])
        top, left = draws[first, 2] * (height - h + 1), draws[first, 3] * (width - w + 1)
        return int(top), int(left), h, w
    h = min(height, max(1, round(width / rule.ratio[0])))
    w = min(width, max(1, round(height * rule.ratio[1])))
    return (height - h) // 2, (width - w) // 2, h, w


def _resized(part: Array, size: int) -> Array:
    """Both sides to `size`, by torch; `part` may be read-only."""
    import torch

    image = torch.from_numpy(np.array(part)).unsqueeze(0).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(
        image, size=(size, size), mode="bilinear", antialias=True
    )
    found: Array = resized[0].permute(1, 2, 0).numpy()
    return found


def _filled(images: int, size: int, crop: Callable[[Array, int], None]) -> torch.Tensor:
    """`(images, 3, size, size)`, each filled by `crop(place, j)` in threads."""
    import torch

    batch = np.empty((images, size, size, 3), np.uint8)
    with reader_pool() as pool:
        for _ in pool.map(crop, batch, range(images)):
            pass  # raises what a crop raised
    return torch.from_numpy(batch).permute(0, 3, 1, 2)
