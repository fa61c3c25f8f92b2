"""Local search: exchanging units between zones until the distance is as large as can be, as small,
or as near to a target.

Every step estimates the distance after each exchange, measures the most promising ones, and takes
the best; it stops when none is an improvement. Ties are settled by class name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from oodml.shift.scatter import ClassScatters
from oodml.split.constraints import FREE, SMALLEST_SIDE, TEST, TRAIN, Board
from oodml.split.meter import Meter
from oodml.store import frozen

Array = np.ndarray[Any, Any]

# How many exchanges a step measures, and how many before it gives up: at an end, at a target.
NARROW, WIDE, WIDEST = 8, 64, 256
# How many units of a zone are tried to hit a target, at first.
FEW = 20
# A matrix of estimates has at most this many rows and columns.
LARGEST = 512
# Relative differences below this are rounding.
EQUAL = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """Where every unit is `(u,)`, and the distance of the two sides."""

    place: Array
    shift: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "place", frozen(np.asarray(self.place, dtype=np.int64)))


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """Estimated distances `(a, b)` after exchanging unit u[i] with unit v[j]."""

    u: Array
    v: Array
    values: Array


@dataclass(frozen=True, slots=True, eq=False)
class Terrain:
    """A board, and the measure on it."""

    board: Board
    meter: Meter

    @property
    def scatters(self) -> ClassScatters | None:
        """The slopes of the measure, where there are so many classes that a search goes by them."""
        return self.meter.field.scatters if self.meter.frechet and self.board.single else None

    def states(self, places: list[Array]) -> list[State]:
        """The states of some places."""
        shifts = self.shifts(np.stack(places))
        return [State(place, float(d)) for place, d in zip(places, shifts, strict=True)]

    def shifts(self, places: Array) -> Array:
        """The distances `(b,)` at places `(b, u)`."""
        rows = np.concatenate(self.board.units)
        zones = np.repeat(places, self.board.sizes, axis=1)
        masks = [zones == zone for zone in (TRAIN, TEST)]
        counts = np.stack([mask.sum(axis=1) for mask in masks], axis=1)
        found = np.empty(len(places))
        for shape in np.unique(counts, axis=0):
            same = np.flatnonzero((counts == shape).all(axis=1))
            sides = [rows[np.nonzero(mask[same])[1]].reshape(len(same), -1) for mask in masks]
            found[same] = self.meter.distances(sides[0], sides[1])
        return found

    def climb(self, state: State, aim: float) -> State:
        """The local optimum that is reached from a state.

        `aim` is inf to make the distance large, -inf to make it small, else the distance wanted.
        """
        while not self.meter.exhausted and (better := self._step(state, aim)) is not None:
            state = better
        return state

    def near(self, state: State, target: float, tolerance: float) -> State:
        """A state whose distance is within `tolerance` of a target, or as near as exchanges get."""
        while abs(state.shift - target) > tolerance and not self.meter.exhausted:
            better = self._step(state, target)
            if better is None:
                break
            state = better
        return state

    def _step(self, state: State, aim: float) -> State | None:
        for tried, width in self._stages(aim):
            found = list(self.estimates(state, tried))
            places = self._promising(state, found, aim, width)
            if not places:
                continue
            best = best_of(self.states(places), aim)
            if merit(best.shift, aim) < merit(state.shift, aim) - EQUAL * abs(state.shift):
                return best
        return None

    def _stages(self, aim: float) -> list[tuple[int, int]]:
        """How many units of a zone are tried for estimates (0: none, the field estimates), and how
        many exchanges are checked.
        """
        if not self.board.single:
            return [(LARGEST, NARROW), (LARGEST, WIDE)]
        if self.meter.frechet:
            wide = WIDE if math.isinf(aim) else WIDEST
            return [(0, NARROW), (0, wide if self.meter.exact else 2 * NARROW)]
        # The Fréchet distance knows where to go, but not how far in another measure's units.
        if math.isinf(aim):
            return [(0, NARROW), (LARGEST, NARROW)]
        return [(FEW, NARROW), (LARGEST, WIDEST)]

    # Estimating -----------------------------------------------------------------------------------

    def estimates(self, state: State, tried: int = 0) -> Iterator[Estimates]:
        """Estimates of all exchanges, a matrix for each pair of zones."""
        free = self.board.pinned == FREE
        changes = None
        if not tried:
            sides = self.board.sides(state.place)
            changes = self.meter.field.around(sides.train, sides.test)
        for a, b in self.board.kinds:
            u, v = (np.flatnonzero(free & (state.place == zone)) for zone in (a, b))
            if not len(u) or not len(v):
                continue
            if changes is None:
                u, v = (_some(units, min(tried, self.meter.left // 16)) for units in (u, v))
                ahead, back = (self._moved(state, w, z) for w, z in ((u, b), (v, a)))
                values = state.shift + ahead[:, None] + back[None, :]
            else:
                rows = self.board.rows
                u, v = (
                    _extremes(changes, rows, *pair) for pair in ((u, v, (a, b)), (v, u, (b, a)))
                )
                values = changes.exchanged(rows[u], rows[v], (a, b)) - changes.start + state.shift
            yield Estimates(u, v, values)

    def _moved(self, state: State, units: Array, zone: int) -> Array:
        """By how much the distance changes when each unit alone goes to a zone, by trial."""
        places = []
        for unit in units:
            place = state.place.copy()
            place[unit] = zone
            places.append(place)
        counts = [self.board.counts(place).min() for place in places]
        change = np.zeros(len(units))
        if tried := [i for i, count in enumerate(counts) if count >= SMALLEST_SIDE]:
            change[tried] = self.shifts(np.stack([places[i] for i in tried])) - state.shift
        return change

    # Choosing -------------------------------------------------------------------------------------

    def _promising(
        self, state: State, found: list[Estimates], aim: float, width: int
    ) -> list[Array]:
        """Places of the `width` best estimates, and of several good exchanges at once."""
        if not found:
            return []
        merits = np.concatenate([merit(e.values, aim).ravel() for e in found])
        scale = EQUAL * (abs(state.shift) or 1.0)
        order = np.argsort(np.round(merits / scale), kind="stable")[: 64 * width]
        pairs = [pair_at(found, int(index)) for index in order]
        places: list[Array] = []
        for u, v in pairs:
            place = exchanged(state.place, [(u, v)])
            if self.board.single or self.board.allowed(place):
                places.append(place)
            if len(places) == width:
                break
        if not self.board.single:
            return places + list(self._alone(state))
        beyond = [e.values.max() < aim or e.values.min() > aim for e in found]
        return places + (self._together(state, pairs) if all(beyond) else [])

    def _together(self, state: State, pairs: list[tuple[int, int]]) -> list[Array]:
        """2, 4, 8, ... of the best exchanges, each unit in one of them, made at once."""
        apart: list[tuple[int, int]] = []
        taken: set[int] = set()
        for u, v in pairs:
            if u not in taken and v not in taken:
                apart.append((u, v))
                taken |= {u, v}
        largest = len(self.board.units) // 50
        counts = [2**k for k in range(1, 12) if 2**k <= min(largest, len(apart))]
        return [exchanged(state.place, apart[:count]) for count in counts]

    def _alone(self, state: State) -> Iterator[Array]:
        """The places where one unit went without another in return, if the counts allow that."""
        for unit in np.flatnonzero(self.board.pinned == FREE):
            for zone in {zone for kind in self.board.kinds for zone in kind}:
                place = state.place.copy()
                place[unit] = zone
                if zone != state.place[unit] and self.board.allowed(place):
                    yield place


def best_of(states: list[State], aim: float) -> State:
    """The state of the best distance, the first of those that are equal up to rounding."""
    merits = np.array([merit(state.shift, aim) for state in states])
    scale = EQUAL * (max(abs(state.shift) for state in states) or 1.0)
    return states[int(np.argmin(np.round(merits / scale)))]


def exchanged(place: Array, pairs: list[tuple[int, int]]) -> Array:
    """A place with the units of each pair in each other's zones."""
    new = place.copy()
    for u, v in pairs:
        new[u], new[v] = place[v], place[u]
    return new


def merit(shift: Any, aim: float) -> Any:
    """How bad a distance is: lower is better."""
    if math.isinf(aim):
        return -np.sign(aim) * shift
    return np.abs(shift - aim)


def pair_at(found: list[Estimates], index: int) -> tuple[int, int]:
    """The units of the index-th of all estimates."""
    for estimates in found:
        if index < estimates.values.size:
            i, j = divmod(index, estimates.values.shape[1])
            return int(estimates.u[i]), int(estimates.v[j])
        index -= estimates.values.size
    raise IndexError(index)


def _some(units: Array, count: int) -> Array:
    """Units evenly apart in name order, if there are more than can be tried."""
    count = max(NARROW, count)
    if len(units) <= count:
        return units
    return np.asarray(units[np.linspace(0, len(units) - 1, count).round().astype(np.int64)])


def _extremes(changes: Any, rows: Array, u: Array, v: Array, zones: tuple[int, int]) -> Array:
    """The units of u that change most either way, if there are too many for a full matrix."""
    if len(u) <= LARGEST:
        return u
    some = v[:: max(1, len(v) // 16)]
    typical = changes.exchanged(rows[u], rows[some], zones).mean(axis=1)
    order = np.argsort(typical, kind="stable")
    ends = np.concatenate([order[: LARGEST // 2], order[-LARGEST // 2 :]])
    return np.asarray(u[np.sort(ends)])
