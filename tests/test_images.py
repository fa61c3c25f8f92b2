"""Reading images: one picture in every form that a file can give it."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from oodml.data.images import _upper_eight, open_image
from oodml.errors import DataError

Array = np.ndarray[Any, Any]
HEIGHT, WIDTH = 12, 16


def colour() -> Array:
    """192 smooth colours, so that a palette holds them; one corner is white, one pixel is grey."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    picture = np.stack([30 + 12 * x, 40 + 15 * y, 200 - 5 * x - 6 * y], axis=2)
    picture[:4, :4] = 255
    picture[-1, -1] = 127
    return picture.astype(np.uint8)


def grey() -> Array:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return (13 + 14 * x + 2 * y).astype(np.uint8)


def two() -> Array:
    """Black and white."""
    return np.where(np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)) % 3 == 0, 255, 0).astype(
        np.uint8
    )


def see_through() -> Array:
    """RGBA that gives `colour` over white: any colour where it is clear, black where it is half."""
    picture = np.dstack([colour(), np.full((HEIGHT, WIDTH), 255, np.uint8)])
    picture[:4, :4] = (9, 99, 199, 0)
    picture[-1, -1] = (0, 0, 0, 128)
    return picture


def file_of(picture: Array, kind: str, *, mode: str | None = None, **options: Any) -> bytes:
    image = Image.fromarray(picture)
    stream = io.BytesIO()
    (image.convert(mode) if mode else image).save(stream, kind, **options)
    return stream.getvalue()


# Writers of what Pillow does not write -----------------------------------------------------------


def png(samples: Array, *, colours: int, interlaced: bool = False) -> bytes:
    """A PNG of 8 or 16 bits a sample (h, w, channels), of a colour type; interlaced by Adam7."""
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)]
        passes += [(2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    big = samples.astype(samples.dtype.newbyteorder(">"))
    parts = [big[y::down, x::right] for y, x, down, right in passes]
    rows = b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part)
    height, width = samples.shape[:2]
    bits = 8 * samples.dtype.itemsize
    header = struct.pack(">LLBBBBB", width, height, bits, colours, 0, 0, int(interlaced))
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">L", len(body)) + name + body + struct.pack(">L", zlib.crc32(name + body))
        for name, body in chunks
    )


def adobe(jpeg: bytes, transform: int | None) -> bytes:
    """A CMYK JPEG with another colour transform in its Adobe segment, or without the segment."""
    start = jpeg.index(b"\xff\xee\0\x0eAdobe")
    kept = b"" if transform is None else jpeg[start : start + 15] + bytes([transform])
    return jpeg[:start] + kept + jpeg[start + 16 :]


def ycck() -> bytes:
    """What Adobe writes of CMYK: inverted, and then in YCbCr."""
    inverted = np.asarray(Image.fromarray(255 - colour()).convert("YCbCr"))
    stored = np.dstack([255 - inverted, np.zeros((HEIGHT, WIDTH), np.uint8)])
    stream = io.BytesIO()
    Image.fromarray(stored, "CMYK").save(stream, "JPEG", quality=100, subsampling=0)
    return adobe(stream.getvalue(), 2)


def xmp(turn: int, form: str = 'tiff:Orientation="{}"') -> bytes:
    inside = form.format(turn)
    body = f"<rdf:Description {inside}/>" if "=" in form else inside
    return f"<x:xmpmeta xmlns:x='adobe:ns:meta/'>{body}</x:xmpmeta>".encode()


def exif(turn: int) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = turn
    return block


def stored(picture: Array, turn: int) -> Array:
    """The picture as it lies in a file of an EXIF orientation: what row 0, column 0 are."""
    ways: dict[int, Callable[[Array], Array]] = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],  # row 0 is the top, column 0 the right
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.swapaxes(0, 1),  # row 0 is the left, column 0 the top
        6: lambda p: p.swapaxes(0, 1)[::-1],  # row 0 is the right, column 0 the top
        7: lambda p: p.swapaxes(0, 1)[::-1, ::-1],
        8: lambda p: p.swapaxes(0, 1)[:, ::-1],
    }
    return np.ascontiguousarray(ways[turn](picture))


# The table ---------------------------------------------------------------------------------------

BEST = {"quality": 100, "subsampling": 0}
ANIMATED = {"save_all": True, "append_images": [Image.new("RGB", (WIDTH, HEIGHT), "red")]}
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def palette(**options: Any) -> bytes:
    """White, in the corner, is entry 0 of the palette: whatever colour a clear entry has."""
    flat = colour().reshape(-1, 3)
    entries, index = np.unique(flat, axis=0, return_inverse=True)
    entries, index = entries[::-1], len(entries) - 1 - index.reshape(HEIGHT, WIDTH)
    assert entries[0].tolist() == [255, 255, 255]
    if "transparency" in options:
        entries = np.concatenate([[[7, 77, 177]], entries[1:]])
    image = Image.fromarray(index.astype(np.uint8))
    image.putpalette(entries.astype(np.uint8).tobytes())
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


def wide(values: Array, order: str) -> Array:
    return (values.astype(np.uint16) * 257).astype(f"{order}u2")


def portable(kind: str, highest: int) -> bytes:
    """A PGM of more than 8 bits, in bytes (P5) or in text (P2)."""
    values = np.rint(grey() * (highest / 255)).astype(">u2")
    body = values.tobytes() if kind == "P5" else " ".join(map(str, values.ravel())).encode()
    return f"{kind} {WIDTH} {HEIGHT} {highest}\n".encode() + body


# Name of the file: (what the picture is, the file, grey levels that a pixel may be off).
FORMS: dict[str, tuple[Callable[[], Array], Callable[[], bytes], int]] = {
    "rgb.png": (colour, lambda: file_of(colour(), "PNG"), 0),
    "interlaced.png": (colour, lambda: png(colour(), colours=2, interlaced=True), 0),
    "48 bits.png": (colour, lambda: png(wide(colour(), "="), colours=2), 0),
    "64 bits.png": (colour, lambda: png(wide(see_through(), "="), colours=6), 0),
    "rgba.png": (colour, lambda: file_of(see_through(), "PNG"), 0),
    "rgba.webp": (colour, lambda: file_of(see_through(), "WEBP", lossless=True, exact=True), 0),
    "rgba.tif": (colour, lambda: file_of(see_through(), "TIFF"), 0),
    "palette.png": (colour, palette, 0),
    "clear palette.png": (colour, lambda: palette(transparency=0), 0),
    "clear colour.png": (colour, lambda: file_of(colour(), "PNG", transparency=(30, 220, 144)), 0),
    "profile.png": (colour, lambda: file_of(colour(), "PNG", icc_profile=PROFILE), 0),
    "animated.png": (colour, lambda: file_of(colour(), "PNG", **ANIMATED), 0),
    "animated.webp": (colour, lambda: file_of(colour(), "WEBP", lossless=True, **ANIMATED), 0),
    "pages.tif": (colour, lambda: file_of(colour(), "TIFF", **ANIMATED), 0),
    "animated.gif": (grey, lambda: file_of(grey(), "GIF", **ANIMATED), 0),
    "rgb.bmp": (colour, lambda: file_of(colour(), "BMP"), 0),
    "rgb.ppm": (colour, lambda: file_of(colour(), "PPM"), 0),
    "lzw.tif": (colour, lambda: file_of(colour(), "TIFF", compression="tiff_lzw"), 0),
    "cmyk.tif": (colour, lambda: file_of(colour(), "TIFF", mode="CMYK"), 0),
    "rgb.jpg": (colour, lambda: file_of(colour(), "JPEG", **BEST), 6),
    "profile.jpg": (colour, lambda: file_of(colour(), "JPEG", icc_profile=PROFILE, **BEST), 6),
    "progressive.jpg": (colour, lambda: file_of(colour(), "JPEG", progressive=True, **BEST), 6),
    "cmyk.jpg": (colour, lambda: file_of(colour(), "JPEG", mode="CMYK", **BEST), 6),
    "no adobe.jpg": (
        colour,
        lambda: adobe(file_of(colour(), "JPEG", mode="CMYK", **BEST), None),
        6,
    ),
    "ycck.jpg": (colour, ycck, 8),
    "rgb in a jpg.png": (colour, lambda: file_of(colour(), "JPEG", **BEST), 6),  # a wrong suffix
    "grey.png": (grey, lambda: file_of(grey(), "PNG"), 0),
    "grey as rgb.png": (grey, lambda: file_of(grey(), "PNG", mode="RGB"), 0),
    "grey and alpha.png": (grey, lambda: file_of(grey(), "PNG", mode="LA"), 0),
    "clear grey.png": (grey, lambda: file_of(grey(), "PNG", transparency=1), 0),
    "grey palette.png": (grey, lambda: file_of(grey(), "PNG", mode="P"), 0),
    "16 bits.png": (grey, lambda: file_of(wide(grey(), "<"), "PNG"), 0),
    "16 bits interlaced.png": (
        grey,
        lambda: png(wide(grey(), "=")[:, :, None], colours=0, interlaced=True),
        0,
    ),
    "16 bits.tif": (grey, lambda: file_of(wide(grey(), "<"), "TIFF"), 0),
    "16 bits big end.tif": (grey, lambda: file_of(wide(grey(), ">"), "TIFF"), 0),
    "16 bits.pgm": (grey, lambda: portable("P5", 65535), 0),
    "12 bits.pgm": (grey, lambda: portable("P5", 4095), 0),
    "16 bits as text.pgm": (grey, lambda: portable("P2", 65535), 0),
    "grey.pgm": (grey, lambda: file_of(grey(), "PPM"), 0),
    "grey.jpg": (grey, lambda: file_of(grey(), "JPEG", quality=100), 2),
    "1 bit.png": (two, lambda: file_of(two(), "PNG", mode="1"), 0),
    "1 bit.tif": (two, lambda: file_of(two(), "TIFF", mode="1", compression="group4"), 0),
    "1 bit.pbm": (two, lambda: file_of(two(), "PPM", mode="1"), 0),
}


def assert_reads_as(path: Path, expected: Array, within: int = 0) -> None:
    found = open_image(path)
    assert found.mode in ("L", "RGB")
    if expected.ndim == 2:
        expected = np.stack([expected] * 3, axis=2)
    off = np.abs(np.asarray(found.convert("RGB")).astype(int) - expected)
    assert found.size == expected.shape[1::-1]
    assert off.max() <= within


@pytest.mark.parametrize("name", FORMS)
def test_the_same_picture_in_any_form_reads_the_same(tmp_path: Path, name: str) -> None:
    picture, content, within = FORMS[name]
    (tmp_path / name).write_bytes(content())
    assert_reads_as(tmp_path / name, picture(), within)


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_turned_picture_is_put_upright(tmp_path: Path, turn: int) -> None:
    """By EXIF, TIFF's own tag or XMP; EXIF comes first. 0 grey levels off, 6 in a JPEG."""
    lying, other = stored(colour(), turn), turn % 8 + 1
    hexed = exif(turn).tobytes().hex()
    text = {"Raw profile type exif": f"\nexif\n{len(hexed) // 2:8}\n{hexed}\n"}
    files = {
        "exif.png": file_of(lying, "PNG", exif=exif(turn)),
        "exif.tif": file_of(lying, "TIFF", exif=exif(turn)),
        "exif.webp": file_of(lying, "WEBP", lossless=True, exif=exif(turn)),
        "exif.jpg": file_of(lying, "JPEG", exif=exif(turn), **BEST),
        "xmp.jpg": file_of(lying, "JPEG", xmp=xmp(turn), **BEST),
        "element.jpg": file_of(
            lying, "JPEG", xmp=xmp(turn, "<tiff:Orientation>{}</tiff:Orientation>"), **BEST
        ),
        "xmp.webp": file_of(lying, "WEBP", lossless=True, xmp=xmp(turn)),
        "both.jpg": file_of(lying, "JPEG", exif=exif(turn), xmp=xmp(other), **BEST),
        "text.png": file_of(lying, "PNG", pnginfo=_texts(text)),
        "xmp.png": file_of(lying, "PNG", pnginfo=_texts({"XML:com.adobe.xmp": xmp(turn).decode()})),
        "xmp.tif": file_of(lying, "TIFF", tiffinfo={700: xmp(turn)}),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        assert_reads_as(tmp_path / name, colour(), 6 if name.endswith("jpg") else 0)
        with Image.open(tmp_path / name) as image:
            pillows = ImageOps.exif_transpose(image).convert("RGB")
        np.testing.assert_array_equal(open_image(tmp_path / name), pillows, err_msg=name)


def _texts(entries: dict[str, str]) -> Any:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, value in entries.items():
        info.add_itxt(key, value) if key.startswith("XML") else info.add_text(key, value)
    return info


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM"])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
def test_one_pixel_is_a_picture_too(tmp_path: Path, kind: str, size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), 85, np.uint8)
    (tmp_path / "x").write_bytes(file_of(picture, kind))
    assert_reads_as(tmp_path / "x", picture, 1)


# Damage ------------------------------------------------------------------------------------------

CUT = [
    *("rgb.png", "interlaced.png", "16 bits.png", "animated.png", "animated.gif", "animated.webp"),
    *("rgb.jpg", "progressive.jpg", "cmyk.jpg", "rgb.bmp", "lzw.tif", "rgba.tif", "rgb.ppm"),
    "16 bits.pgm",  # not in text, where a number that is cut is a number
]


@pytest.mark.parametrize("name", CUT)
def test_a_file_cut_anywhere_is_named_or_still_whole(tmp_path: Path, name: str) -> None:
    """Never a part of a picture: cut in what follows the first frame, nothing is lost."""
    picture, make, within = FORMS[name]
    content, path = make(), tmp_path / name
    refused = []
    for end in sorted({*range(0, len(content), max(1, len(content) // 60)), len(content) - 1}):
        path.write_bytes(content[:end])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's, about the tags that were cut off
                assert_reads_as(path, picture(), within)
        except DataError as error:
            refused.append(str(error))
    assert len(refused) > 20
    for message in refused:
        assert message.startswith(f"{path} is ")
        assert message.endswith("; replace or remove it.")


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    for name, message in [
        ("text.jpg", "is no image that can be read; replace or remove it"),
        ("empty.png", "is no image that can be read; replace or remove it"),
        ("none.jpg", "is not there"),
        ("folder.png", "cannot be read .Is a directory.; make it readable or remove it"),
    ]:
        with pytest.raises(DataError, match=f"{name} {message}"):
            open_image(tmp_path / name)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_broken_exif_block_loses_neither_image_nor_orientation(
    tmp_path: Path, order: str
) -> None:
    start = b"Exif\0\0" + (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HL", 42, 8)
    count = struct.pack(f"{order}H", 9)
    turned = struct.pack(f"{order}HHLHH", 0x0112, 3, 1, 6, 0)
    text = struct.pack(f"{order}HHLL", 0x010F, 2, 4000, 9999)
    for number, (block, size) in enumerate(
        [
            (start + count + text + turned, (8, 16)),
            (start + count, (16, 8)),
            (start[:9], (16, 8)),
            (b"Exif\0\0nothing", (16, 8)),
            (start[:10] + b"\xff" * 4, (16, 8)),
        ]
    ):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (16, 8)).save(path, exif=block)
        assert open_image(path).size == size, number


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about this very block
def test_a_broken_exif_block_of_a_jpeg_loses_nothing(tmp_path: Path) -> None:
    entries = struct.pack("<HHLL", 0x010F, 2, 4000, 9999) + struct.pack(
        "<HHLHH", 0x0112, 3, 1, 6, 0
    )
    block = b"Exif\0\0II" + struct.pack("<HLH", 42, 8, 9) + entries
    Image.new("RGB", (16, 8)).save(tmp_path / "x.jpg", exif=block)
    assert open_image(tmp_path / "x.jpg").size == (8, 16)


def test_modes_of_unknown_range_are_refused(tmp_path: Path) -> None:
    for mode, values in (("F", np.ones((4, 4), np.float32)), ("I", np.ones((4, 4), np.int32))):
        Image.fromarray(values).save(tmp_path / f"{mode}.tiff")
        with pytest.raises(DataError, match=rf"{mode}\.tiff has the mode {mode}, whose range"):
            open_image(tmp_path / f"{mode}.tiff")


def test_a_png_of_16_bits_in_the_mode_of_32_is_read() -> None:
    image = Image.fromarray(np.array([[0, 257, 65535]], np.int32))
    image.format = "PNG"
    assert np.asarray(_upper_eight(Path("x"), image)).tolist() == [[0, 1, 255]]
    image = Image.fromarray(np.array([[0, 65536]], np.int32))
    image.format = "PNG"
    with pytest.raises(DataError, match="x has the mode I"):
        _upper_eight(Path("x"), image)
