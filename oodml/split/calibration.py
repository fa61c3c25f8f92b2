"""`Calibration`: how far apart random partitions of the same classes are, without any shift.

The distance between the means of few classes is larger than that between the means of many, even
where both sides are drawn from one population; so a split of few classes is not as far as its shift
says. What is left above random partitions of the same classes into sides of the same sizes is the
`excess`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any

import numpy as np

from oodml.errors import SplitError

Array = np.ndarray[Any, Any]
# Partitions nearer than this to the split itself, relative, are as far: shifts are stored to nine
# digits, and of few classes a random partition can be the split again.
AS_FAR = 1e-6


@dataclass(frozen=True, slots=True)
class Calibration:
    """Mean and standard deviation of the shift over random partitions of a split's classes.

    `at_least` of the `partitions` are as far apart as the split, or farther. All of them have the
    classes of the split, and sides of its sizes.
    """

    partitions: int
    mean: float
    std: float
    at_least: int

    def __post_init__(self) -> None:
        numbers = isfinite(self.mean) and isfinite(self.std) and min(self.mean, self.std) >= 0
        if not numbers or not 0 <= self.at_least <= self.partitions or self.partitions < 1:
            raise SplitError(
                f"A calibration with {self.at_least} of {self.partitions} partitions as far, mean "
                f"{self.mean} and standard deviation {self.std}; expected at least one partition, "
                "and finite numbers not below 0."
            )

    @classmethod
    def of(cls, shift: float, random: Array) -> Calibration:
        """What random partitions `(r,)` say of a split at this shift."""
        mean = float(random.mean())
        # Equal partitions differ by rounding only.
        spread = len(random) > 1 and float(np.ptp(random)) > AS_FAR * mean
        std = float(random.std(ddof=1)) if spread else 0.0
        return cls(len(random), nine_digits(mean), nine_digits(std), count_as_far(shift, random))

    def excess(self, shift: float) -> float:
        """The shift less the mean; in its unit."""
        return shift - self.mean

    def ratio(self, shift: float) -> float | None:
        """The shift by the mean; None where random partitions are not apart at all."""
        return shift / self.mean if self.mean else None

    def z(self, shift: float) -> float | None:
        """The excess in standard deviations, for information: the distribution is not normal."""
        return self.excess(shift) / self.std if self.std else None

    @property
    def p(self) -> float:
        """(1 + at_least) / (1 + partitions): how often chance alone goes as far."""
        return (1 + self.at_least) / (1 + self.partitions)

    @property
    def p_text(self) -> str:
        """p for people: "< 1/201" where none of 200 random partitions is as far."""
        return p_text(self.at_least, self.partitions)

    @property
    def percentile(self) -> float:
        """How many random partitions are less far, in percent."""
        return 100 * (1 - self.at_least / self.partitions)

    def to_json(self, shift: float | None) -> dict[str, Any]:
        """The fields and, for readers of the file, what follows from them and the shift."""
        record: dict[str, Any] = {**asdict(self), "p": nine_digits(self.p)}
        if shift is not None:
            values = {"excess": self.excess(shift), "ratio": self.ratio(shift), "z": self.z(shift)}
            record |= {name: value and nine_digits(value) for name, value in values.items()}
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any] | None) -> Calibration | None:
        """The calibration of a JSON object; what follows from its fields is derived again."""
        if record is None:
            return None
        return cls(**{entry.name: record[entry.name] for entry in fields(cls)})


def count_as_far(shift: float, random: Array) -> int:
    """How many random partitions are as far apart as `shift`, up to rounding, or farther."""
    return int(np.count_nonzero(random >= shift * (1 - AS_FAR)))


def p_text(at_least: int, partitions: int) -> str:
    """The p of so many partitions as far, for people.

    >>> p_text(0, 200), p_text(61, 200)
    ('< 1/201', '0.31')
    """
    total = 1 + partitions
    return f"{(1 + at_least) / total:.2g}" if at_least else f"< 1/{total}"


def nine_digits(value: float) -> float:
    """A number as split files keep it."""
    return float(f"{value:.9g}")
