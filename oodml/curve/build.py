"""Score cards -> curves: mean and 95 % interval at each split, and of the area under them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from oodml.curve.area import areas
from oodml.curve.bootstrap import class_replicates, group_replicates, half_width
from oodml.curve.curves import Axis, Curve, against, ordered
from oodml.curve.points import (
    Array,
    Point,
    Run,
    control_means,
    curve_key,
    ordinal,
    points_of,
    require_one_excess,
    together,
)
from oodml.errors import RunError
from oodml.metrics import find_metric
from oodml.score.card import ScoreCard


def build_curves(
    cards: Sequence[ScoreCard], metric: str = "recall@1", *, x: Axis = "shift"
) -> list[Curve]:
    """One curve for each (method, encoder, protocol, shots), the frozen encoder first, then by AGS.

    `x` is what they are drawn against: shift, or excess shift; AGS is of the shift in either case.
    A rank that some run of a curve lacks leaves its AGS undefined (None), and its note names it.
    Cards of controls have no part in all this; their mean goes along in `Curve.control`.
    """
    cards, controls = together(cards, metric)
    if x == "excess":
        require_one_excess(cards)
    replicates = _replicates(cards, metric)
    top = max(card.levels for card in cards)
    groups: dict[tuple[Any, ...], list[int]] = {}
    for index, card in enumerate(cards):
        groups.setdefault(curve_key(card), []).append(index)
    curves = []
    for key, rows in groups.items():
        own = None if replicates is None else replicates[:, rows]
        curve = _build([cards[index] for index in rows], metric, own, top)
        means = control_means([card for card in controls if curve_key(card) == key], metric)
        values = [means.get(rank, np.nan) for rank in curve.ranks]
        curves.append(replace(curve, control=np.array(values)))
    return against(ordered(curves), x)


def build_curve(
    cards: Sequence[ScoreCard], metric: str = "recall@1", *, x: Axis = "shift"
) -> Curve:
    """The curve of cards that make exactly one."""
    curves = build_curves(cards, metric, x=x)
    if len(curves) > 1:
        names = "; ".join(f"{c.method}, {c.encoder}, {c.protocol}" for c in curves)
        raise RunError(
            f"The cards make {len(curves)} curves ({names}); choose one or call build_curves."
        )
    return curves[0]


def _build(cards: Sequence[ScoreCard], metric: str, replicates: Array | None, levels: int) -> Curve:
    first, points = cards[0], points_of(cards, metric, replicates)
    gaps = _gaps(points, levels)
    mean = np.array([point.mean for point in points])
    half = np.array([_point_half_width(point) for point in points])
    low, high = _clipped(mean, half, metric)
    area, area_low, area_high = (None, None, None) if gaps else _area(points, metric)
    return Curve(
        method=first.method,
        dataset=first.dataset,
        encoder=first.encoder,
        protocol=first.protocol,
        shots=first.shots,
        selection=first.selection,
        budget=first.budget,
        features=first.features,
        measure=first.measure,
        sequence=first.sequence,
        metric=metric,
        ranks=tuple(point.rank for point in points),
        x=np.array([point.shift for point in points]),
        mean=mean,
        low=low,
        high=high,
        ags=area,
        ags_low=area_low,
        ags_high=area_high,
        chance=np.array([point.chance for point in points]),
        seeds=tuple(sorted({card.seed for card in cards if card.seed is not None})),
        classes=tuple(len(point.classes) for point in points),
        note="; ".join([*_limits(cards, points, metric), *gaps]),
        excess=np.array([point.excess for point in points]),
    )


def _point_half_width(point: Point) -> float:
    if point.replicates is None:
        return float("nan")
    return half_width(point.replicates, len(point.classes), np.array(list(point.units.values())))


def _replicates(cards: Sequence[ScoreCard], metric: str) -> Array | None:
    """What the cards would say for other test classes, (r, cards); None where they do not tell."""
    if all(metric in card.sums for card in cards):
        return class_replicates(cards, metric)
    if all(metric in card.replicates for card in cards):
        return group_replicates(cards, metric)
    return None


def _clipped(mean: Array, half: Array, metric: str) -> tuple[Array, Array]:
    """Interval limits, within the range of the metric."""
    found = find_metric(metric)
    low, high = mean - half, mean + half
    return np.clip(low, found.low, found.high), np.clip(high, found.low, found.high)


def _area(points: Sequence[Point], metric: str) -> tuple[float, float | None, float | None]:
    """AGS and its interval; both parts of the variance are taken on the area itself."""
    shift = np.array([point.shift for point in points])
    units = sorted(points[0].units, key=lambda unit: -1 if unit is None else unit)
    per_unit = areas(shift, np.array([[point.units[unit] for point in points] for unit in units]))
    mean = float(per_unit.mean())
    rows = [point.replicates for point in points if point.replicates is not None]
    # A split of one class stays put when classes are drawn again, which would look like certainty.
    if len(rows) < len(points) or any(len(point.classes) < 2 for point in points):
        return mean, None, None
    union = frozenset[str]().union(*(point.classes for point in points))
    half = half_width(areas(shift, np.stack(rows, axis=-1)), len(union), per_unit)
    if not np.isfinite(half):
        return mean, None, None
    low, high = _clipped(np.array(mean), np.array(half), metric)
    return mean, float(low), float(high)


# What a curve cannot say -------------------------------------------------------------------------


def _gaps(points: Sequence[Point], levels: int) -> list[str]:
    """Why AGS is undefined: too few splits, missing ranks, or shifts that do not grow."""
    if levels < 2:
        return ["one split: no AGS"]
    lacking: dict[tuple[int, ...], list[Run]] = {}
    every = sorted({run for point in points for run in point.runs}, key=ordinal)
    for run in every:
        present = {point.rank for point in points if run in point.runs}
        if absent := tuple(rank for rank in range(1, levels + 1) if rank not in present):
            lacking.setdefault(absent, []).append(run)
    gaps = [
        f"{_runs_text(runs, every)} rank {', '.join(map(str, absent))}: no AGS"
        for absent, runs in lacking.items()
    ]
    for near, far in pairwise(points):
        if not far.shift > near.shift:  # true of NaN as well
            gaps.append(f"the shift does not grow from rank {near.rank} to {far.rank}: no AGS")
    return gaps


def _runs_text(runs: Sequence[Run], every: Sequence[Run]) -> str:
    if len(runs) == len(every):
        return "no results at"
    names = [
        " ".join(
            f"{kind} {number}"
            for kind, number in zip(("seed", "episode"), run, strict=True)
            if number is not None
        )
        for run in runs
    ]
    return f"no results of {', '.join(names)} at"


def _limits(cards: Sequence[ScoreCard], points: Sequence[Point], metric: str) -> list[str]:
    """What the intervals leave out."""
    if points[0].replicates is None:
        return [f"{metric} is no mean over queries, and some cards have no jackknife: no intervals"]
    seeds = {card.seed for card in cards}
    covered = "the choice of classes" + (
        " and of labelled images" if len({card.episode for card in cards}) > 1 else ""
    )
    limits = []
    if seeds == {None}:
        limits.append(f"deterministic: intervals cover {covered} only")
    elif len(seeds) == 1:
        limits.append(f"one seed: intervals cover {covered} only")
    if single := [point.rank for point in points if len(point.classes) < 2]:
        limits.append(f"one test class at rank {', '.join(map(str, single))}: no interval there")
    return limits
