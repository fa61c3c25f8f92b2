"""`tv:`: torchvision's classification networks without their classifier."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodml.embed.architectures import Architecture, Body, Published
from oodml.embed.files import torch_weights
from oodml.embed.shapes import IMAGENET
from oodml.embed.weights import filled, read_published_pickle
from oodml.errors import UnknownNameError, WeightsError
from oodml.registry import nearest

if TYPE_CHECKING:
    import torch

    State = Mapping[str, torch.Tensor]

_AUXILIARY = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
# What torchvision's `transform_input` makes of ImageNet's scale. It is no part of a state dict;
# as the scale of the input it holds for published weights and for those of a file alike.
_INCEPTION = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
_CLASSIFIERS = ("fc", "classifier", "heads", "head")
# DenseNet's published files call `norm1` and its like `norm.1` (torchvision renames them, too).
_OLD_DENSENET = re.compile(
    r"(?P<layer>.*denselayer\d+\.(?:norm|relu|conv))\."
    r"(?P<rest>[12]\.(?:weight|bias|running_mean|running_var))"
)


def torchvision_architecture(argument: str) -> Architecture:
    """A torchvision classification network, made for 224 x 224 or for what its weights expect."""
    from torchvision import models

    arch, _, tag = argument.partition(".")
    known = models.list_models(module=models)
    if arch not in known:
        near = ", ".join(nearest(arch, known)[:3])
        raise UnknownNameError(f"'tv:{arch}' is not a torchvision network; nearest: {near}.")
    own = _preset(arch, models.get_model_weights(arch).DEFAULT)
    scale = _INCEPTION if arch in _AUXILIARY else IMAGENET
    shape = {"size": 224, "resize": 256, **scale}
    if own["size"] != shape["size"]:
        shape |= {"size": own["size"], "resize": own["resize"]}
    return Architecture(
        f"tv:{arch}",
        shape,
        partial(_build, arch),
        partial(_published, arch, tag),
        prepare=partial(_prepared, arch),
    )


def _build(arch: str, size: int) -> Body:
    from torchvision import models

    # Heads that help only in training are left out.
    options: dict[str, Any] = {"aux_logits": False, "init_weights": True}
    options = options if arch in _AUXILIARY else {}
    if arch.startswith("vit_"):
        options = {"image_size": size}
    try:
        module = models.get_model(arch, weights=None, **options)
    except AssertionError as error:
        raise WeightsError(
            f"tv:{arch} cannot take images of {size} x {size} pixels ({error}); choose another "
            "size."
        ) from None
    return Body(module, (_drop_classifier(module, arch) + ".", *_AUXILIARY.get(arch, ())))


def _drop_classifier(module: torch.nn.Module, arch: str) -> str:
    """Replace the classifier by the identity; its dotted name.

    It is the last layer with weights; SqueezeNet's is a convolution, averaged over the image.
    """
    import torch

    layers = [
        key
        for key, child in module.named_modules()
        if isinstance(child, torch.nn.Linear | torch.nn.Conv2d)
        and key.split(".")[0] in _CLASSIFIERS
    ]
    if not layers:
        raise WeightsError(f"tv:{arch} has no classifier to drop; choose another network.")
    parent, _, child = layers[-1].rpartition(".")
    setattr(module.get_submodule(parent), child, torch.nn.Identity())
    return str(layers[-1])


def _prepared(arch: str, state: State, size: int) -> State:
    """A state dict under the names of today, and for images of this size, as torchvision does it.

    Old DenseNets have other names; a vision transformer has its position embeddings interpolated.
    """
    if arch.startswith("vit_") and state.get("encoder.pos_embedding") is not None:
        from torchvision.models.vision_transformer import interpolate_embeddings

        patch = int(arch.rpartition("_")[2])
        try:
            return dict(interpolate_embeddings(size, patch, OrderedDict(state)))
        except ValueError:  # they are none: the comparison of shapes says so
            return state
    if not arch.startswith("densenet"):
        return state
    return {
        f"{match['layer']}{match['rest']}"
        if (match := _OLD_DENSENET.fullmatch(key))
        else key: value
        for key, value in state.items()
    }


# Published weights -------------------------------------------------------------------------------


def _published(arch: str, tag: str) -> Published:
    from torchvision import models

    known = models.get_model_weights(arch)
    if tag and tag not in known.__members__:
        raise UnknownNameError(
            f"tv:{arch} has no weights {tag!r}; it has {', '.join(known.__members__)}."
        )
    weights = known[tag] if tag else known.DEFAULT
    return Published(
        _preset(arch, weights),
        _licence(weights.meta),
        locate=partial(torch_weights, weights.url),
        load=partial(_loaded, arch),
    )


def _loaded(arch: str, path: Path, size: int) -> torch.nn.Module:
    state = _prepared(arch, read_published_pickle(path), size)
    return filled(partial(_build, arch, size), state, str(path), f"tv:{arch}")


def _preset(arch: str, weights: Any) -> dict[str, Any]:
    preset = weights.transforms()
    scale = {"mean": tuple(preset.mean), "std": tuple(preset.std)}
    return {
        "size": preset.crop_size[0],
        "resize": preset.resize_size[0],
        "interpolation": preset.interpolation.value,
        **(_INCEPTION if arch in _AUXILIARY else scale),
    }


def _licence(meta: Mapping[str, Any]) -> str:
    """torchvision's own licence, unless the weights name another one."""
    if "license" not in meta:
        return "BSD-3-Clause"
    return "CC-BY-NC-4.0" if "SWAG" in meta["license"] else str(meta["license"])
