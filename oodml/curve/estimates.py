"""How sure a number is: `Estimate`, a value with its standard error and 95 % interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
LEVEL = 0.95
ROUNDING = 1e-12  # what is smaller is the rounding of sums, not a number
REPLICATES = 2000  # of resampled classes; where there are fewer, they are groups of classes


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value, its standard `error` with its degrees of `freedom`, and its 95 % interval.

    None stands for what cannot be known. The interval lies within the range of the metric; `p` is
    of the whole t distribution.
    """

    value: float
    error: float | None = None
    freedom: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def half(self) -> float | None:
        """Half of the interval, the longer one: the other may have been cut off at 0 or 1."""
        if self.low is None or self.high is None:
            return None
        return max(self.value - self.low, self.high - self.value)

    @property
    def p(self) -> float | None:
        """How likely a value so far from 0 is, on either side, if the truth is 0: t distribution.

        Where the error is 0, 1 for a value of 0, else 0.
        """
        if self.error is None or self.freedom is None:
            return None
        if self.error == 0:
            return float(self.value == 0)
        from scipy.special import stdtr

        return float(2 * stdtr(self.freedom, -abs(self.value) / self.error))

    def to_json(self, name: str) -> dict[str, float | None]:
        """`name`, `name_error`, `name_low`, `name_high`."""
        ends = {f"{name}_{end}": getattr(self, end) for end in ("error", "low", "high")}
        return {name: self.value, **ends}


def estimate(
    value: float,
    replicates: Array | None,
    classes: int,
    *units: Sequence[float] | Array,
    span: tuple[float, float] = (-inf, inf),
) -> Estimate:
    """`value` with the error that other test classes and other seeds would make.

    error^2 = class part + sum of seed parts. Class part: variance of the `replicates` (R,) of the
    value, with `classes` - 1 degrees of freedom, or one less than there are groups of classes. Seed
    parts: s^2 / S of each of the `units` (S,), with S - 1; nothing for a single one. The interval
    is value +- t error with Satterthwaite's degrees of freedom, (sum v)^2 / sum(v^2 / df), cut to
    `span`. Without replicates, or for one class, which says nothing of others, there is none.
    """
    from scipy.special import stdtrit

    value = 0.0 if abs(value) < ROUNDING else value
    class_part = None if replicates is None else _class_part(replicates, classes)
    if class_part is None:
        return Estimate(value)
    parts = [class_part, *(part for row in units if (part := _seed_part(np.asarray(row))))]
    total = sum(variance for variance, _ in parts)
    if sqrt(total) <= ROUNDING * max(1.0, abs(value)):
        return Estimate(value, 0.0, inf, value, value)
    freedom = 1 / sum((variance / total) ** 2 / df for variance, df in parts)
    error = sqrt(total)
    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * error
    low, high = np.clip([value - half, value + half], *span)
    return Estimate(value, error, freedom, float(low), float(high))


def _class_part(replicates: Array, classes: int) -> tuple[float, int] | None:
    drawn, finite = len(replicates), int(np.isfinite(replicates).sum())
    # Of drawn classes, a few replicates may lack a split's; of groups, each of them counts.
    enough = drawn if drawn < REPLICATES else drawn / 2
    if classes < 2 or finite < max(2, enough):
        return None
    return float(np.nanvar(replicates, ddof=1)), min(classes, drawn) - 1


def _seed_part(values: Array) -> tuple[float, int] | None:
    if (count := len(values)) < 2:
        return None
    return float(np.var(values, ddof=1)) / count, count - 1


def flat(estimates: Mapping[str, Estimate | None]) -> dict[str, float | None]:
    """Estimates as one flat JSON object, null where there is none."""
    record: dict[str, float | None] = {}
    for name, found in estimates.items():
        record |= (found or _NOTHING).to_json(name)
    return record


_NOTHING = Estimate(value=None)  # type: ignore[arg-type]
