"""Methods in a row: AGS with its interval, and the places that each of them may have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from oodml.curve import Comparison, Curve, labels
from oodml.plot.curves import ags_text, value_label
from oodml.plot.style import COLOURS, GREY, settle, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH, _ROW = 5.4, 0.26  # inches


def plot_ranking(
    curves: Sequence[Curve], comparison: Comparison, *, title: str | None = None
) -> Figure:
    """AGS of each method with its 95 % interval, best on top, and the places it may have.

    Intervals of single methods may overlap where their difference is certain, since methods share
    their test classes: the places come from paired differences. Methods without AGS are left out.
    """
    named = dict(zip(labels(curves), curves, strict=True))
    signed = curves[0].view == "minus-frozen"
    rows = [(place, named[place.method].area) for place in comparison.places]
    with styled():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(_WIDTH, 0.95 + _ROW * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        for y, (_, area) in enumerate(rows):
            if area is None:
                continue
            if area.low is not None and area.high is not None:
                axes.hlines(y, area.low, area.high, color=COLOURS[0], lw=1.6, alpha=0.55)
            axes.plot(area.value, y, "o", color=COLOURS[0], mec="white")
        axes.set_yticks(range(len(rows)), [place.method for place, _ in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.tick_params(length=0)
        if curves[0].view == "minus-frozen":
            axes.axvline(0, color=GREY, lw=1.0, ls=(0, (4, 2)), zorder=1.4)
        axes.set_xlabel(f"AGS of {value_label(curves[0])}")
        right = axes.secondary_yaxis("right")
        texts = [f"{ags_text(area, signed=signed)}   place {place}" for place, area in rows]
        right.set_yticks(range(len(rows)), texts)
        right.tick_params(length=0)
        right.spines["right"].set_visible(False)
        if title:
            axes.set_title(title, loc="left", fontsize=9.5, fontweight="bold")
        settle(figure)
    return figure
