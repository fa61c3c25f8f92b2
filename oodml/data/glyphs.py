"""The built-in images: characters, drawn from the sixteen text faces that matplotlib ships.

A class is a character, its group the Unicode block. All characters share one font size and one
baseline, so that size tells o from O and height tells a comma from an apostrophe. Nothing is
downloaded, and each image is a pure function of (seed, character, face, copy).
"""

from __future__ import annotations

import math
import unicodedata
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oodml.data.dataset import Dataset, Pixels
from oodml.data.unicode_blocks import block
from oodml.errors import DataError
from oodml.store import file_digest

if TYPE_CHECKING:
    from PIL import Image, ImageFont

GENERATOR_VERSION = 1  # to be raised with anything that changes an image
SIDE = 32  # pixels of an image
DETAIL = 2  # each pixel is the mean of so many squared of the drawing
SIZE = 20  # pixels an em: accented capitals and cedillas just fit one above the other
BASELINE = 22  # pixels from the top
MARGIN = 1  # pixels that stay black on every side

NO_CHARACTER = 0xFFFF  # never in a font: drawn as the box that stands for a missing character

# Half-widths of the uniform jitter: turn (radians), shear, scale (a share), shifts (pixels).
JITTER = (0.14, 0.12, 0.1, 1.5, 1.5)

FACES = tuple(
    sorted(
        [f"DejaVuSans{kind}" for kind in ("", "-Bold", "-BoldOblique", "-Oblique")]
        + [f"DejaVuSansMono{kind}" for kind in ("", "-Bold", "-BoldOblique", "-Oblique")]
        + [f"DejaVuSerif{kind}" for kind in ("", "-Bold", "-BoldItalic", "-Italic")]
        + [f"STIXGeneral{kind}" for kind in ("", "Bol", "BolIta", "Italic")]
    )
)

Grey = np.ndarray[Any, np.dtype[np.uint8]]


def load_glyphs(*, copies: int = 1, seed: int = 0, jitter: bool = True) -> Dataset:
    """Every chosen character in 16 faces, `copies` times each: (n, 32, 32), white on black."""
    if copies < 1 or seed < 0:
        raise DataError(
            f"glyphs: copies={copies}, seed={seed}; expected at least 1 and at least 0."
        )
    if copies > 1 and not jitter:
        raise DataError(
            f"glyphs: {copies} copies would be the same image; drop jitter=0 or copies."
        )
    chosen = choose_characters()
    images = np.empty((len(chosen), len(FACES), copies, SIDE, SIDE), np.uint8)
    for index, face in enumerate(FACES):
        font = _font(face)
        for images_of, codepoint in zip(images[:, index], chosen, strict=True):
            drawing = _draw(font, codepoint)
            for copy in range(copies):
                key = (seed, codepoint, index, copy)
                images_of[copy] = _shrink(_jitter(drawing, key) if jitter else drawing)
    per_class = len(FACES) * copies
    return Dataset(
        name="glyphs",
        classes=tuple(f"U+{c:04X} {unicodedata.name(chr(c))}" for c in chosen),
        labels=np.repeat(np.arange(len(chosen)), per_class),
        ids=tuple(f"U+{c:04X}/{f}/{copy}" for c in chosen for f in FACES for copy in range(copies)),
        source=Pixels(
            images.reshape(-1, SIDE, SIDE),
            _provenance(chosen, copies=copies, seed=seed if jitter else None),
        ),
        groups=tuple(str(block(c)) for c in chosen),
    )


@cache
def choose_characters() -> tuple[int, ...]:
    """The code points that are classes, in order.

    Each is in every face, as ink and not as the box that stands for missing characters, and fits
    the image. Of characters that look the same in any two faces (Latin, Greek and Cyrillic A) the
    lowest stays.
    """
    looks = [_looks(face, shared_characters()) for face in FACES]
    seen: set[bytes] = set()
    chosen = []
    for index, codepoint in enumerate(shared_characters()):
        images = [look[index] for look in looks]
        if None in images or not seen.isdisjoint(images):
            continue
        seen.update(image for image in images if image is not None)
        chosen.append(codepoint)
    return tuple(chosen)


@cache
def shared_characters() -> tuple[int, ...]:
    """The named code points of known blocks that the character maps of all faces have, in order."""
    from matplotlib.ft2font import FT2Font

    maps = [FT2Font(str(path)).get_charmap() for path in font_files().values()]
    shared = set.intersection(*({c for c, glyph in each.items() if glyph} for each in maps))
    return tuple(c for c in sorted(shared) if block(c) and unicodedata.name(chr(c), ""))


@cache
def font_files() -> dict[str, Path]:
    """The file of each face, as matplotlib ships them."""
    from matplotlib import get_data_path

    files = {face: Path(get_data_path(), "fonts", "ttf", f"{face}.ttf") for face in FACES}
    for path in files.values():
        if not path.is_file():
            raise DataError(
                f"glyphs: {path} is absent; expected the fonts of matplotlib's own wheel: "
                "run `pip install --force-reinstall matplotlib`."
            )
    return files


def _font(face: str) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    # The basic layout: raqm, where installed, would place some characters differently.
    layout = ImageFont.Layout.BASIC
    return ImageFont.truetype(str(font_files()[face]), SIZE * DETAIL, layout_engine=layout)


def _draw(font: ImageFont.FreeTypeFont, codepoint: int) -> Image.Image:
    """The character, `DETAIL` times too large: on the baseline, its ink centred sideways."""
    from PIL import Image, ImageDraw

    image = Image.new("L", (SIDE * DETAIL, SIDE * DETAIL))
    left, _, right, _ = font.getbbox(chr(codepoint), anchor="ls")
    # Whole pixels: at a fraction of one, characters of one shape would differ by a shade.
    corner = ((SIDE * DETAIL - int(left + right)) // 2, BASELINE * DETAIL)
    ImageDraw.Draw(image).text(corner, chr(codepoint), fill=255, font=font, anchor="ls")
    return image


def _shrink(drawing: Image.Image) -> Grey:
    return np.asarray(drawing.reduce(DETAIL))


def _looks(face: str, codepoints: tuple[int, ...]) -> list[bytes | None]:
    """The bytes of each plain image; None where it is blank, cut off, or the missing-glyph box."""
    font = _font(face)
    missing = _shrink(_draw(font, NO_CHARACTER)).tobytes()
    looks: list[bytes | None] = []
    for codepoint in codepoints:
        image = _shrink(_draw(font, codepoint))
        inner = image[MARGIN:-MARGIN, MARGIN:-MARGIN]
        cut = inner.sum(dtype=int) < image.sum(dtype=int)
        look = image.tobytes()
        looks.append(None if cut or not image.any() or look == missing else look)
    return looks


def _jitter(drawing: Image.Image, key: tuple[int, int, int, int]) -> Image.Image:
    """The drawing turned, sheared, scaled and shifted a little, its ink still all inside."""
    from PIL import Image

    draws = np.random.default_rng(key).uniform(-1, 1, len(JITTER)) * JITTER
    turn, shear, scale, *shift = (float(draw) for draw in draws)
    left, top, right, bottom = drawing.getbbox() or (0, 0, *drawing.size)
    wide, high = (right - left) / 2, (bottom - top) / 2

    # (x, y) about the middle of the ink goes to (ax + by, cx + dy).
    a, b = math.cos(turn), math.cos(turn) * shear - math.sin(turn)
    c, d = math.sin(turn), math.sin(turn) * shear + math.cos(turn)
    reach = (abs(a) * wide + abs(b) * high, abs(c) * wide + abs(d) * high)
    room = (SIDE / 2 - MARGIN) * DETAIL - 1  # bilinear sampling spreads the ink by up to one pixel
    scale = min(1 + scale, room / max(reach))  # a wide character is shrunk rather than cut
    x, y = (left + right) / 2, (top + bottom) / 2
    to_x, to_y = (
        _clip(start + step * DETAIL, SIDE * DETAIL / 2, room - scale * extent)
        for start, step, extent in zip((x, y), shift, reach, strict=True)
    )

    # Pillow asks the other way round: where each pixel of the result comes from. (ad - bc is 1.)
    a, b, c, d = d / scale, -b / scale, -c / scale, a / scale
    back = (a, b, x - a * to_x - b * to_y, c, d, y - c * to_x - d * to_y)
    return drawing.transform(drawing.size, Image.Transform.AFFINE, back, Image.Resampling.BILINEAR)


def _clip(value: float, middle: float, distance: float) -> float:
    return min(max(value, middle - distance), middle + distance)


def _provenance(chosen: tuple[int, ...], *, copies: int, seed: int | None) -> dict[str, Any]:
    """What the images follow from; the seed is None where nothing is jittered."""
    from PIL import features

    return {
        "generator": GENERATOR_VERSION,
        "fonts": {face: file_digest(path) for face, path in font_files().items()},
        "characters": list(chosen),
        "copies": copies,
        "seed": seed,
        "jitter": seed is not None,
        "pillow": features.version("pil"),
        "freetype": features.version("freetype2"),
    }
