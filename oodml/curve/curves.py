"""`Curve`: one method's metric against shift, with intervals; and what to call several of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, get_args

import numpy as np

from oodml.curve.estimates import Estimate, flat
from oodml.curve.summaries import scaled
from oodml.errors import RunError
from oodml.metrics import find_metric
from oodml.store import frozen

Axis = Literal["shift", "excess", "normalised", "rank"]
View = Literal["raw", "minus-frozen", "equal-galleries"]

REFERENCE = "frozen"
_SUMMARIES = ("area", "slope", "retention")
_ARRAYS = (
    *("x", "mean", "low", "high", "chance", "shift", "excess"),
    *("control", "control_low", "control_high"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One method on the splits of one sequence, easiest first; K points.

    `x` (K,) is what it is drawn against, by `axis`: the `shift` (K,), the `excess` (K,) of it above
    random partitions of the same classes, the shift from 0 to 1, or the rank. `mean` (K,) is the
    metric averaged over seeds, `low` and `high` (K,) its 95 % interval, `chance` (K,) the
    expectation under random order, `control` (K,) the mean over the controls that were run and
    `control_low`, `control_high` (K,) their range, `classes` (K,) the number of test classes
    scored. `view` says what is shown: the metric, or what it is above the frozen encoder's. `seeds`
    is empty for a deterministic method, `terms` is what the data may be used for. NaN, null in
    JSON, stands for an undefined number.

    `area` is AGS, `slope` and `retention` are those of `oodml.curve.summaries`, always of the
    shift; None where they are undefined. `note` says what the intervals leave out.
    """

    method: str
    dataset: str
    encoder: str
    similarity: str
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
    chance: np.ndarray[Any, Any]
    seeds: tuple[int, ...]
    classes: tuple[int, ...]
    area: Estimate | None = None
    slope: Estimate | None = None
    retention: Estimate | None = None
    note: str = ""
    axis: Axis = "shift"
    view: View = "raw"
    shift: np.ndarray[Any, Any] = field(default_factory=lambda: np.empty(0))
    excess: np.ndarray[Any, Any] = field(default_factory=lambda: np.empty(0))
    control: np.ndarray[Any, Any] = field(default_factory=lambda: np.empty(0))
    control_low: np.ndarray[Any, Any] = field(default_factory=lambda: np.empty(0))
    control_high: np.ndarray[Any, Any] = field(default_factory=lambda: np.empty(0))
    terms: str | None = None

    def __post_init__(self) -> None:
        unknown = np.full(len(self.ranks), np.nan)
        for name in ("shift", "excess", "control", "control_low", "control_high"):
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

    @property
    def ags(self) -> float | None:
        """The aggregated generalisation score; None where a rank is missing."""
        return None if self.area is None else self.area.value

    def to_json(self) -> dict[str, Any]:
        """All fields under their names, null where a number is undefined; `area` is `ags`."""
        record = {name: getattr(self, name) for name in self.__slots__ if name not in _SUMMARIES}
        for name in _ARRAYS:
            record[name] = [None if np.isnan(value) else value for value in record[name].tolist()]
        record["budget"] = dict(self.budget)
        for name in ("ranks", "seeds", "classes"):
            record[name] = list(record[name])
        return {**record, **self.summaries()}

    def summaries(self) -> dict[str, float | None]:
        """AGS, slope and retention with their errors and intervals, flat."""
        return flat({"ags": self.area, "slope": self.slope, "retention": self.retention})


def against(curves: Sequence[Curve], axis: Axis) -> list[Curve]:
    """The same curves drawn against another axis; what sums them up stays that of the shift.

    Raises `RunError` where the shift, or the excess, of a split is not known.
    """
    if axis not in get_args(Axis):
        raise ValueError(f"A curve is drawn against {', '.join(get_args(Axis))}; not {axis!r}.")
    return [replace(curve, x=_along(curve, axis), axis=axis) for curve in curves]


def _along(curve: Curve, axis: Axis) -> np.ndarray[Any, Any]:
    if axis == "rank":
        return np.array(curve.ranks)
    if axis == "shift":
        return curve.shift
    if axis == "excess":
        if np.isnan(curve.excess).any():
            raise RunError(
                f"The results on {curve.dataset!r} know of no excess shift (sequence "
                f"{curve.sequence[:12]}): its splits were not calibrated. Build them with "
                "oodml splits build, and run again into a new store."
            )
        return curve.excess
    if len(curve.ranks) < 2 or not (np.diff(curve.shift) > 0).all():
        raise RunError(
            f"The shifts of sequence {curve.sequence[:12]} are not known at two splits or more; "
            "only --x rank can draw it."
        )
    return scaled(curve.shift)


def sign_of(metric: str) -> int:
    """1 where more of a metric is better, -1 where less is."""
    return 1 if find_metric(metric).higher_is_better else -1


def ordered(curves: Sequence[Curve]) -> list[Curve]:
    """The frozen encoder first, then by AGS from the best; curves without AGS last."""

    def key(curve: Curve) -> tuple[Any, ...]:
        missing = curve.ags is None
        rest = (curve.method, curve.encoder, curve.protocol, curve.shots or 0)
        goodness = 0.0 if curve.ags is None else sign_of(curve.metric) * curve.ags
        return (curve.method != REFERENCE, missing, -goodness, *rest)

    return sorted(curves, key=key)


class Named(Protocol):
    """What a label is made of: that of a curve, or of a score card."""

    @property
    def method(self) -> str: ...
    @property
    def encoder(self) -> str: ...
    @property
    def similarity(self) -> str: ...
    @property
    def protocol(self) -> str: ...
    @property
    def shots(self) -> int | None: ...
    @property
    def selection(self) -> str | None: ...
    @property
    def budget(self) -> Mapping[str, int]: ...
    @property
    def features(self) -> str: ...


def labels(curves: Sequence[Named]) -> list[str]:
    """A short name for each curve: the method, and whatever else is needed to tell them apart."""
    columns = [
        [curve.method for curve in curves],
        [curve.encoder for curve in curves],
        [curve.protocol for curve in curves],
        ["" if curve.shots is None else f"{curve.shots} shots" for curve in curves],
        [curve.similarity for curve in curves],
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
