"""Reading images: any file, grey or colour, becomes the same upright 8-bit picture everywhere."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

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
LARGEST = 89_478_485  # pixels; Pillow's own limit
_TURNS = {  # by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow's readers raise on damaged files.
_BROKEN = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, AttributeError),
    *(RuntimeError, struct.error, UserWarning),  # the last one where warnings are errors
)


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
        with path.open("rb") as stream, _identified(path, stream) as image:
            if image.width * image.height > LARGEST:
                raise _too_large(path, f"{image.width} x {image.height} pixels")
            image.load()  # a TIFF is turned here
            turn = _TURNS.get(_orientation(image.info.get("exif")))
            found = _eight_bit(path, image)
            return found if turn is None else found.transpose(turn)
    except FileNotFoundError:
        raise DataError(f"{path} is not there; the folder changed after it was listed.") from None
    except UnidentifiedImageError:
        raise DataError(f"{path} is no image that can be read; replace or remove it.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path, str(error).rstrip(".")) from None
    except _BROKEN as error:
        raise DataError(f"{path} is damaged ({error}); replace or remove it.") from None


def _identified(path: Path, stream: IO[bytes]) -> Picture:
    """`Image.open` without its look at the size, which only warns up to twice the limit.

    Filters of warnings belong to the whole process, and images are read in threads.
    """
    Image.preinit()  # the common formats come first
    Image.init()
    start = stream.read(16)
    for factory, accept in list(Image.OPEN.values()):
        stream.seek(0)
        try:
            fits = accept is None or accept(start)
            if fits and not isinstance(fits, str):  # text says why a format is not supported
                return factory(stream, str(path))
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
    raise UnidentifiedImageError


def _too_large(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} is too large to be safe ({why}); expected at most {LARGEST} pixels: scale it down."
    )


def _orientation(exif: Any) -> int:
    """The tag 0x0112 of an EXIF block, read alone, so that damage elsewhere does no harm."""
    block = exif.removeprefix(b"Exif\0\0") if isinstance(exif, bytes) else b""
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}L", block, 4)
        (entries,) = struct.unpack_from(f"{order}H", block, start)
        for entry in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind = struct.unpack_from(f"{order}HH", block, entry)
            if tag == 0x0112:
                size = "L" if kind == 4 else "H"
                return int(struct.unpack_from(order + size, block, entry + 8)[0])
    except struct.error:
        pass
    return 1


def _eight_bit(path: Path, image: Picture) -> Picture:
    if image.mode == "F" or image.mode.startswith("I"):
        return _upper_eight(path, image)
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _upper_eight(path: Path, image: Picture) -> Picture:
    """16 bits to 8; older Pillow opens a PNG of 16 bits in the mode of 32."""
    values = np.asarray(image, dtype=np.float64)
    in_png = image.mode == "I" and image.format == "PNG"
    if not (
        image.mode.startswith("I;16") or (in_png and 0 <= values.min() <= values.max() < 2**16)
    ):
        raise DataError(
            f"{path} has the mode {image.mode}, whose range of brightness is not known; convert it "
            "to 8 or 16 bits a channel."
        )
    return Image.fromarray((values / 257).round().astype(np.uint8))


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
