"""`Curve`: one method's metric against shift, with intervals; and what to call several of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from oodml.store import frozen

REFERENCE = "frozen"
_ARRAYS = ("x", "mean", "low", "high", "chance")


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One method on the splits of one sequence, easiest first; K points.

    `x` (K,) is the shift, `mean` (K,) the metric averaged over seeds, `low` and `high` (K,) its
    95 % interval, `chance` (K,) the expectation under random order, `classes` (K,) the number of
    test classes scored. `seeds` is empty for a deterministic method. NaN, null in JSON, stands for
    an undefined number; `ags` is None where a rank is missing. `note` says what the intervals leave
    out.
    """

    method: str
    dataset: str
    encoder: str
    protocol: str
    shots: int | None
    selection: str | None
    budget: Mapping[str, int]
    features: str
    measure: str | None
    sequence: str
    metric: str
    ranks: tuple[int, ...]
    x: np.ndarray[Any, Any]
    mean: np.ndarray[Any, Any]
    low: np.ndarray[Any, Any]
    high: np.ndarray[Any, Any]
    ags: float | None
    ags_low: float | None
    ags_high: float | None
    chance: np.ndarray[Any, Any]
    seeds: tuple[int, ...]
    classes: tuple[int, ...]
    note: str = ""

    def __post_init__(self) -> None:
        for name in _ARRAYS:
            row = frozen(np.asarray(getattr(self, name), dtype=np.float64))
            object.__setattr__(self, name, row)
            if row.shape != (len(self.ranks),):
                raise ValueError(
                    f"Curve of {self.method!r}: {name} has shape {row.shape}; "
                    f"expected one number for each of the {len(self.ranks)} ranks."
                )

    def to_json(self) -> dict[str, Any]:
        """All fields under their names, null where a number is undefined."""
        record = {name: getattr(self, name) for name in self.__slots__}
        for name in _ARRAYS:
            record[name] = [None if np.isnan(value) else value for value in record[name].tolist()]
        record["budget"] = dict(self.budget)
        for name in ("ranks", "seeds", "classes"):
            record[name] = list(record[name])
        return record


def ordered(curves: Sequence[Curve]) -> list[Curve]:
    """The frozen encoder first, then by AGS from high to low; curves without AGS last."""

    def key(curve: Curve) -> tuple[Any, ...]:
        missing = curve.ags is None
        rest = (curve.method, curve.encoder, curve.protocol, curve.shots or 0)
        return (curve.method != REFERENCE, missing, -(curve.ags or 0.0), *rest)

    return sorted(curves, key=key)


def labels(curves: Sequence[Curve]) -> list[str]:
    """A short name for each curve: the method, and whatever else is needed to tell them apart."""
    columns = [
        [curve.method for curve in curves],
        [curve.encoder for curve in curves],
        [curve.protocol for curve in curves],
        ["" if curve.shots is None else f"{curve.shots} shots" for curve in curves],
        [curve.selection or "" for curve in curves],
        [" ".join(f"{key} {n}" for key, n in sorted(c.budget.items())) for c in curves],
        [f"vectors {curve.features[:8]}" for curve in curves],
    ]
    chosen: list[list[str]] = []
    for column in columns:
        together = len(set(zip(*chosen, strict=True))) if chosen else 1
        if len(set(zip(*chosen, column, strict=True))) > together:
            chosen.append(column)
    rows = zip(*(chosen or columns[:1]), strict=True)
    return [" · ".join(part for part in row if part) for row in rows]
