"""The figure of the suite: recall against shift, one line for each method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from oodml.curve import REFERENCE, Axis, Curve, Estimate, labels
from oodml.plot.style import COLOURS, GREY, INK, MARKERS, settle, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_MEASURES = {
    "frechet": "Fréchet distance between class means",
    "frechet-samples": "Fréchet distance between images",
    "frechet-pca": "Fréchet distance between class means, leading components",
}
AXES: dict[Axis, str] = {
    "shift": "Shift",
    "excess": "Excess shift",
    "normalised": "Shift, from 0 to 1",
    "rank": "Split",
}
WIDTH, HEIGHT = 4.9, 3.0  # inches, without the legend; text stays legible in a column of 3.3
_MOST_BANDS = 4  # more of them mix to brown
_ASIDE = 1.6  # points from one curve's bars to the next one's


def plot_curves(
    curves: Sequence[Curve], *, title: str | None = None, x_label: str | None = None
) -> Figure:
    """Metric against shift with 95 % intervals, as wide as a column; the legend gives AGS.

    Curves that are drawn against excess shift (`oodml.curve.against`) have a line where splits are
    no farther than random ones; curves of what methods are above the frozen encoder one at 0. A
    grey band is the range of the controls of one method, the best that was run on them.
    A single frozen encoder among others is the reference, grey and dashed. Up to four curves have
    bands; more have bars, side by side so that they can be told apart. Chance is drawn where it
    falls into view; unknown shifts are replaced by the numbers of the splits.
    """
    _check(curves)
    x_label = x_label or shift_label(curves)
    if any(np.isnan(curve.x).any() for curve in curves):
        curves = [replace(curve, x=np.array(curve.ranks)) for curve in curves]
    curves = [_along_x(curve) for curve in curves]
    with styled():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        axes = figure.add_subplot()
        lines = _draw(axes, curves)
        lines += _draw_controls(axes, curves)
        _draw_level(axes, curves)
        _draw_chance(axes, curves)
        _draw_no_excess(axes, curves)
        axes.set_xlabel(x_label)
        axes.set_ylabel(value_label(curves[0]))
        axes.tick_params(length=3, width=0.7)
        add_legend(figure, lines, title)
        settle(figure)
    return figure


def shift_label(curves: Sequence[Curve]) -> str:
    """What the x axis shows: the shift and its measure, or the splits where shifts are unknown."""
    if any(np.isnan(curve.x).any() for curve in curves):
        return "Split (shifts unknown)"
    name = AXES[curves[0].axis]
    measure = None if curves[0].axis == "rank" else curves[0].measure
    return f"{name} ({_MEASURES.get(measure, measure)})" if measure else name


def metric_label(metric: str) -> str:
    """A metric's name as a figure spells it: `recall@1` is `Recall@1`, `map@r` is `MAP@R`."""
    upper = metric.partition("@")[0] in ("map", "mrr", "nmi", "ami", "f1")
    return metric.upper() if upper else metric[:1].upper() + metric[1:]


def value_label(curve: Curve) -> str:
    """What the y axis shows: the metric, or what it is above the frozen encoder's."""
    name = metric_label(curve.metric)
    return f"{name} above frozen" if curve.view == "minus-frozen" else name


def _check(curves: Sequence[Curve]) -> None:
    found = {(c.metric, c.view, c.dataset, c.sequence, c.axis) for c in curves}
    if len(found) != 1:
        raise ValueError(
            "Expected curves of one metric and view, one sequence of splits and one axis; got "
            f"{sorted(found)}."
        )


def _along_x(curve: Curve) -> Curve:
    """The curve from left to right: excess need not grow from split to split."""
    order = np.argsort(curve.x, kind="stable")
    names = ("x", "mean", "low", "high", "chance", "control", "control_low", "control_high")
    return replace(curve, **{name: getattr(curve, name)[order] for name in names})


def _draw(axes: Axes, curves: Sequence[Curve]) -> list[Line2D]:
    """One line for each curve, with its interval; gives the lines."""
    from matplotlib.transforms import ScaledTranslation

    lines = []
    for index, (curve, look) in enumerate(zip(curves, looks_of(curves), strict=True)):
        if len(curves) <= _MOST_BANDS:
            axes.fill_between(curve.x, curve.low, curve.high, color=look["color"], alpha=0.13, lw=0)
            place = axes.transData
        else:
            points = _ASIDE * (index - (len(curves) - 1) / 2)
            aside = ScaledTranslation(points / 72, 0, axes.figure.dpi_scale_trans)
            place = axes.transData + aside
            axes.vlines(
                curve.x, curve.low, curve.high, color=look["color"], alpha=0.45, lw=0.9
            ).set_transform(place)
        lines += axes.plot(curve.x, curve.mean, transform=place, **look)
    for line, curve, name in zip(lines, curves, labels(curves), strict=True):
        line.set_label(_legend_text(curve, name))
    return lines


def looks_of(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """Colour, marker and line of each curve."""
    lone = len(curves) > 1 and sum(curve.method == REFERENCE for curve in curves) == 1
    grey = {"color": GREY, "marker": "o", "ls": (0, (4, 2)), "mfc": "white", "mew": 1.0}
    looks: list[dict[str, Any]] = []
    taken = 0
    for curve in curves:
        if lone and curve.method == REFERENCE:
            looks.append(grey)
            continue
        index = taken % len(COLOURS)
        line = "-" if taken < len(COLOURS) else (0, (1, 1))
        looks.append(
            {"color": COLOURS[index], "marker": MARKERS[index], "ls": line, "mec": "white"}
        )
        taken += 1
    return looks


def _draw_controls(axes: Axes, curves: Sequence[Curve]) -> list[Any]:
    """The mean of the controls of one curve and, where there are several, their range."""
    run = [curve for curve in curves if not np.isnan(curve.control).all()]
    if not run:
        return []
    curve = next((curve for curve in run if curve.method != REFERENCE), run[0])
    name = labels(curves)[list(curves).index(curve)] if len(curves) > 1 else "random partitions"
    low, high = curve.control_low, curve.control_high
    axes.fill_between(curve.x, low, high, color=GREY, alpha=0.22, lw=0, zorder=1.2)
    (line,) = axes.plot(curve.x, curve.control, color=GREY, lw=1.0, ls="-", zorder=1.3)
    line.set_label(f"{name}\nrandom partitions" if len(curves) > 1 else f"{name}\nsame sizes")
    return [line]


def _draw_level(axes: Axes, curves: Sequence[Curve]) -> None:
    """The level of the frozen encoder, where curves are what they are above it."""
    if curves[0].view == "minus-frozen":
        axes.axhline(0, color=GREY, lw=1.0, ls=(0, (4, 2)), zorder=1.4)


def _draw_chance(axes: Axes, curves: Sequence[Curve]) -> None:
    low, high = axes.get_ylim()
    curve = max(curves, key=lambda curve: len(curve.ranks))
    if np.isnan(curve.chance).any() or curve.chance.max() < low:
        return
    axes.plot(curve.x, curve.chance, color=INK, lw=0.8, ls=":")
    axes.annotate(
        "chance",
        (curve.x[-1], curve.chance[-1]),
        (0, 2.5),
        textcoords="offset points",
        ha="right",
        fontsize=7.5,
    )
    axes.set_ylim(low, high)


def _draw_no_excess(axes: Axes, curves: Sequence[Curve]) -> None:
    """Where random partitions are: at an excess of 0, if that is in view."""
    low, high = axes.get_xlim()
    if curves[0].axis == "excess" and low <= 0 <= high:
        axes.axvline(0, color=INK, lw=0.8, ls=":", zorder=1.5)
        axes.annotate(
            "random",
            (0, 0),
            (-2.5, 4),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="right",
            rotation=90,
            fontsize=7.5,
        )
        axes.set_xlim(low, high)


def _legend_text(curve: Curve, name: str) -> str:
    return f"{name}\nAGS {ags_text(curve.area, signed=curve.view == 'minus-frozen')}"


def ags_text(area: Estimate | None, *, signed: bool = False) -> str:
    """AGS with the longer half of its interval, `0.512 ± 0.012`."""
    if area is None:
        return "undefined"
    value = f"{area.value:+.3f}" if signed else f"{area.value:.3f}"
    return value if area.half is None else f"{value} ± {area.half:.3f}"


def add_legend(figure: Figure, lines: Sequence[Line2D], title: str | None) -> None:
    """A legend above the axes in as many columns as fit; the figure grows by its height."""
    for columns in range(min(4, len(lines)), 0, -1):
        legend = figure.legend(
            handles=lines,
            loc="outside upper left",
            ncols=columns,
            title=title,
            alignment="left",
            title_fontproperties={"size": 9.5, "weight": "bold"},
        )
        box = legend.get_window_extent()
        if box.width <= figure.bbox.width or columns == 1:
            figure.set_size_inches(WIDTH, HEIGHT + box.height / figure.dpi)
            return
        legend.remove()
