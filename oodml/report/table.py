"""Curves as a table: rows of strings for people, rows of numbers for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import floor, isnan, log10
from typing import Any

from oodml.curve import Curve, labels

ABSENT = "–"


def text_table(
    curves: Sequence[Curve], splits: Sequence[Mapping[str, Any]] = ()
) -> list[list[str]]:
    """A header, a row for each split, and AGS; every method with half of its 95 % interval.

    With `splits`, dicts with `rank`, `n_train` and `n_test`, the classes of either side are given;
    without them the number of test classes scored.
    """
    sides = {split["rank"]: f"{split['n_train']} / {split['n_test']}" for split in splits}
    header = [
        "Split",
        "Excess" if curves[0].axis == "excess" else "Shift",
        "Train / test classes" if sides else "Test classes",
    ]
    rows = [[*header, *labels(curves)]]
    decimals = _decimals([x for curve in curves for x in curve.x])
    for rank in sorted({rank for curve in curves for rank in curve.ranks}):
        curve = next(curve for curve in curves if rank in curve.ranks)
        at = curve.ranks.index(rank)
        classes = sides.get(rank, ABSENT) if sides else str(curve.classes[at])
        cells = [_cell(curve, rank) for curve in curves]
        rows.append([str(rank), shift_text(curve.x[at], decimals), classes, *cells])
    areas = [value_text(curve.ags, curve.ags_low, curve.ags_high) for curve in curves]
    return [*rows, ["AGS", "", "", *areas]]


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


def number_table(curves: Sequence[Curve]) -> Iterator[dict[str, Any]]:
    """One flat record for each curve and split, as for a CSV file; None where undefined."""
    for curve in curves:
        record = curve.to_json()
        names = ("x", "shift", "excess", "mean", "low", "high", "chance", "control", "classes")
        columns = {name: record[name] for name in names}
        for at, rank in enumerate(curve.ranks):
            yield {
                "dataset": curve.dataset,
                "sequence": curve.sequence,
                "method": curve.method,
                "encoder": curve.encoder,
                "protocol": curve.protocol,
                "shots": curve.shots,
                "metric": curve.metric,
                "axis": curve.axis,
                "rank": rank,
                **{name: column[at] for name, column in columns.items()},
                "seeds": len(curve.seeds),
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
