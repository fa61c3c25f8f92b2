"""Several sequences of one search: a thin line for each of them, a colour for each method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from oodml.curve import Spread
from oodml.plot.curves import (
    HEIGHT,
    WIDTH,
    add_legend,
    ags_text,
    looks_of,
    shift_label,
    value_label,
)
from oodml.plot.style import settle, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_sequences(spreads: Sequence[Spread], *, title: str | None = None) -> Figure:
    """Metric against shift, one line for each method and sequence; the legend gives mean AGS."""
    firsts = [spread.curves[0] for spread in spreads]
    with styled():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        axes = figure.add_subplot()
        lines = []
        for spread, look in zip(spreads, looks_of(firsts), strict=True):
            signed = firsts[0].view == "minus-frozen"
            for at, curve in enumerate(spread.curves):
                drawn = axes.plot(curve.x, curve.mean, **{**look, "lw": 0.9, "ms": 3.2})
                if at == 0:
                    lines += drawn
            mean = ags_text(spread.ags, signed=signed)
            count = len(spread.curves)
            lines[-1].set_label(f"{spread.label}\nAGS {mean} ({count} sequences)")
        axes.set_xlabel(shift_label(firsts))
        axes.set_ylabel(value_label(firsts[0]))
        axes.tick_params(length=3, width=0.7)
        add_legend(figure, lines, title)
        settle(figure)
    return figure
