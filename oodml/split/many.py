"""Local search among more classes than can be tried one by one: thousands are exchanged at once.

To first order, exchanging u and v changes the distance by h(v) - h(u), h the difference of the
slopes of the two zones, so that one look at the slopes ranks the exchanges of all classes. As many
of the best are made as the exact distance allows: their number comes from a parabola through what
was measured, and is halved where the distance does not improve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from oodml.shift.scatter import Slope
from oodml.split.constraints import FREE, OUT, TEST, TRAIN
from oodml.split.exchange import EQUAL, State, Terrain, best_of
from oodml.split.starts import start_places

Array = np.ndarray[Any, Any]

# Most steps of a climb, most trials a step, and the share of the distance that a step must gain.
STEPS, TRIED, WORTHWHILE = 24, 6, 1e-3
# How many starts are climbed from: to the smallest distance, to the largest.
CLIMBED = {-math.inf: 1, math.inf: 2}
# What progress counts of all climbs.
CLIMBS = STEPS * sum(CLIMBED.values())
# Most distances measured to hit a target on the way; then, so many single exchanges, so often.
AIMED, TOUCHED, TOUCHES = 16, 8, 3


@dataclass(frozen=True, slots=True, eq=False)
class Exchanges:
    """Units `u` and `v` that change places with each other, the most gained by the first.

    No unit occurs twice. `gains` are first-order estimates.
    """

    u: Array
    v: Array
    gains: Array

    def made(self, place: Array, count: int) -> Array:
        """The place after the first `count` exchanges."""
        return self._made(place, slice(count))

    def one(self, place: Array, index: int) -> Array:
        """The place after one of them."""
        return self._made(place, slice(index, index + 1))

    def _made(self, place: Array, some: slice) -> Array:
        u, v = self.u[some], self.v[some]
        new = place.copy()
        new[u], new[v] = place[v], place[u]
        return new


def ends_by_slope(terrain: Terrain, given: Array) -> tuple[State, State]:
    """The smallest and the largest distance, from the starts that are best at the outset."""
    starts = terrain.states(start_places(terrain, given))
    ends = []
    for aim, count in CLIMBED.items():
        order = np.argsort([-np.sign(aim) * state.shift for state in starts], kind="stable")
        tops = [climb_slope(terrain, starts[i], aim) for i in order[:count].tolist()]
        ends.append(best_of(tops, aim))
    return ends[0], ends[1]


def climb_slope(terrain: Terrain, state: State, aim: float) -> State:
    """Where steps from a state lead, each as long as it makes the distance larger, or smaller.

    `aim` is inf or -inf. The climb ends where a step gains little, or after `STEPS` of them.
    """
    sign = float(np.sign(aim))
    count = len(state.place)
    for left in reversed(range(STEPS)):
        found = best_exchanges(terrain, state, sign)
        terrain.meter.advance()
        better, count = _step(terrain, state, found, sign, count)
        gained = sign * (better.shift - state.shift)
        state = better
        if gained <= WORTHWHILE * abs(state.shift):
            terrain.meter.advance(left)
            break
    return state


def _step(
    terrain: Terrain, state: State, found: Exchanges, sign: float, before: int
) -> tuple[State, int]:
    """The best state met along one direction, and how many exchanges led there.

    The first trial makes twice as many as the step before. With G(k) the gains of k exchanges
    and D the distance, what was measured gives the b of D(k) = D(0) + G(k) - b k^2.
    """
    sums = np.cumsum(found.gains)
    places = np.arange(1, len(sums) + 1)
    best, made, count = state, before, min(len(sums), 2 * before)
    for trial in range(TRIED):
        if count < 1:
            break
        new = terrain.states([found.made(state.place, count)])[0]
        if sign * (new.shift - best.shift) > EQUAL * abs(best.shift):
            best, made = new, count
        lost = sums[count - 1] - sign * (new.shift - state.shift)
        wanted = int(np.argmax(sums - max(lost, 0.0) / count**2 * places**2)) + 1
        if best is not state and (trial or 5 * wanted > 3 * count):
            break
        count = min(wanted, count // 2)
    return best, made


def best_exchanges(terrain: Terrain, state: State, sign: float) -> Exchanges:
    """All exchanges that gain, no unit in two of them: the best u with the best v, and so on."""
    board = terrain.board
    free = board.pinned == FREE
    parts = []
    for (a, b), heights in zip(board.kinds, zone_heights(terrain, state), strict=True):
        u, v = (np.flatnonzero(free & (state.place == zone)) for zone in (a, b))
        u = u[np.argsort(sign * heights[u], kind="stable")]
        v = v[np.argsort(-sign * heights[v], kind="stable")]
        length = min(len(u), len(v))
        gains = sign * (heights[v[:length]] - heights[u[:length]])
        kept = gains > 0
        parts.append(Exchanges(u[:length][kept], v[:length][kept], gains[kept]))
    return parts[0] if len(parts) == 1 else _apart(parts)


def zone_heights(terrain: Terrain, state: State) -> list[Array]:
    """h of every unit `(u,)` for each kind of exchange, in float64: see the head of this file."""
    board, scatters = terrain.board, terrain.scatters
    if scatters is None:
        raise ValueError("This board has no slopes; expected Fréchet distances of many classes.")
    sides = board.sides(state.place)
    slopes = dict(zip((TRAIN, TEST), scatters.slopes(sides.train, sides.test), strict=True))
    if len(board.kinds) == 1:
        ((a, b),) = board.kinds
        slope: Slope = slopes[a] if b == OUT else slopes[a].less(slopes[b])
        return [scatters.heights(slope)[board.rows].astype(np.float64)]
    heights = {zone: scatters.heights(slope)[board.rows] for zone, slope in slopes.items()}
    heights[OUT] = np.zeros(len(board.rows))
    return [heights[a].astype(np.float64) - heights[b] for a, b in board.kinds]


def _apart(parts: list[Exchanges]) -> Exchanges:
    """Exchanges of several kinds in order of their gains, those with a unit already used left out.

    A unit has one place in each kind's list, so about half of them stay.
    """
    u, v, gains = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("u", "v", "gains")
    )
    used: set[int] = set()
    kept = []
    for i in np.argsort(-gains, kind="stable").tolist():
        pair = {int(u[i]), int(v[i])}
        if not pair & used:
            used |= pair
            kept.append(i)
    return Exchanges(u[kept], v[kept], gains[kept])


# Targets -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """The way from one place to another in short stretches that keep the sizes of the sides.

    `order` are the units that differ, and the first `ends[k]` of them have gone over after k
    stretches; a stretch is an exchange, or three units in a ring. They come in a random order, the
    same each time, so that the distance grows smoothly.
    """

    low: Array
    high: Array
    order: Array
    ends: Array

    @classmethod
    def between(cls, low: Array, high: Array) -> Route:
        rng = np.random.default_rng(0)
        left = {
            (a, b): rng.permutation(np.flatnonzero((low == a) & (high == b))).tolist()
            for a in (TRAIN, TEST, OUT)
            for b in (TRAIN, TEST, OUT)
            if a != b
        }
        rings: list[list[tuple[int, int]]] = [
            *([(a, b), (b, a)] for a, b in ((TRAIN, TEST), (TRAIN, OUT), (TEST, OUT))),
            [(TRAIN, TEST), (TEST, OUT), (OUT, TRAIN)],
            [(TRAIN, OUT), (OUT, TEST), (TEST, TRAIN)],
        ]
        stretches: list[list[int]] = []
        for ring in rings:
            for _ in range(min(len(left[move]) for move in ring)):
                stretches.append([left[move].pop() for move in ring])
        shuffled = [stretches[i] for i in rng.permutation(len(stretches))]
        order = np.array([unit for stretch in shuffled for unit in stretch], dtype=np.int64)
        return cls(low, high, order, np.cumsum([0, *map(len, shuffled)]))

    def __len__(self) -> int:
        return len(self.ends) - 1

    def at(self, count: int) -> Array:
        """The place after so many stretches."""
        place = self.low.copy()
        gone = self.order[: self.ends[count]]
        place[gone] = self.high[gone]
        return place


def states_on_route(
    terrain: Terrain, ends: tuple[State, State], goals: list[float], tolerance: float
) -> list[State]:
    """For each goal, a state on the way between two ends that is within the tolerance of it.

    What the stretches are too coarse for is made up by a single exchange.
    """
    route = Route.between(ends[0].place, ends[1].place)
    known = {0: ends[0], len(route): ends[1]}
    states = []
    for goal in goals:
        state = _crossing(terrain, route, known, goal, tolerance)
        states.append(_touched_up(terrain, state, goal, tolerance))
        terrain.meter.advance()
    return states


def _crossing(
    terrain: Terrain, route: Route, known: dict[int, State], goal: float, tolerance: float
) -> State:
    """The state nearest to a goal: the interval that holds it is cut where its root should be."""
    for trial in range(AIMED):
        best = best_of([known[k] for k in sorted(known)], goal)
        below = max(k for k in known if known[k].shift <= goal or k == 0)
        above = min((k for k in known if k > below), default=below)
        if abs(best.shift - goal) <= tolerance or above - below < 2:
            break
        # The gap of the means grows evenly along the route, and the distance with its square.
        low, high, root = (
            math.sqrt(shift) for shift in (known[below].shift, known[above].shift, goal)
        )
        share = (root - low) / (high - low) if high > low and trial % 3 < 2 else 0.5
        cut = below + round(min(max(share, 0.0), 1.0) * (above - below))
        cut = min(max(cut, below + 1), above - 1)
        known[cut] = terrain.states([route.at(cut)])[0]
    return best_of([known[k] for k in sorted(known)], goal)


def _touched_up(terrain: Terrain, state: State, goal: float, tolerance: float) -> State:
    """A state nearer to a goal by single exchanges whose estimates come nearest to what is missing.

    How far the exchanges measured in one round were off their estimates corrects the next.
    """
    board, free = terrain.board, terrain.board.pinned == FREE
    a, b = board.kinds[0]
    bias, best = 0.0, state
    for _ in range(TOUCHES):
        u, v = (np.flatnonzero(free & (state.place == zone)) for zone in (a, b))
        if abs(best.shift - goal) <= tolerance or not len(u) or not len(v):
            break
        heights = zone_heights(terrain, state)[0]
        v = v[np.argsort(heights[v], kind="stable")]
        wanted = goal - state.shift - bias
        at = np.clip(np.searchsorted(heights[v], heights[u] + wanted), 0, len(v) - 1)
        gains = heights[v[at]] - heights[u]
        order = np.argsort(np.abs(gains - wanted), kind="stable")[:TOUCHED]
        pairs = Exchanges(u[order], v[at[order]], gains[order])
        tried = terrain.states([pairs.one(state.place, i) for i in range(len(order))])
        bias = float(np.median([s.shift - state.shift for s in tried] - pairs.gains))
        best = best_of([best, *tried], goal)
    return best
