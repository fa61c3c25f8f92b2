"""Where the classes of each side lie: one panel a split, in two principal components."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from oodml.plot.style import COLOURS, GREY, settle, styled
from oodml.shift import ClassMoments
from oodml.split import Split, SplitSequence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]
_COLUMNS = 4
_PANEL = 1.75  # inches


def plot_sides(sequence: SplitSequence, moments: ClassMoments) -> Figure:
    """Class means in their two leading principal components, one panel a split.

    The axes are the same in all panels; classes of the data that a split leaves out are small and
    grey.
    """
    places, shares = principal_components(moments.means)
    columns = min(_COLUMNS, len(sequence.splits))
    rows = ceil(len(sequence.splits) / columns)
    with styled():
        from matplotlib.figure import Figure

        size = (columns * _PANEL, rows * (_PANEL + 0.25) + 0.5)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for axes in panels.flat[len(sequence.splits) :]:
            axes.set_axis_off()
        for axes, split in zip(panels.flat, sequence.splits, strict=False):
            _draw(axes, split, moments, places)
        figure.supxlabel(f"First principal component ({shares[0]:.0%})", fontsize="medium")
        figure.supylabel(f"Second ({shares[1]:.0%})", fontsize="medium")
        named = {
            name: handle
            for axes in panels.flat
            for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(named.values(), named.keys(), loc="outside upper left", ncols=3)
        settle(figure)
    return figure


def principal_components(means: Array) -> tuple[Array, Array]:
    """Coordinates (c, 2) of rows (c, d) in two leading components, and their share of variance.

    Signs are fixed by making the entry of largest size in each column positive; a second component
    that is not there is 0.
    """
    centred = means - means.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(means), 2))
    count = min(2, len(values))
    places[:, :count] = left[:, :count] * values[:count]
    largest = np.abs(places).argmax(axis=0)
    places *= np.where(places[largest, [0, 1]] < 0, -1, 1)
    shares = np.zeros(2)
    shares[:count] = values[:count] ** 2 / max(float((values**2).sum()), np.finfo(float).tiny)
    return places, shares


def _draw(axes: Axes, split: Split, moments: ClassMoments, places: Array) -> None:
    train, test = (moments.rows(names) for names in (split.train_side, split.test))
    rest = np.setdiff1d(np.arange(len(places)), np.concatenate([train, test]))
    size = float(np.clip(900 / len(places), 3, 16))
    looks = (
        ("left out", rest, GREY, "o", size / 3),
        ("train side", train, COLOURS[0], "o", size),
        ("test", test, COLOURS[1], "^", size),
    )
    for name, rows, colour, marker, area in looks:
        if len(rows):
            x, y = places[rows].T
            axes.scatter(
                x, y, s=area, c=colour, marker=marker, linewidths=0, alpha=0.75, label=name
            )
    shift = "" if split.shift is None else f", shift {split.shift:.4g}"
    axes.set_title(f"{split.rank}{shift}", fontsize="medium")
    axes.set_xticks([])
    axes.set_yticks([])
