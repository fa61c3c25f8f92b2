"""Curves and comparisons as tables: rows of strings for people, of numbers for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import floor, isnan, log10
from typing import Any

from oodml.curve import Comparison, Curve, Estimate, OrderChange, Spread, labels

ABSENT = "–"
_NAMES = ("method", "encoder", "similarity", "protocol", "selection", "shots", "features")
_COLUMNS = (
    *("x", "shift", "excess", "mean", "low", "high", "chance"),
    *("control", "control_low", "control_high", "classes"),
)
_AXES = {"shift": "Shift", "excess": "Excess", "normalised": "Shift, 0 to 1"}


def text_table(
    curves: Sequence[Curve], splits: Sequence[Mapping[str, Any]] = ()
) -> list[list[str]]:
    """A header, a row for each split, and AGS; every method with half of its 95 % interval.

    With `splits`, dicts with `rank`, `n_train` and `n_test`, the classes of either side are given;
    without them the number of test classes scored. Against the rank, the shift is given as well.
    """
    sides = {split["rank"]: f"{split['n_train']} / {split['n_test']}" for split in splits}
    axis = "shift" if curves[0].axis == "rank" else curves[0].axis
    classes = "Train / test classes" if sides else "Test classes"
    rows = [["Split", _AXES[axis], classes, *labels(curves)]]
    along = {id(curve): curve.shift if curve.axis == "rank" else curve.x for curve in curves}
    decimals = _decimals([x for row in along.values() for x in row])
    for rank in sorted({rank for curve in curves for rank in curve.ranks}):
        curve = next(curve for curve in curves if rank in curve.ranks)
        at = curve.ranks.index(rank)
        classes = sides.get(rank, ABSENT) if sides else str(curve.classes[at])
        cells = [_cell(curve, rank) for curve in curves]
        rows.append([str(rank), shift_text(along[id(curve)][at], decimals), classes, *cells])
    return [*rows, ["AGS", "", "", *(estimate_text(curve.area) for curve in curves)]]


def control_table(curves: Sequence[Curve]) -> list[list[str]]:
    """A header and a row for each split: what the controls score, mean and range.

    Only methods that were run on controls have a column; empty where none was.
    """
    named = zip(curves, labels(curves), strict=True)
    run = [(curve, name) for curve, name in named if not all(map(isnan, curve.control))]
    if not run:
        return []
    ranks = sorted({rank for curve, _ in run for rank in curve.ranks})
    rows = [[str(rank), *(_control_cell(curve, rank) for curve, _ in run)] for rank in ranks]
    return [["Split", *(name for _, name in run)], *rows]


def summary_table(curves: Sequence[Curve], comparison: Comparison | None = None) -> list[list[str]]:
    """A header and a row for each method: AGS, slope, retention, and the places it may have."""
    header = ["method", "AGS", "slope", "retention"]
    rows = [
        [name, *(estimate_text(found) for found in (curve.area, curve.slope, curve.retention))]
        for name, curve in zip(labels(curves), curves, strict=True)
    ]
    if comparison is None:
        return [header, *rows]
    places = {place.method: str(place) for place in comparison.places}
    return [[*header, "place"], *([*row, places.get(row[0], ABSENT)] for row in rows)]


def difference_table(comparison: Comparison) -> list[list[str]]:
    """A header and a row for each pair of methods: difference of AGS, its interval, p values."""
    corrected = f"p, {comparison.correction.title()}"
    header = ["one", "other", "difference of AGS", "95 % interval", "p", corrected]
    rows = [
        [
            pair.one,
            pair.other,
            f"{pair.ags.value:+.4f}",
            ABSENT if pair.ags.low is None else f"{pair.ags.low:+.4f} to {pair.ags.high:+.4f}",
            p_text(pair.p),
            p_text(pair.adjusted) + (" *" if pair.significant else ""),
        ]
        for pair in comparison.differences
    ]
    return [header, *rows]


def order_text(order: OrderChange) -> str:
    """What the splits say of the order of methods, in sentences."""
    if order.tau is None:
        return "The methods score alike at the first or the last split: there is no order."
    text = f"First and last split order the methods with Kendall's tau {order.tau:+.2f}"
    if order.ceiling is not None and order.between is not None:
        text += (
            f". Between halves of the seeds tau is {order.ceiling:+.2f} on the same split (the "
            f"noise ceiling) and {order.between:+.2f} across these two"
        )
    if order.best_first == order.best_last:
        best = f"The best method is {order.best_first} at both"
    else:
        best = f"The best method is {order.best_first} at the first, {order.best_last} at the last"
    if order.changes is not None:
        best += f"; they differ in {order.changes:.0%} of resamples"
    return f"{text}. {best}."


def spread_table(spreads: Sequence[Spread]) -> list[list[str]]:
    """A header and a row for each method: AGS over sequences, and what sets these apart."""
    header = ["method", "sequences", "AGS", "each", "between sequences", "of that by seeds"]
    return [
        header,
        *(
            [
                spread.label,
                str(len(spread.curves)),
                estimate_text(spread.ags),
                " ".join(ABSENT if c.ags is None else f"{c.ags:.3f}" for c in spread.curves),
                f"{spread.between:.4f}",
                ABSENT if spread.within is None else f"{spread.within:.4f}",
            ]
            for spread in spreads
        ),
    ]


def p_text(p: float | None) -> str:
    """A p value; below a thousandth only that."""
    if p is None:
        return ABSENT
    return "< .001" if p < 0.001 else f"{p:.3f}"


def estimate_text(found: Estimate | None) -> str:
    """An estimate with half of its interval; a dash where there is none."""
    return ABSENT if found is None else value_text(found.value, found.low, found.high)


def shift_text(shift: float, decimals: int) -> str:
    """A shift; a dash where it is unknown."""
    return ABSENT if isnan(shift) else f"{shift:.{decimals}f}"


def value_text(mean: float | None, low: float | None, high: float | None) -> str:
    """A number with half of its interval, `0.512 ± 0.012`; without one, the number alone."""
    if mean is None or isnan(mean):
        return ABSENT
    if low is None or high is None or isnan(low) or isnan(high):
        return f"{mean:.3f}"
    # The longer side: the other one may have been cut off at 0 or 1.
    return f"{mean:.3f} ± {max(mean - low, high - mean):.3f}"


def number_table(
    curves: Sequence[Curve], comparison: Comparison | None = None
) -> Iterator[dict[str, Any]]:
    """One flat record for each curve and split, as for a CSV file; None where undefined.

    What sums a curve up is repeated on each of its rows, and so is its place.
    """
    places = {place.method: place for place in comparison.places} if comparison else {}
    for name, curve in zip(labels(curves), curves, strict=True):
        record = curve.to_json()
        columns = {name: record[name] for name in _COLUMNS}
        for at, rank in enumerate(curve.ranks):
            yield {
                "dataset": curve.dataset,
                "sequence": curve.sequence,
                "label": name,
                **{field: record[field] for field in _NAMES},
                "budget": " ".join(f"{key} {n}" for key, n in sorted(curve.budget.items())),
                "metric": curve.metric,
                "view": curve.view,
                "axis": curve.axis,
                "rank": rank,
                **{name: column[at] for name, column in columns.items()},
                "seeds": len(curve.seeds),
                **curve.summaries(),
                "place_best": places[name].best if name in places else None,
                "place_worst": places[name].worst if name in places else None,
                "note": curve.note,
            }


def _decimals(values: Sequence[float]) -> int:
    """Decimals that give the largest value four digits."""
    largest = max((abs(value) for value in values if not isnan(value)), default=0.0)
    return max(0, 3 - floor(log10(largest))) if largest > 0 else 1


def _cell(curve: Curve, rank: int) -> str:
    if rank not in curve.ranks:
        return ABSENT
    at = curve.ranks.index(rank)
    return value_text(curve.mean[at], curve.low[at], curve.high[at])


def _control_cell(curve: Curve, rank: int) -> str:
    if rank not in curve.ranks:
        return ABSENT
    at = curve.ranks.index(rank)
    mean, low, high = (row[at] for row in (curve.control, curve.control_low, curve.control_high))
    return ABSENT if isnan(mean) else f"{mean:.3f} ({low:.3f} to {high:.3f})"
