"""`timm:`: the networks of timm (an extra) without their classifier."""

from __future__ import annotations

import math
from collections.abc import Mapping
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

_FILE = "model.safetensors"


def timm_architecture(argument: str) -> Architecture:
    """The network of `resnet50.a1_in1k`; without a tag, that of timm's default weights."""
    timm = _library()
    arch, tag = timm.models.split_model_name_tag(argument)
    if not timm.is_model(arch):
        near = ", ".join(nearest(arch, timm.list_models())[:3])
        raise UnknownNameError(f"'timm:{arch}' is not a network of timm; nearest: {near}.")
    tags = timm.models.get_arch_pretrained_cfgs(arch)
    if tag and f"{arch}.{tag}" not in tags:
        known = ", ".join(name.partition(".")[2] for name in tags if "." in name) or "none"
        raise UnknownNameError(f"timm:{arch} has no weights {tag!r}; it has {known}.")
    cfg = timm.get_pretrained_cfg(argument)
    return Architecture(
        f"timm:{arch}",
        _shape(arch, cfg),
        partial(_build, arch, cfg),
        partial(_published, argument, arch, cfg),
        convert=partial(_converted, arch, cfg),
    )


def _library() -> Any:
    try:
        import timm
    except ImportError as error:
        raise UnknownNameError(
            f"timm: networks need the package timm ({error}); pip install 'oodml[timm]'."
        ) from None
    return timm


def _shape(arch: str, cfg: Any) -> dict[str, Any]:
    """The evaluation transform of timm's config in our terms; `refused` where there are none.

    timm brings the shorter side ("center") or both ("squash") to `floor(size / crop_pct)` and cuts
    out the centre of `size`.
    """
    channels, height, width = cfg.input_size
    if channels != 3:
        raise UnknownNameError(f"timm:{arch} takes {channels} channels; expected a network of RGB.")
    resize: int | None = math.floor(height / cfg.crop_pct)
    refused = None
    if height != width:
        refused = f"timm shows it images of {height} x {width}, and only squares are made here"
    elif cfg.crop_mode == "squash" and resize != height:
        refused = f"timm squashes images to {resize} x {resize} and crops, which is not done here"
    elif cfg.crop_mode not in ("center", "squash"):
        refused = f"timm's crop mode {cfg.crop_mode!r} is not known here"
    return {
        "size": height,
        "resize": None if cfg.crop_mode == "squash" else resize,
        "mean": tuple(cfg.mean),
        "std": tuple(cfg.std),
        "interpolation": cfg.interpolation,
        "refused": refused,
    }


def _arguments(cfg: Any, size: int) -> dict[str, Any]:
    """What makes timm build a network for images of another size than its own.

    timm fits the position embeddings of published weights to it.
    """
    if not cfg.fixed_input_size or cfg.input_size[1:] == (size, size):
        return {}
    return {"img_size": size}


def _build(arch: str, cfg: Any, size: int) -> Body:
    module = _created(arch, cfg, size)
    names = cfg.classifier or ()
    names = (names,) if isinstance(names, str) else names
    return Body(module, tuple(f"{name}." for name in names))


def _created(arch: str, cfg: Any, size: int, **options: Any) -> torch.nn.Module:
    timm = _library()
    try:
        module: torch.nn.Module = timm.create_model(
            arch, num_classes=0, **_arguments(cfg, size), **options
        )
    except (AssertionError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise WeightsError(
            f"timm:{arch} cannot be made for images of {size} x {size} pixels ({reason}); choose "
            "another size."
        ) from None
    _require_whole_patches(module, arch, size)
    return module


def _require_whole_patches(module: torch.nn.Module, arch: str, size: int) -> None:
    """Raise where a vision transformer would leave out the border of its images."""
    patches = getattr(module, "patch_embed", None)
    side = getattr(patches, "patch_size", None)
    if side and size % side[0]:
        raise WeightsError(
            f"timm:{arch} cuts images into patches of {side[0]} x {side[0]} pixels; expected a "
            f"size that is a multiple of {side[0]}, not {size}."
        )


def _converted(arch: str, cfg: Any, state: State, size: int) -> torch.nn.Module:
    """The network with a published state dict, brought into its keys and size by timm, strictly."""
    whole = _build(arch, cfg, cfg.input_size[1])
    overlay = {
        "state_dict": whole.own(state),
        # As many classes as are asked for: timm then insists on every key.
        "num_classes": 0,
        "label_offset": 0,
        "custom_load": False,
    }
    try:
        return _created(arch, cfg, size, pretrained=True, pretrained_cfg_overlay=overlay)
    except (RuntimeError, KeyError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise WeightsError(
            f"These weights do not fit timm:{arch}: {' '.join(lines[:3])[:300]}"
        ) from None


# Published weights -------------------------------------------------------------------------------


def _published(argument: str, arch: str, cfg: Any) -> Published:
    repository = (cfg.hf_hub_id or "").rstrip("/").partition("@")[0]
    file = str(Path(cfg.hf_hub_filename or _FILE).with_suffix(".safetensors"))

    def locate() -> Path:
        if repository and not cfg.custom_load:
            return hub_weights(repository, (file,))
        raise WeightsError(
            f"timm:{argument} has no published weights in safetensors; give a file of your own "
            f"(timm:{argument}?weights=FILE.safetensors), or ?init=random&seed=0."
        )

    return Published(_shape(arch, cfg), cfg.license, locate, partial(_loaded, arch, cfg))


def _loaded(arch: str, cfg: Any, path: Path, size: int) -> torch.nn.Module:
    state, _ = read_safetensors(path)
    try:
        return _converted(arch, cfg, state, size)
    except WeightsError as error:
        raise WeightsError(f"{path} is not what timm expects: {error}") from None
