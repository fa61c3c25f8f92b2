"""`Curve`: one method's metric against shift, with intervals; and what to call several of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from oodml.errors import RunError
from oodml.store import frozen

Axis = Literal["shift", "excess"]

REFERENCE = "frozen"
_ARRAYS = ("x", "mean", "low", "high", "chance", "shift", "excess", "control")


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One method on the splits of one sequence, easiest first; K points.

    `x` (K,) is what it is drawn against, by `axis`: the `shift` (K,), or the `excess` (K,) of it
    above random partitions of the same classes. `mean` (K,) is the metric averaged over seeds,
    `low` and `high` (K,) its 95 % interval, `chance` (K,) the expectation under random order,
    `control` (K,) the mean over the controls that were run, `classes` (K,) the number of test
    classes scored. `seeds` is empty for a deterministic method. NaN, null in JSON, stands for an
    undefined number; `ags`, always of the shift, is None where a rank is missing. `note` says what
    the intervals leave out.
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
    axis: Axis = "shift"
    shift: np.ndarray[Any, Any] = field(default_factory=lambda: np.empty(0))
    excess: np.ndarray[Any, Any] = field(default_factory=lambda: np.empty(0))
    control: np.ndarray[Any, Any] = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        unknown = np.full(len(self.ranks), np.nan)
        for name in ("shift", "excess", "control"):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, self.x if name == self.axis else unknown)
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


def against(curves: Sequence[Curve], axis: Axis) -> list[Curve]:
    """The same curves drawn against shift or excess; AGS stays that of the shift.

    Raises `RunError` where the excess of a split is not known.
    """
    if axis not in ("shift", "excess"):
        raise ValueError(f"A curve is drawn against shift or excess, not {axis!r}.")
    if axis == "excess":
        for curve in curves:
            if np.isnan(curve.excess).any():
                raise RunError(
                    f"The results on {curve.dataset!r} know of no excess shift (sequence "
                    f"{curve.sequence[:12]}): its splits were not calibrated. Build them with "
                    "oodml splits build, and run again into a new store."
                )
    return [replace(curve, x=getattr(curve, axis), axis=axis) for curve in curves]


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
