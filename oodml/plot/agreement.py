"""One sequence under several encoders and measures: their shifts, and how alike these are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from oodml.plot.style import COLOURS, INK, MARKERS, styled
from oodml.split import Agreement, Reading

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

_LINES = (3.1, 2.5)  # inches: the panel of lines, of that height at least
_CELL = 0.3  # inches: a correlation
_LEFT, _GAP, _TOP, _BOTTOM, _EDGE = 0.5, 0.25, 0.35, 0.45, 0.1  # inches, around the panels
_NARROWEST = 2.4  # inches: names and correlations, and above them the title
_DARK = 0.6  # above it, numbers are white
_WIDE = "#C2C2C2"  # under the other lines


def plot_agreement(agreements: Sequence[Agreement], titles: Sequence[str] = ()) -> Figure:
    """Shifts from 0 to 1 against the splits, and Spearman's correlation of every two readings.

    A row of panels for each sequence. The names beside the correlations are the key of the lines; a
    row and a column cross where their two readings are compared, below the diagonal on the splits,
    above it on random partitions. Recorded shifts are the wide grey
    line. A reading whose shifts are all the same has no line.
    """
    looks = _looks(agreements)
    with styled():
        from matplotlib.figure import Figure

        figure = Figure()
        names = _name_width(figure, agreements)
        counts = [len(agreement.readings) for agreement in agreements]
        names, cells = max(names, _NARROWEST - min(counts) * _CELL), max(counts) * _CELL
        heights = [max(_LINES[1], len(a.readings) * _CELL) for a in agreements]
        width = _LEFT + _LINES[0] + _GAP + names + cells + _EDGE
        height = sum(heights) + len(agreements) * (_TOP + _BOTTOM)
        figure.set_size_inches(width, height)
        top = height
        for at, (agreement, tall) in enumerate(zip(agreements, heights, strict=True)):
            top -= _TOP + tall
            lines = _place(figure, _LEFT, top, _LINES[0], tall)
            _draw_lines(lines, agreement, looks)
            if titles:
                lines.set_title(titles[at], loc="left", fontsize=9.5, fontweight="bold")
            size = len(agreement.readings) * _CELL
            left = _LEFT + _LINES[0] + _GAP + names
            _draw_pairs(_place(figure, left, top + tall - size, size, size), agreement, looks)
            top -= _BOTTOM
    return figure


def _place(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place in inches from the lower left corner."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def _key(reading: Reading) -> tuple[Any, ...]:
    """What two sequences' readings share where encoder and measure are the same."""
    return (True,) if reading.recorded else (False, reading.encoder, reading.measure)


def _looks(agreements: Sequence[Agreement]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Colour, marker and line of each reading, the same in all sequences."""
    keys = dict.fromkeys(_key(r) for a in agreements for r in a.readings)
    grey = {"color": _WIDE, "marker": "", "ls": "-", "lw": 6, "solid_capstyle": "round"}
    looks = {}
    for key in keys:
        if key[0]:
            looks[key] = grey
            continue
        taken = len(looks) - ((True,) in looks)
        index = taken % len(COLOURS)
        line = "-" if taken < len(COLOURS) else (0, (1, 1))
        looks[key] = {
            "color": COLOURS[index],
            "marker": MARKERS[index],
            "ls": line,
            "mec": "white",
            "lw": 1.2,
            "ms": 4.8,
            "mew": 0.4,
        }
    return looks


def _name_width(figure: Figure, agreements: Sequence[Agreement]) -> float:
    """Inches that the longest name needs."""
    widths = []
    for name in {r.name for a in agreements for r in a.readings}:
        text = figure.text(0, 0, name, fontsize=7.8)
        widths.append(text.get_window_extent().width / figure.dpi)
        text.remove()
    return float(max(widths))


def _draw_lines(
    axes: Axes, agreement: Agreement, looks: dict[tuple[Any, ...], dict[str, Any]]
) -> None:
    ranks = list(range(1, agreement.splits + 1))
    for reading in agreement.readings:
        if reading.normalised is not None:
            axes.plot(ranks, reading.normalised, label=reading.name, **looks[_key(reading)])
    axes.set_xlabel("Split")
    axes.set_ylabel("Shift, from its smallest to its largest")
    axes.set_ylim(-0.04, 1.04)
    axes.set_xlim(0.7, agreement.splits + 0.3)
    step = -(-agreement.splits // 12)
    axes.set_xticks(ranks[::step])
    axes.tick_params(length=3, width=0.7)
    if agreement.concordance is not None:
        text = f"Kendall's W {agreement.concordance.w:.2f}"
        axes.annotate(text, (0.98, 0.03), xycoords="axes fraction", ha="right", fontsize=7.8)


def _draw_pairs(
    axes: Axes, agreement: Agreement, looks: dict[tuple[Any, ...], dict[str, Any]]
) -> None:
    """A square of correlations: a row and a column a reading, its own marker on the diagonal."""
    count = len(agreement.readings)
    axes.set_axis_off()
    axes.set_xlim(-0.5, count - 0.5)
    axes.set_ylim(count - 0.5, -0.5)
    row = {reading.name: at for at, reading in enumerate(agreement.readings)}
    for name, at in row.items():
        axes.text(-0.62, at, name, ha="right", va="center", fontsize=7.8)
        look = looks[_key(agreement.readings[at])]
        axes.plot([at - 0.34, at + 0.34], [at, at], **look | {"marker": "", "clip_on": False})
        axes.plot([at], [at], **look | {"ls": ""})
    for pair in agreement.pairs:
        one, other = row[pair.one], row[pair.other]
        _draw_tile(axes, one, other, pair.spearman.value)
        if pair.random.value is not None:
            _draw_tile(axes, other, one, pair.random.value)
    if agreement.pairs:
        random = any(pair.random.value is not None for pair in agreement.pairs)
        where = "\nbelow: these splits; above: random ones" * random
        axes.set_title(f"Spearman's rank correlation{where}", loc="right", fontsize=7.8)


def _draw_tile(axes: Axes, x: int, y: int, value: float | None) -> None:
    from matplotlib.patches import Rectangle

    face = "#EEEEEE" if value is None else _colours()((value + 1) / 2)
    axes.add_patch(Rectangle((x - 0.47, y - 0.47), 0.94, 0.94, facecolor=face, linewidth=0))
    ink = "white" if value is not None and abs(value) > _DARK else INK
    text = "–" if value is None else _short(value)
    axes.text(x, y, text, ha="center", va="center", color=ink, fontsize=7)


def _colours() -> Colormap:
    """From -1, orange, over 0, white, to 1, blue."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("agreement", [COLOURS[1], "white", COLOURS[0]])


def _short(value: float) -> str:
    """A correlation in as few characters as a tile holds: .98, -.25, >.99, 1."""
    text = f"{value:.2f}".replace("0.", ".")
    if not text.endswith("1.00"):
        return text
    return f"{value:.0f}" if abs(value) == 1 else ">.99" if value > 0 else "<-.99"
