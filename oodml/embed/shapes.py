"""The input of a network as a name asks for it: size, crop, scale and interpolation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from oodml.embed.device import PRECISIONS
from oodml.embed.spec import EncoderSpec
from oodml.errors import UnknownNameError
from oodml.registry import Name

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
SHAPE_OPTIONS = {
    "size": 0,
    "resize": 0,
    "crop": 0,
    "mean": "",
    "std": "",
    "interpolation": "bilinear",
}
CHANNELS = {"RGB": 3, "L": 1}
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


def input_shape(
    name: Name, options: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """The input's shape and scale: what the name says, else what belongs to the weights.

    `defaults` may have `refused`: why the weights' own transform cannot be had; it is raised where
    the name gives no other.
    """
    shape = {key: value for key, value in defaults.items() if key != "refused"}
    shape |= _sizes(name, options, defaults.get("refused"))
    for key in ("mean", "std"):
        if options[key]:
            shape[key] = _numbers(name, key, options[key])
    if "interpolation" in name.params:
        shape["interpolation"] = options["interpolation"]
    if shape.get("interpolation", "bilinear") not in INTERPOLATIONS:
        raise UnknownNameError(
            f"{name.text!r}: interpolation {shape['interpolation']!r} is not known; expected one "
            f"of {', '.join(INTERPOLATIONS)}."
        )
    return shape


def _sizes(name: Name, options: Mapping[str, Any], refused: str | None) -> dict[str, Any]:
    """Size and resize as the name gives them; empty where it gives none."""
    _check_sizes(name, options)
    size, resize, crop = (options[key] for key in ("size", "resize", "crop"))
    if crop or resize:
        if not crop or size or resize < crop:
            raise UnknownNameError(
                f"{name.text!r}: expected size=S alone, or resize=R&crop=S with R at least S."
            )
        return {"size": crop, "resize": resize}
    if size:
        return {"size": size, "resize": None}
    if refused:
        raise UnknownNameError(f"{name.text!r}: {refused}; give size=S.")
    return {}


def _check_sizes(name: Name, options: Mapping[str, Any]) -> None:
    for key in ("size", "resize", "crop"):
        if key in name.params and options[key] < 1:
            raise UnknownNameError(f"{name.text!r}: {key} is {options[key]}; expected 1 or more.")


def _numbers(name: Name, key: str, text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 3) or (key == "std" and not min(numbers) > 0):
        raise UnknownNameError(f"{name.text!r}: {key} is {text!r}; expected one number or R,G,B.")
    return numbers * 3 if len(numbers) == 1 else numbers


def spec_faults(spec: EncoderSpec) -> list[str]:
    """What in a spec makes no sense, a sentence each."""
    channels = CHANNELS.get(str(spec.mode), 3)
    wrong = {
        f"dim is {spec.dim!r}; expected 1 or more": not _whole(spec.dim),
        f"size is {spec.size!r}; expected 1 or more": not _whole(spec.size),
        f"mode is {spec.mode!r}; expected RGB or L": str(spec.mode) not in CHANNELS,
        f"resize is {spec.resize!r}; expected None, or the size ({spec.size}) or more": not (
            spec.resize is None
            or (_whole(spec.resize) and (not _whole(spec.size) or spec.resize >= spec.size))
        ),
        f"interpolation is {spec.interpolation!r}; expected one of {', '.join(INTERPOLATIONS)}": (
            spec.interpolation not in INTERPOLATIONS
        ),
        f"mean is {spec.mean!r}; expected one or {channels} numbers": (
            not _scales(spec.mean, channels)
        ),
        f"std is {spec.std!r}; expected one or {channels} numbers above 0": (
            not _scales(spec.std, channels) or min(spec.std) <= 0
        ),
        f"precision is {spec.precision!r}; expected {' or '.join(PRECISIONS)}": (
            spec.precision not in PRECISIONS
        ),
    }
    return [f"The spec's {what}." for what, is_so in wrong.items() if is_so]


def _whole(value: object) -> bool:
    return isinstance(value, int) and value >= 1


def _scales(values: tuple[object, ...], channels: int) -> bool:
    return len(values) in (1, channels) and all(
        isinstance(value, int | float) and math.isfinite(value) for value in values
    )
