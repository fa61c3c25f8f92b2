"""`Board`: which classes may go where. The constraints of a search, parsed once.

Classes move in units: single classes, or whole groups of them. Each unit is on the train side, on
the test side, or out of the split; a `place` (u,) says where each one is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from oodml.errors import SplitError
from oodml.split.problem import Problem, Sides
from oodml.store import frozen

Array = np.ndarray[Any, Any]

TRAIN, TEST, OUT, FREE = 0, 1, 2, -1
SMALLEST_SIDE = 2


@dataclass(frozen=True, slots=True, eq=False)
class Board:
    """The units in name order, where the pinned ones stand, and how many classes a side has.

    `units` are arrays of class rows, `pinned` (u,) is `FREE` or a zone, `wanted` the numbers of
    train and test classes, `kinds` the pairs of zones between which units are exchanged. A side may
    miss its number by `slack`: half of the largest unit, so 0 where classes move alone.
    """

    units: tuple[Array, ...]
    pinned: Array
    wanted: tuple[int, int]
    kinds: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "pinned", frozen(np.asarray(self.pinned, dtype=np.int64)))

    @property
    def sizes(self) -> Array:
        return np.array([len(unit) for unit in self.units])

    @property
    def slack(self) -> int:
        return int(self.sizes.max()) // 2

    @property
    def single(self) -> bool:
        """Whether every class moves alone."""
        return int(self.sizes.max()) == 1

    @property
    def mirrored(self) -> bool:
        """Whether train and test side can be exchanged without breaking a constraint."""
        equal = self.wanted[0] == self.wanted[1]
        return equal and TEST in self.kinds[0] and bool((self.pinned == FREE).all())

    @property
    def rows(self) -> Array:
        """The class row of every unit, where classes move alone."""
        return np.concatenate(self.units)

    def sides(self, place: Array) -> Sides:
        train, test = (
            [row for unit, zone in zip(self.units, place, strict=True) if zone == z for row in unit]
            for z in (TRAIN, TEST)
        )
        return Sides(np.array(train, dtype=np.int64), np.array(test, dtype=np.int64))

    def place_of(self, sides: Sides) -> Array:
        """Where the first class of every unit stands."""
        train, test = set(sides.train.tolist()), set(sides.test.tolist())
        zones = [TRAIN if u[0] in train else TEST if u[0] in test else OUT for u in self.units]
        return np.array(zones)

    def counts(self, place: Array) -> Array:
        """How many classes are on the train side and on the test side."""
        return np.bincount(place, weights=self.sizes, minlength=3)[:2].astype(np.int64)

    def allowed(self, place: Array) -> bool:
        """Whether both sides have their number of classes, up to the slack."""
        counts = self.counts(place)
        return all(
            abs(counts[zone] - self.wanted[zone]) <= self.slack and counts[zone] >= SMALLEST_SIDE
            for zone in (TRAIN, TEST)
        )

    def filled(self, order: Iterable[int]) -> Array:
        """The place whose train side takes units from the front of an order, test from its end."""
        place = self.pinned.copy()
        free = [unit for unit in order if place[unit] == FREE]
        three = any(OUT in kind for kind in self.kinds)
        ends = [(TRAIN, free), (TEST, free[::-1])]
        for zone, units in ends if three else ends[:1]:
            count = int(self.sizes[place == zone].sum())
            for unit in units:
                size = len(self.units[unit])
                nearer = abs(count + size - self.wanted[zone]) < abs(count - self.wanted[zone])
                if place[unit] == FREE and nearer:
                    place[unit] = zone
                    count += size
        place[place == FREE] = OUT if three else TEST
        return place


def two_sided(problem: Problem, options: Mapping[str, Any]) -> Board:
    """The board of `optimal`: every class on one side, or `per_side` classes on each of them."""
    rows = usable_rows(problem, options["min_images"])
    pins = _pins(problem, options, rows)
    units = _units(problem, rows, grouped=bool(options["groups"]))
    pinned = [_pin_of(problem, unit, pins) for unit in units]
    per_side, fraction = options["per_side"], options["fraction"]
    if per_side is not None and fraction is not None:
        raise SplitError(
            "per_side and fraction both say how large the sides are; give one of them."
        )
    if per_side is None:
        count = round(_fraction(0.5 if fraction is None else fraction) * len(rows))
        wanted = (count, len(rows) - count)
    else:
        wanted = (_at_least_two(int(per_side)), int(per_side))
    all_kinds = ((TRAIN, TEST), (TRAIN, OUT), (TEST, OUT))
    kinds = all_kinds if sum(wanted) < len(rows) else all_kinds[:1]
    _check_counts(wanted, len(rows))
    board = Board(tuple(units), np.array(pinned), wanted, kinds)
    _check_pins(board)
    return board


def usable_rows(problem: Problem, min_images: int) -> Array:
    """The rows, in name order, of the classes with enough images."""
    order = np.argsort(problem.name_rank)
    rows: Array = order[problem.counts[order] >= int(min_images)]
    if len(rows) < 2 * SMALLEST_SIDE:
        raise SplitError(
            f"{len(rows)} of {len(order)} classes have at least {min_images} images; a split needs "
            f"{2 * SMALLEST_SIDE} classes, so lower min_images."
        )
    return rows


def rows_of(problem: Problem, names: Any, rows: Array, option: str) -> list[int]:
    """The rows of the classes that an option names; `SplitError` where one is not to be had."""
    wanted = [names] if isinstance(names, str) else list(names or ())
    index = {name: row for row, name in enumerate(problem.names)}
    if missing := [name for name in wanted if name not in index]:
        raise SplitError(
            f"Option {option!r} names {missing[0]!r}, which is no class of the data; use its class "
            "names."
        )
    usable = set(rows.tolist())
    if small := [name for name in wanted if index[name] not in usable]:
        raise SplitError(
            f"Option {option!r} names {small[0]!r}, which has too few images for min_images; "
            "change one of them."
        )
    return sorted({index[name] for name in wanted}, key=lambda row: int(problem.name_rank[row]))


def _pins(problem: Problem, options: Mapping[str, Any], rows: Array) -> dict[int, int]:
    train = rows_of(problem, options["train"], rows, "train")
    test = rows_of(problem, options["test"], rows, "test")
    if both := sorted(set(train) & set(test)):
        raise SplitError(
            f"Class {problem.names[both[0]]!r} is pinned to the train side and to the test side; "
            "pin it to one."
        )
    return {**dict.fromkeys(train, TRAIN), **dict.fromkeys(test, TEST)}


def _units(problem: Problem, rows: Array, *, grouped: bool) -> list[Array]:
    if not grouped:
        return [rows[i : i + 1] for i in range(len(rows))]
    if problem.groups is None:
        raise SplitError(
            "Groups were to be kept whole, but these embeddings have no groups; use a data set "
            "with superclasses or leave the option out."
        )
    found: dict[str, list[int]] = {}
    for row in rows.tolist():
        found.setdefault(problem.groups[row], []).append(row)
    if len(found) < 2:
        raise SplitError("All classes are in one group; two sides of whole groups need at least 2.")
    return [np.array(found[group]) for group in sorted(found)]


def _pin_of(problem: Problem, unit: Array, pins: Mapping[int, int]) -> int:
    zones = {pins[row] for row in unit.tolist() if row in pins}
    if len(zones) > 1:
        group = problem.groups[unit[0]] if problem.groups else ""
        raise SplitError(
            f"Classes of group {group!r} are pinned to both sides, but groups are to be kept "
            "whole; drop one of these constraints."
        )
    return zones.pop() if zones else FREE


def _fraction(value: Any) -> float:
    if not 0 < float(value) < 1:
        raise SplitError(f"The train fraction is {value}; expected a number between 0 and 1.")
    return float(value)


def _at_least_two(count: int) -> int:
    if count < SMALLEST_SIDE:
        raise SplitError(f"per_side is {count}; a side needs at least {SMALLEST_SIDE} classes.")
    return count


def _check_counts(wanted: tuple[int, int], count: int) -> None:
    if sum(wanted) > count:
        raise SplitError(
            f"{wanted[0]} classes a side were asked for, but only {count} classes can be used; "
            f"per_side can be at most {count // 2}."
        )
    if min(wanted) < SMALLEST_SIDE:
        raise SplitError(
            f"These constraints leave {min(wanted)} classes on one side; the distance needs at "
            f"least {SMALLEST_SIDE} on either."
        )


def _check_pins(board: Board) -> None:
    for zone, name in ((TRAIN, "train"), (TEST, "test")):
        count = int(board.sizes[board.pinned == zone].sum())
        if count > board.wanted[zone] + board.slack:
            raise SplitError(
                f"{count} classes are pinned to the {name} side, which has {board.wanted[zone]}; "
                "pin fewer or make the side larger."
            )
    if not board.allowed(board.filled(range(len(board.units)))):
        raise SplitError(
            f"No sides of {board.wanted[0]} and {board.wanted[1]} classes satisfy the constraints; "
            "pin fewer classes, or change the size of the sides."
        )
