"""Score cards -> curves: mean and 95 % interval at each split, and of what sums a curve up."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypedDict, Unpack

import numpy as np

from oodml.curve.cards import of_one_sequence, require_one_excess
from oodml.curve.curves import Axis, Curve, View, against, ordered
from oodml.curve.estimates import Estimate, estimate
from oodml.curve.results import Array, Results
from oodml.curve.summaries import areas, retentions, slopes
from oodml.curve.views import Span, span_of, view_results
from oodml.errors import RunError
from oodml.score.card import ScoreCard


class Shown(TypedDict, total=False):
    """How curves are shown: along which axis, in which view, and whether in part."""

    x: Axis
    view: View
    partial: bool


def build_curves(
    cards: Sequence[ScoreCard], metric: str = "recall@1", **shown: Unpack[Shown]
) -> list[Curve]:
    """One curve for each (method, encoder, protocol, shots), the frozen encoder first, then by AGS.

    `x` is what they are drawn against: shift (default), excess, normalised or rank; AGS, slope and
    retention are of the shift in any case. `view` is `raw`, `minus-frozen` (what each is above the
    frozen encoder on the same queries) or `equal-galleries` (`recall@k|m`). A run that lacks a rank
    is an error; with `partial`, what is there is drawn, without AGS. Cards of controls have no part
    in all this; their mean and range go along in `Curve.control`.
    """
    of_one_sequence(cards)
    view = shown.get("view", "raw")
    results = view_results(cards, metric, view, partial=shown.get("partial", False))
    return curves_of(results, view, shown.get("x", "shift"))


def build_curve(
    cards: Sequence[ScoreCard], metric: str = "recall@1", **shown: Unpack[Shown]
) -> Curve:
    """The curve of cards that make exactly one; options are those of `build_curves`."""
    curves = build_curves(cards, metric, **shown)
    if len(curves) > 1:
        names = "; ".join(f"{c.method}, {c.encoder}, {c.protocol}" for c in curves)
        raise RunError(
            f"The cards make {len(curves)} curves ({names}); choose one or call build_curves."
        )
    return curves[0]


def curves_of(results: Sequence[Results], view: View = "raw", x: Axis = "shift") -> list[Curve]:
    """The curves of results of one sequence, in order."""
    if x == "excess":
        require_one_excess(card for found in results for card in found.cards)
    return against(ordered([curve_of(found, view) for found in results]), x)


def curve_of(results: Results, view: View = "raw") -> Curve:
    """The curve of some results, against shift."""
    first, span = results.cards[0], span_of(results.metric, view)
    points = _points(results, span)
    undefined = _undefined(results)
    control, low, high = _controls(results)
    return Curve(
        method=first.method,
        dataset=first.dataset,
        encoder=first.encoder,
        similarity=first.similarity,
        protocol=first.protocol,
        shots=first.shots,
        selection=first.selection,
        budget=first.budget,
        features=first.features,
        measure=first.measure,
        sequence=first.sequence,
        metric=results.metric,
        ranks=results.ranks,
        x=results.shift,
        mean=results.mean,
        low=_ends(point.low for point in points),
        high=_ends(point.high for point in points),
        chance=results.chance,
        seeds=results.seeds,
        classes=tuple(len(names) for names in results.classes),
        area=None if undefined else area_of(results, span),
        slope=None if undefined else slope_of(results),
        retention=None if undefined else retention_of(results),
        note="; ".join([*_limits(results, points), *undefined]),
        view=view,
        excess=results.excess,
        terms=first.terms,
        control=control,
        control_low=low,
        control_high=high,
    )


def _points(results: Results, span: Span) -> list[Estimate]:
    found = []
    for at, classes in enumerate(results.classes):
        values = results.values[:, at]
        drawn = None if results.replicates is None else results.replicates[:, at]
        units = values[~np.isnan(values)]
        found.append(estimate(float(units.mean()), drawn, len(classes), units, span=span))
    return found


def _ends(values: Any) -> Array:
    return np.array([np.nan if value is None else value for value in values])


def _controls(results: Results) -> tuple[Array, Array, Array]:
    """Mean, least and largest over the controls of each rank; NaN where there is none."""
    rows = [
        [value for (own, _), value in results.controls.items() if own == rank] or [np.nan]
        for rank in results.ranks
    ]
    mean, low, high = np.array([[np.mean(row), np.min(row), np.max(row)] for row in rows]).T
    return mean, low, high


# What sums a curve up ----------------------------------------------------------------------------


def resampled(results: Results) -> Array | None:
    """The replicates (R, K), if they say anything of the curve as a whole.

    A split of one class stays put when classes are drawn again, which would look like certainty.
    """
    lone = any(len(names) < 2 for names in results.classes)
    return None if lone else results.replicates


def area_of(results: Results, span: Span) -> Estimate:
    """AGS; both parts of its variance are taken on the area itself."""
    drawn, shift = resampled(results), results.shift
    replicates = None if drawn is None else areas(shift, drawn)
    units = areas(shift, results.values)
    return estimate(float(units.mean()), replicates, results.union, units, span=span)


def slope_of(results: Results) -> Estimate:
    drawn, shift = resampled(results), results.shift
    replicates = None if drawn is None else slopes(shift, drawn)
    units = slopes(shift, results.values)
    return estimate(float(units.mean()), replicates, results.union, units)


def retention_of(results: Results) -> Estimate | None:
    """Retention of the mean over units; None where chance is unknown or the start not above it."""
    value = float(retentions(results.mean, results.chance))
    if np.isnan(value):
        return None
    drawn = resampled(results)
    if drawn is None or _unsure_start(results):
        return Estimate(value)
    units = retentions(results.values, results.chance)
    return estimate(value, retentions(drawn, results.chance), results.union, units)


def _unsure_start(results: Results) -> bool:
    """Whether other classes or seeds may put the first split to chance, and retention anywhere."""
    if results.replicates is None or np.isnan(results.chance[0]):
        return False
    starts = np.concatenate([results.values[:, 0], results.replicates[:, 0]])
    return bool((starts <= results.chance[0]).any())


# What a curve cannot say -------------------------------------------------------------------------


def _undefined(results: Results) -> list[str]:
    """Why AGS is undefined: too few splits, missing ranks, or shifts that do not grow."""
    if results.cards[0].levels < 2:
        return ["one split: no AGS"]
    reasons = [f"{gap}: no AGS" for gap in results.gaps]
    for near, far in pairwise(range(len(results.ranks))):
        if not results.shift[far] > results.shift[near]:  # true of NaN as well
            ranks = f"rank {results.ranks[near]} to {results.ranks[far]}"
            reasons.append(f"the shift does not grow from {ranks}: no AGS")
    return reasons


def _limits(results: Results, points: Sequence[Estimate]) -> list[str]:
    """What the intervals leave out."""
    if results.replicates is None:
        why = "is no mean over queries, and some cards have no jackknife"
        return [f"{results.metric} {why}: no intervals"]
    limits = _uncovered(results)
    if single := [r for r, c in zip(results.ranks, results.classes, strict=True) if len(c) < 2]:
        limits.append(f"one test class at rank {_list(single)}: no interval there, nor of AGS")
    if flat := [r for r, point in zip(results.ranks, points, strict=True) if point.error == 0]:
        limits.append(
            f"all classes score the same at rank {_list(flat)}: an interval of no width there is "
            "no certainty about other classes"
        )
    if _unsure_start(results):
        limits.append("the first split is not surely above chance: no interval of retention")
    return limits


def _uncovered(results: Results) -> list[str]:
    episodes = len({card.episode for card in results.cards}) > 1
    both = ["both directions averaged"] if any(card.swapped for card in results.cards) else []
    covered = "the choice of classes" + (" and of labelled images" if episodes else "")
    if not results.seeds:
        return [*both, f"deterministic: intervals cover {covered} only"]
    if results.one_seed:
        return [*both, f"one seed: intervals cover {covered} only"]
    return [*both, "intervals leave out labelled images that all seeds share"] if episodes else both


def _list(ranks: Sequence[int]) -> str:
    return ", ".join(map(str, ranks))
