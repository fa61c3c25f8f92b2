"""Reading images: any file, grey or colour, becomes the same upright 8-bit picture everywhere."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from oodml.data import Dataset, Files, Pixels
from oodml.embed.spec import EncoderSpec
from oodml.errors import DataError

Picture = Image.Image
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def read_image(data: Dataset, index: int) -> Picture:
    """Image `index` of a data set, in mode L or RGB."""
    if isinstance(data.source, Files):
        return open_image(data.source.root / data.ids[index])
    if isinstance(data.source, Pixels):
        return Image.fromarray(data.source.images[index])
    raise DataError(
        f"Data set {data.name!r} holds vectors; there are no images for an encoder to read."
    )


def open_image(path: Path) -> Picture:
    """A file's first frame, upright, over white where transparent, in mode L or RGB."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return _eight_bit(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise DataError(f"{path} is not there; the folder changed after it was listed.") from None
    except UnidentifiedImageError:
        raise DataError(f"{path} is no image that can be read; replace or remove it.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path} is too large to be safe: {error}.") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error}); replace or remove it.") from None


def _eight_bit(image: Picture) -> Picture:
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits and more: keep the upper eight
        values = np.asarray(image, dtype=np.float64)
        return Image.fromarray(np.clip(values / 257, 0, 255).round().astype(np.uint8))
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


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
