"""Reading images: any file, grey or colour, becomes the same upright 8-bit picture everywhere.

A file's first frame counts. Colour profiles are not applied: the numbers of the file are. CMYK
becomes RGB by subtraction, and a CMYK JPEG is taken to hold inverted values, as Adobe writes them.
"""

from __future__ import annotations

import io
import re
import struct
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from oodml.data.dataset import Dataset, Files, Pixels
from oodml.errors import DataError

Picture = Image.Image
LARGEST = 89_478_485  # pixels; Pillow's own limit
SCALES = (2, 4, 8)  # that a JPEG can be divided by while it is decoded
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
    raise DataError(f"Data set {data.name!r} holds vectors; there are no images in it to read.")


def open_image(path: Path) -> Picture:
    """A file's first frame, upright, over white where transparent, in mode L or RGB.

    No more than `LARGEST` pixels are ever held: a larger JPEG is read at a half, a quarter or an
    eighth of its size, where it can be decoded so from top to bottom; any other is refused.
    """
    try:
        with path.open("rb") as stream, _identified(path, stream) as image:
            _bound(path, stream, image)
            image.load()  # a TIFF is turned here
            turn = _TURNS.get(_orientation(image))
            found = _eight_bit(path, image)
            return found if turn is None else found.transpose(turn)
    except FileNotFoundError:
        raise DataError(f"{path} is not there; the folder changed after it was listed.") from None
    except UnidentifiedImageError:
        raise DataError(f"{path} is no image that can be read; replace or remove it.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path, str(error).rstrip(".")) from None
    except _BROKEN as error:
        raise DataError(f"{path} {_what_is_wrong(error)}.") from None


def mode_of_plain_jpeg(content: bytes | bytearray) -> str | None:
    """L or RGB where a file's bytes are a JPEG that only needs decoding; None for anything else.

    That is an upright one of one picture and of no more than `LARGEST` pixels.
    """
    if not content.startswith(b"\xff\xd8\xff"):
        return None
    try:
        with _identified(Path("content"), io.BytesIO(content)) as image:
            width, height = image.size
            plain = image.format == "JPEG" and image.mode in ("L", "RGB")
            if plain and width * height <= LARGEST and _orientation(image) == 1:
                return image.mode
    except (UnidentifiedImageError, *_BROKEN):
        pass
    return None


def _what_is_wrong(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno is not None:  # the system's, not Pillow's
        return f"cannot be read ({error.strerror}); make it readable or remove it"
    return f"is damaged ({error}); replace or remove it"


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


# Size --------------------------------------------------------------------------------------------


def _bound(path: Path, stream: IO[bytes], image: Picture) -> None:
    """Have a JPEG of too many pixels decoded at a smaller size; raise `DataError` for others."""
    width, height = image.size
    if width * height <= LARGEST:
        return
    if isinstance(image, JpegImageFile) and _from_top_to_bottom(stream):
        for scale in SCALES:
            if -(-width // scale) * -(-height // scale) <= LARGEST:
                image.draft(None, (width // scale, height // scale))
                return
    raise _too_large(path, f"{width} x {height} pixels")


def _from_top_to_bottom(stream: IO[bytes]) -> bool:
    """Whether the first scan of a JPEG holds all of it, so that a decoder needs to keep a few rows.

    Otherwise, as in progressive ones, it keeps the coefficients of the whole picture.
    """
    place = stream.tell()
    try:
        stream.seek(2)
        components = -1
        while True:
            marker, length = struct.unpack(">HH", stream.read(4))
            body = stream.read(length - 2)
            if marker in (0xFFC0, 0xFFC1):  # a frame that is sequential
                components = body[5]
            elif marker == 0xFFDA:  # the first scan
                return body[0] == components
    except (struct.error, IndexError, ValueError):
        return False  # fill bytes between segments, or damage
    finally:
        stream.seek(place)


def _too_large(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} is too large to be safe ({why}); expected at most {LARGEST} pixels: scale it down."
    )


# Orientation -------------------------------------------------------------------------------------


def _orientation(image: Picture) -> int:
    """1 to 8, from EXIF, else from XMP; 1 where neither says, and for a TIFF, turned already."""
    if image.format == "TIFF":
        return 1
    found = _in_exif(image.info.get("exif") or _hidden_exif(image.info))
    return _in_xmp(image.info) if found is None else found


def _hidden_exif(info: dict[Any, Any]) -> bytes:
    """The EXIF block that ImageMagick writes into a PNG as text: three lines, then hex digits."""
    lines = str(info.get("Raw profile type exif", "")).split("\n")
    try:
        return bytes.fromhex("".join(lines[3:]))
    except ValueError:
        return b""


def _in_exif(exif: Any) -> int | None:
    """The tag 0x0112 of an EXIF block, read alone, so that damage elsewhere does no harm."""
    block = exif.removeprefix(b"Exif\0\0") if isinstance(exif, bytes) else b""
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return None
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
    return None


def _in_xmp(info: dict[Any, Any]) -> int:
    """`tiff:Orientation` of an XMP packet, as attribute or element."""
    packet = info.get("xmp") or info.get("XML:com.adobe.xmp") or ""
    text = packet.decode("latin-1") if isinstance(packet, bytes) else str(packet)
    found = re.search(r"""tiff:Orientation(?:\s*=\s*["']|>)\s*([1-8])\b""", text)
    return int(found[1]) if found else 1


# Brightness --------------------------------------------------------------------------------------


def _eight_bit(path: Path, image: Picture) -> Picture:
    if image.mode == "F" or image.mode.startswith("I"):
        return _upper_eight(path, image)
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _upper_eight(path: Path, image: Picture) -> Picture:
    """16 bits to 8; Pillow opens a PGM, and when older a PNG, of 16 bits in the mode of 32."""
    values = np.asarray(image, dtype=np.float64)
    in_mode_i = image.mode == "I" and image.format in ("PNG", "PPM")
    if not (
        image.mode.startswith("I;16") or (in_mode_i and 0 <= values.min() <= values.max() < 2**16)
    ):
        raise DataError(
            f"{path} has the mode {image.mode}, whose range of brightness is not known; convert it "
            "to 8 or 16 bits a channel."
        )
    return Image.fromarray((values / 257).round().astype(np.uint8))
