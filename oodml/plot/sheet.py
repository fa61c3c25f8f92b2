"""Contact sheets: what is in a data set, in a class, on either side of a split."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image

from oodml.data import Dataset, Vectors
from oodml.data.check import in_threads
from oodml.data.images import read_image
from oodml.errors import DataError
from oodml.plot.style import DOTS, GREY, INK, styled
from oodml.split import Split

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]
T = TypeVar("T")
_TILE, _GAP, _LINE, _MARGIN = 144, 10, 44, 40  # dots; a line of text
_CAPTION, _BETWEEN = 30, 70  # dots: a line of small text; between two panels
_SIZES = {"title": 11.0, "heading": 9.5, "name": 7.5, "caption": 5.0}  # points
_GROUND = 236  # grey level behind an image
_MOST = 96  # images of a class


@dataclass(frozen=True, slots=True)
class Strip:
    """Images of one class under its name: rows of the data set, `of` how many; with captions?"""

    title: str
    rows: tuple[int, ...]
    of: int
    captions: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """Strips below each other, under a heading where there is one; `columns` images a line."""

    strips: tuple[Strip, ...]
    columns: int
    title: str = ""
    note: str = ""

    @property
    def width(self) -> int:
        return self.columns * (_TILE + _GAP) - _GAP

    @property
    def height(self) -> int:
        return bool(self.title) * _LINE + sum(self.height_of(strip) for strip in self.strips)

    def height_of(self, strip: Strip) -> int:
        line = _TILE + _GAP + strip.captions * _CAPTION
        return _LINE + ceil(len(strip.rows) / self.columns) * line + 2 * _GAP


# What is shown -----------------------------------------------------------------------------------


def some_classes(data: Dataset, classes: int = 20, images: int = 6) -> tuple[Panel, ...]:
    """Two panels of classes, evenly taken in their order, with a few images each."""
    names = _spread(data.classes, classes)
    half = ceil(len(names) / 2)
    return tuple(
        Panel(_strips(data, part, images), images) for part in (names[:half], names[half:]) if part
    )


def whole_classes(data: Dataset, names: Sequence[str]) -> tuple[Panel, ...]:
    """All images of some classes, up to 96 each, with their file names or ids."""
    strips = _strips(data, names, _MOST, captions=True)
    return (Panel(strips, min(12, max(6, *(len(strip.rows) for strip in strips)))),)


def both_sides(
    data: Dataset, split: Split, classes: int = 10, images: int = 6
) -> tuple[Panel, ...]:
    """The train side beside the test side: classes evenly taken, a few images each."""
    sizes = dict(zip(data.classes, np.bincount(data.labels).tolist(), strict=True))
    panels = []
    for title, side in (("Train side", split.train_side), ("Test", split.test)):
        number = sum(sizes[name] for name in side)
        note = f"{len(side):,} classes, {number:,} images"
        strips = _strips(data, _spread(side, classes), images)
        panels.append(Panel(strips, images, title, note))
    return tuple(panels)


def _strips(
    data: Dataset, names: Sequence[str], images: int, *, captions: bool = False
) -> tuple[Strip, ...]:
    place = {name: number for number, name in enumerate(data.classes)}
    strips = []
    for name in names:
        rows = np.flatnonzero(data.labels == place[name]).tolist()
        strips.append(Strip(name, tuple(_spread(rows, images)), len(rows), captions))
    return tuple(strips)


def _spread(items: Sequence[T], count: int) -> list[T]:
    """`count` of the items at equal steps, from the first to the last."""
    steps = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[step] for step in steps]


# Drawing -----------------------------------------------------------------------------------------


def plot_sheet(data: Dataset, panels: Sequence[Panel], *, title: str = "") -> Figure:
    """The panels side by side; an image that cannot be read is a crossed field.

    A PNG has `DOTS` dots an inch, and so exactly the pixels that are laid out here; images smaller
    than a field are enlarged by a whole number, without smoothing.
    """
    if isinstance(data.source, Vectors):
        raise DataError(f"Data set {data.name!r} holds vectors; there are no images to show.")
    top = _MARGIN + _LINE + _GAP
    width = 2 * _MARGIN + sum(p.width for p in panels) + (len(panels) - 1) * _BETWEEN
    height = top + max(panel.height for panel in panels) + _MARGIN // 2
    page = _Page(np.full((height, width, 3), 255, np.uint8), [])
    page.write((_MARGIN, _MARGIN, width - 2 * _MARGIN), title or data.name, "title")
    left = _MARGIN
    for panel in panels:
        _draw(page, data, panel, left, top)
        left += panel.width + _BETWEEN
    return page.figure()


@dataclass(frozen=True, slots=True, eq=False)
class _Page:
    """Pixels, and the texts to be set on them: left, top and width in dots, text, kind."""

    pixels: Array
    texts: list[tuple[tuple[int, int, int], str, str]]

    def write(self, place: tuple[int, int, int], text: str, kind: str) -> None:
        self.texts.append((place, text, kind))

    def paste(self, left: int, top: int, tile: Array) -> None:
        self.pixels[top : top + _TILE, left : left + _TILE] = tile

    def figure(self) -> Figure:
        height, width = self.pixels.shape[:2]
        with styled():
            from matplotlib.figure import Figure

            figure = Figure(figsize=(width / DOTS, height / DOTS))
            axes = figure.add_axes((0, 0, 1, 1))
            axes.set_axis_off()
            axes.imshow(self.pixels, aspect="auto", interpolation="none")
            for (left, top, room), text, kind in self.texts:
                figure.text(
                    left / width,
                    1 - top / height,
                    _shortened(text, room, _SIZES[kind]),
                    fontsize=_SIZES[kind],
                    fontweight="bold" if kind in ("title", "heading") else "normal",
                    color=GREY if kind == "caption" else INK,
                    verticalalignment="top",
                    parse_math=False,  # a name may hold a dollar
                )
        return figure


def _draw(page: _Page, data: Dataset, panel: Panel, left: int, top: int) -> None:
    if panel.title:
        page.write((left, top, panel.width), f"{panel.title}: {panel.note}", "heading")
        top += _LINE
    for strip in panel.strips:
        some = "" if len(strip.rows) == strip.of else f"{len(strip.rows)} of "
        page.write((left, top, panel.width), f"{strip.title}  ({some}{strip.of:,})", "name")
        step = _TILE + _GAP + strip.captions * _CAPTION
        shared = os.path.commonprefix([data.ids[row] for row in strip.rows])  # noqa: RUF071
        skipped = shared.rfind("/") + 1  # the folder of all
        tiles = in_threads(lambda row: _tile(data, row), strip.rows)
        for number, (row, tile) in enumerate(zip(strip.rows, tiles, strict=True)):
            x = left + number % panel.columns * (_TILE + _GAP)
            y = top + _LINE - _GAP + number // panel.columns * step
            page.paste(x, y, tile)
            if strip.captions:
                page.write((x, y + _TILE + 4, _TILE), data.ids[row][skipped:], "caption")
        top += panel.height_of(strip)


def _tile(data: Dataset, row: int) -> Array:
    """The image in the middle of a grey field `(_TILE, _TILE, 3)`."""
    field = Image.new("RGB", (_TILE, _TILE), (_GROUND,) * 3)
    try:
        image = read_image(data, row).convert("RGB")
    except DataError:
        return _crossed()
    longest = max(image.size)
    if longest <= _TILE:
        times = _TILE // longest
        size = (times * image.width, times * image.height)
        image = image.resize(size, Image.Resampling.NEAREST)
    else:
        image.thumbnail((_TILE, _TILE), Image.Resampling.LANCZOS)
    field.paste(image, ((_TILE - image.width) // 2, (_TILE - image.height) // 2))
    return np.asarray(field)


def _crossed() -> Array:
    field = np.full((_TILE, _TILE, 3), _GROUND, np.uint8)
    one, other = np.indices((_TILE, _TILE))
    field[(np.abs(one - other) < 2) | (np.abs(one + other - _TILE + 1) < 2)] = (200, 60, 60)
    return field


def _shortened(text: str, room: int, size: float) -> str:
    """The text, cut in its middle where it is wider than `room` dots; unknown letters are boxes."""
    from matplotlib.font_manager import findfont, get_font

    font = get_font(findfont("DejaVu Sans"))
    font.set_size(size, DOTS)
    known = font.get_charmap()
    text = "".join(letter if ord(letter) in known else "\u25a1" for letter in text)
    kept, short = len(text), text
    while kept > 1:
        font.set_text(short)
        if font.get_width_height()[0] / 64 <= room:
            break
        kept -= 1
        short = f"{text[: (kept + 1) // 2]}\u2026{text[len(text) - kept // 2 :]}"
    return short
