"""From a picture to the input of an encoder."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from oodml.embed.spec import EncoderSpec

Picture = Image.Image
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def shape_image(image: Picture, spec: EncoderSpec) -> np.ndarray[Any, Any]:
    """The `(channels, size, size)` uint8 input of an encoder: mode, size and crop of its spec."""
    image = image.convert(spec.mode)
    resampling = _FILTERS[spec.interpolation]
    if spec.resize is None:
        image = image.resize((spec.size, spec.size), resampling)
    else:
        image = _centre(_shorter_side(image, spec.resize, resampling), spec.size)
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _shorter_side(image: Picture, side: int, resampling: Image.Resampling) -> Picture:
    width, height = image.size
    if width <= height:
        return image.resize((side, max(side, int(side * height / width))), resampling)
    return image.resize((max(side, int(side * width / height)), side), resampling)


def _centre(image: Picture, side: int) -> Picture:
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    return image.crop((left, top, left + side, top + side))
