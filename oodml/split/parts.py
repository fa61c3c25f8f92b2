"""`Part`: which two sides of a sequence are meant."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """Split `rank`, or control number `control` of it; `swapped`, the other way round.

    Swapped, its test classes are trained on and its train side (train and val) is tested on: the
    two sides are at the same distance either way.
    """

    rank: int
    control: int | None = None
    swapped: bool = False

    def __str__(self) -> str:
        control = "" if self.control is None else f", control {self.control}"
        return f"{self.rank}{control}{', swapped' * self.swapped}"
