"""Networks by name, without weights and without their classifier: `tv:`, `timm:`, `open_clip:`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodml.errors import UnknownNameError

if TYPE_CHECKING:
    import torch

    State = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """A network without its classifier, and which keys of a whole state dict it has no part in.

    These are the ones that begin with one of `classifier`, or do not begin with `inside`.
    """

    module: torch.nn.Module
    classifier: tuple[str, ...] = ()
    inside: str = ""

    def own(self, state: State) -> dict[str, torch.Tensor]:
        """The entries of a state dict without those of a classifier or another tower."""
        mine = self.module.state_dict().keys()
        return {
            key: value
            for key, value in state.items()
            if key in mine or (key.startswith(self.inside) and not key.startswith(self.classifier))
        }


@dataclass(frozen=True, slots=True)
class Published:
    """Weights that a library offers: the input they expect, their licence, their file.

    `locate()` gives the file, and `load(path, size)` the network with these weights.
    """

    shape: Mapping[str, Any]
    licence: str | None
    locate: Callable[[], Path]
    load: Callable[[Path, int], torch.nn.Module]


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network of one of the libraries.

    `name` is its family and its name there (`tv:resnet50`); `shape` the input that it was made for:
    size, resize, mean, std, interpolation. `build(size)` makes it for images of `size` x `size`,
    with random weights, on torch's current default device, which may be `meta`. `published()` are
    the weights that were named, or the library's default ones. `prepare(state, size)` gives the
    keys of old files their present names, and fits them to the size. `convert(state, size)` is the
    library's own way of bringing a state dict into the network, or None; it raises `WeightsError`
    where that does not fit.
    """

    name: str
    shape: Mapping[str, Any]
    build: Callable[[int], Body]
    published: Callable[[], Published]
    prepare: Callable[[State, int], State] | None = None
    convert: Callable[[State, int], torch.nn.Module] | None = None


def _torchvision(argument: str) -> Architecture:
    from oodml.embed.torchvision_networks import torchvision_architecture

    return torchvision_architecture(argument)


def _timm(argument: str) -> Architecture:
    from oodml.embed.timm_networks import timm_architecture

    return timm_architecture(argument)


def _open_clip(argument: str) -> Architecture:
    from oodml.embed.open_clip_networks import open_clip_architecture

    return open_clip_architecture(argument)


FAMILIES: dict[str, Callable[[str], Architecture]] = {
    "tv": _torchvision,
    "timm": _timm,
    "open_clip": _open_clip,
}


def find_architecture(text: str) -> Architecture:
    """The network of `tv:resnet50`, `timm:vit_small_patch14_dinov2` or `open_clip:ViT-B-32`."""
    family, _, argument = text.partition(":")
    if family == "vectors":
        raise UnknownNameError(
            f"arch {text!r} takes vectors, no images: such a file is a head that was trained on "
            "embeddings, and is used on top of the encoder that made them."
        )
    if family not in FAMILIES or not argument:
        raise UnknownNameError(
            f"arch is {text!r}; expected a network of torchvision, timm or open_clip, as in "
            "tv:resnet50, timm:vit_small_patch14_dinov2 or open_clip:ViT-B-32."
        )
    return FAMILIES[family](argument)
