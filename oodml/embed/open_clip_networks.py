"""`open_clip:`: the image towers of open_clip (an extra)."""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodml.embed.architectures import Architecture, Body, Published
from oodml.embed.files import hub_weights
from oodml.embed.weights import read_safetensors
from oodml.errors import UnknownNameError, WeightsError
from oodml.registry import nearest

if TYPE_CHECKING:
    import torch

    State = Mapping[str, torch.Tensor]

_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")
_QUICK = "-quickgelu"


def open_clip_architecture(argument: str) -> Architecture:
    """The image tower of `ViT-B-32/laion2b_s34b_b79k`; the tag says which weights.

    Weights that were trained with the fast GELU get it, as in the architecture `ViT-B-32-quickgelu`
    of open_clip.
    """
    library = _library()
    arch, _, tag = argument.partition("/")
    known = library.list_models()
    if arch not in known:
        near = ", ".join(nearest(arch, known)[:3])
        raise UnknownNameError(
            f"'open_clip:{arch}' is not a network of open_clip; nearest: {near}."
        )
    tags = library.list_pretrained_tags_by_model(arch)
    if tag and tag not in tags:
        raise UnknownNameError(
            f"open_clip:{arch} has no weights {tag!r}; it has {', '.join(tags) or 'none'}."
        )
    weights = library.pretrained.get_pretrained_cfg(arch, tag or (tags[0] if tags else ""))
    if tag:
        arch = _activated(arch, tag, weights, known)
    config = library.get_model_config(arch)
    return Architecture(
        f"open_clip:{arch}",
        _shape(config, weights),
        partial(_build, arch, config),
        partial(_published, arch, tag, tags, config, weights),
        convert=partial(_converted, arch, config),
    )


def _library() -> Any:
    try:
        import open_clip
    except ImportError as error:
        raise UnknownNameError(
            f"open_clip: networks need the package open_clip_torch ({error}); "
            "pip install 'oodml[clip]'."
        ) from None
    return open_clip


def _activated(arch: str, tag: str, weights: Mapping[str, Any], known: list[str]) -> str:
    """The architecture with the activation that these weights were trained with."""
    wanted = bool(weights.get("quick_gelu", False))
    found = bool(_library().get_model_config(arch).get("quick_gelu", False))
    if wanted == found:
        return arch
    twin = f"{arch}{_QUICK}" if wanted else arch.removesuffix(_QUICK)
    if twin not in known or twin == arch:
        raise UnknownNameError(
            f"The weights {tag!r} of open_clip:{arch} were trained with another activation, and "
            "open_clip has no such network; choose another tag."
        )
    return twin


def _shape(config: Mapping[str, Any], weights: Mapping[str, Any]) -> dict[str, Any]:
    """The transform of open_clip's config in our terms; `refused` where there are none.

    "shortest" brings the shorter side to the size and cuts out the centre, "squash" brings both.
    """
    preset = _library().transform.merge_preprocess_dict(
        _library().transform.PreprocessCfg(), weights
    )
    size = config["vision_cfg"].get("image_size", preset["size"])
    refused = None
    if not isinstance(size, int):
        if size[0] != size[1]:
            refused = f"open_clip shows it images of {size}, and only squares are made here"
        size = size[0]
    if preset["resize_mode"] not in ("shortest", "squash"):
        refused = f"open_clip's resize mode {preset['resize_mode']!r} is not known here"
    return {
        "size": size,
        "resize": size if preset["resize_mode"] == "shortest" else None,
        "mean": tuple(preset["mean"]),
        "std": tuple(preset["std"]),
        "interpolation": preset["interpolation"],
        "refused": refused,
    }


def _build(arch: str, config: Mapping[str, Any], size: int) -> Body:
    tower = _tower(_created(arch, config, size))
    return Body(tower, inside="visual.")


def _tower(model: torch.nn.Module) -> torch.nn.Module:
    """The image tower, whose tensors keep the names that they have in the whole model."""
    import torch

    class ImageTower(torch.nn.Module):
        def __init__(self, visual: torch.nn.Module) -> None:
            super().__init__()
            self.visual = visual

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            found = self.visual(images)
            # CoCa also gives the tokens of the patches.
            vectors: torch.Tensor = found[0] if isinstance(found, tuple) else found
            return vectors

    visual = model.get_submodule("visual")
    return ImageTower(visual)


def _created(arch: str, config: Mapping[str, Any], size: int) -> torch.nn.Module:
    import torch

    own = config["vision_cfg"].get("image_size", 224)
    options: dict[str, Any] = {"pretrained_text": False, "device": torch.get_default_device()}
    if own not in (size, [size, size], (size, size)):
        options["force_image_size"] = size
    try:
        with _quiet():
            model: torch.nn.Module = _library().create_model(arch, **options)
    except (AssertionError, TypeError, ValueError, RuntimeError, OSError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise WeightsError(
            f"open_clip:{arch} cannot be made for images of {size} x {size} pixels ({reason}); "
            "choose another size or network."
        ) from None
    side = config["vision_cfg"].get("patch_size")
    if side and size % side:
        raise WeightsError(
            f"open_clip:{arch} cuts images into patches of {side} x {side} pixels; expected a size "
            f"that is a multiple of {side}, not {size}."
        )
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the remark of open_clip, on the root logger, that weights are random so far."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
        for handler in set(root.handlers) - set(handlers):  # logging.warning() adds one
            root.removeHandler(handler)


def _converted(arch: str, config: Mapping[str, Any], state: State, size: int) -> torch.nn.Module:
    """The tower with the state dict of a whole model, fitted to keys and size by open_clip."""
    model = _created(arch, config, size)
    library = _library()
    try:
        renamed = dict(library.convert.convert_state_dict(model, dict(state)))
        library.factory.resize_pos_embed(renamed, model)
    except (RuntimeError, KeyError, AttributeError, ValueError) as error:
        raise WeightsError(f"These weights do not fit open_clip:{arch}: {error}.") from None
    body = Body(_tower(model), inside="visual.")
    own = body.own(renamed)
    try:
        body.module.load_state_dict(own)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise WeightsError(
            f"These weights do not fit open_clip:{arch}: {' '.join(lines[:3])[:300]}"
        ) from None
    return body.module


# Published weights -------------------------------------------------------------------------------


def _published(
    arch: str, tag: str, tags: list[str], config: Mapping[str, Any], weights: Mapping[str, Any]
) -> Published:
    repository, file = posixpath.split(weights.get("hf_hub", ""))
    files = (str(Path(file).with_suffix(".safetensors")),) if file else _FILES

    def locate() -> Path:
        if not tag:
            raise UnknownNameError(
                f"open_clip:{arch} does not say which weights; write open_clip:{arch}/TAG with one "
                f"of {', '.join(tags) or 'none'}, or ?init=random&seed=0."
            )
        if repository:
            return hub_weights(repository, files)
        raise WeightsError(
            f"open_clip:{arch}/{tag} has no published weights in safetensors; give a file of your "
            f"own: open_clip:{arch}/{tag}?weights=FILE.safetensors."
        )

    # open_clip says nothing of licences.
    return Published(_shape(config, weights), None, locate, partial(_loaded, arch, config))


def _loaded(arch: str, config: Mapping[str, Any], path: Path, size: int) -> torch.nn.Module:
    state, _ = read_safetensors(path)
    try:
        return _converted(arch, config, state, size)
    except WeightsError as error:
        raise WeightsError(f"{path} is not what open_clip expects: {error}") from None
