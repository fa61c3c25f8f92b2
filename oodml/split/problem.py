"""What a search is given, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from oodml.shift import Distance
from oodml.store import frozen

Array = np.ndarray[Any, Any]
Progress = Callable[[int, int], None]


def no_progress(done: int, total: int) -> None:
    """What a search reports to where nobody looks: `done` of about `total` steps."""


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """Class rows of the train side and of the test side: two read-only arrays."""

    train: Array
    test: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "train", frozen(np.asarray(self.train, dtype=np.int64)))
        object.__setattr__(self, "test", frozen(np.asarray(self.test, dtype=np.int64)))

    def swapped(self, pairs: list[tuple[int, int]]) -> Sides:
        """The sides with train row a and test row b exchanged for each pair (a, b)."""
        forth = dict(pairs)
        back = {b: a for a, b in pairs}
        return Sides(
            np.array([forth.get(row, row) for row in self.train.tolist()]),
            np.array([back.get(row, row) for row in self.test.tolist()]),
        )

    def without(self, pairs: list[tuple[int, int]]) -> Sides:
        """The sides without the classes of the pairs."""
        a, b = np.array(pairs).T
        return Sides(self.train[~np.isin(self.train, a)], self.test[~np.isin(self.test, b)])


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """Sides that a search came by, and their distance."""

    sides: Sides
    shift: float


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Classes to be split: their means `(c, d)`, the distance of two sets of rows, the start.

    `name_rank` (c,) is the place of each class in name order, which settles equal scores; `counts`
    (c,) are the images of each class, `groups` its superclasses, if there are any. The search tells
    `progress` how far it is.
    """

    names: tuple[str, ...]
    counts: Array
    groups: tuple[str, ...] | None
    measure: str
    means: Array
    name_rank: Array
    distance: Distance
    start: Sides
    levels: int
    seed: int
    progress: Progress = no_progress

    def candidate(self, sides: Sides) -> Candidate:
        return Candidate(sides, float(self.distance(sides.train, sides.test)))


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The levels of a search in order of shift, and facts about them that the file is to keep."""

    levels: list[Candidate]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Search:
    """A way of finding sides at graded distance, and its options with their defaults."""

    find: Callable[[Problem, Mapping[str, Any]], Found]
    options: Mapping[str, Any]
