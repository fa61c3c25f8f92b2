"""From a picture to the input of an encoder, by Pillow: the reference that `reading` keeps to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from oodml.embed.spec import EncoderSpec

Picture = Image.Image
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True, slots=True)
class SpecTransform:
    """The transform that is all in the spec: mode, size and crop.

    It says so by its type: what is read for such an encoder may be shaped by faster means, within
    one grey level. An encoder with a transform of its own always gets the picture.
    """

    spec: EncoderSpec

    def __call__(self, image: Picture) -> np.ndarray[Any, Any]:
        return shape_image(image, self.spec)


class Frame(NamedTuple):
    """The size that an image is brought to, and the corner of the part that is kept."""

    width: int
    height: int
    left: int
    top: int


def shape_image(image: Picture, spec: EncoderSpec) -> np.ndarray[Any, Any]:
    """The `(channels, size, size)` uint8 input of an encoder: mode, size and crop of its spec."""
    frame = frame_of(image.size, spec)
    image = image.convert(spec.mode)
    image = image.resize((frame.width, frame.height), FILTERS[spec.interpolation])
    box = (frame.left, frame.top, frame.left + spec.size, frame.top + spec.size)
    pixels = np.asarray(image.crop(box))
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def frame_of(size: tuple[int, int], spec: EncoderSpec) -> Frame:
    """Where an image of `size` (width, height) goes; the part that is kept is `spec.size` wide."""
    if spec.resize is None:
        return Frame(spec.size, spec.size, 0, 0)
    width, height = shorter_side(size, spec.resize)
    return Frame(width, height, round((width - spec.size) / 2), round((height - spec.size) / 2))


def shorter_side(size: tuple[int, int], side: int) -> tuple[int, int]:
    """`size` (width, height) with the shorter side brought to `side`, the ratio kept."""
    width, height = size
    if width <= height:
        return side, max(side, int(side * height / width))
    return max(side, int(side * width / height)), side
