"""The smallest and the largest distance that local search finds from several starts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from oodml.split.constraints import FREE, OUT, TEST, TRAIN, Board
from oodml.split.exchange import State, Terrain, best_of, exchanged

Array = np.ndarray[Any, Any]

COMPONENTS = 6
# How many starts are climbed from, of those that are best at the outset.
CLIMBED, CLIMBED_BY_TRIAL = 4, 2
MANY_UNITS = 400
KICKS, KICKED = 8, 0.05


def extremes(terrain: Terrain, given: Array) -> tuple[State, State]:
    """The best minimum and the best maximum.

    Starts are the medians along the leading components of the class means (far apart), places whose
    sides alternate along a component (close together), and the given start. Of another measure than
    `frechet`, either end may spend 30 % of its trials.
    """
    starts = terrain.states(start_places(terrain, given))
    few = _few_climbs(terrain)
    ends = []
    for share, aim in ((0.3, -math.inf), (0.6, math.inf)):
        terrain.meter.allow(share)
        order = np.argsort([-np.sign(aim) * state.shift for state in starts], kind="stable")
        count = CLIMBED_BY_TRIAL if few else CLIMBED
        tops = []
        for i in order[:count].tolist():
            tops.append(terrain.climb(starts[i], aim))
            terrain.meter.advance()
        best = best_of(tops, aim)
        ends.append(best if few else kicked(terrain, best, aim))
    terrain.meter.allow(1.0)
    return ends[0], ends[1]


def count_climbs(terrain: Terrain) -> int:
    """How many climbs `extremes` makes at most."""
    return 2 * (CLIMBED_BY_TRIAL if _few_climbs(terrain) else CLIMBED + KICKS)


def _few_climbs(terrain: Terrain) -> bool:
    return not terrain.meter.exact or len(terrain.board.units) > MANY_UNITS


def kicked(terrain: Terrain, best: State, aim: float) -> State:
    """The best local optimum that is reached after some random exchanges, always the same.

    A kick that leads higher is where the next one starts.
    """
    rng = np.random.default_rng(0)
    free = np.flatnonzero(terrain.board.pinned == FREE)
    for _ in range(KICKS if len(free) else 0):
        order = rng.permutation(free)
        pairs: list[tuple[int, int]] = []
        for a, b in terrain.board.kinds:
            u, v = (order[best.place[order] == zone] for zone in (a, b))
            count = max(2, round(KICKED * len(free)) // len(terrain.board.kinds))
            pairs += list(zip(u[:count].tolist(), v[:count].tolist(), strict=False))
        place = best.place
        for pair in pairs:
            place = exchanged(place, [pair])
        if not terrain.board.single and not terrain.board.allowed(place):
            continue
        state = terrain.climb(terrain.states([place])[0], aim)
        terrain.meter.advance()
        best = best_of([best, state], aim)
    return best


def start_places(terrain: Terrain, given: Array) -> list[Array]:
    """Different places to start from, all of them allowed."""
    board, points = terrain.board, terrain.meter.field.points
    means = np.array([points[unit].mean(axis=0) for unit in board.units])
    orders = [np.argsort(np.choose(given, [0, 2, 1]), kind="stable")]
    for column in means.T[:COMPONENTS]:
        # The sign of a component is arbitrary, so it is fixed by the first unit.
        along = np.argsort(column if column[0] <= 0 else -column, kind="stable")
        orders += [along, _alternating(board, along)]
        if not board.mirrored:
            orders += [along[::-1], _alternating(board, along[::-1])]
    pinned = board.pinned == TEST
    if pinned.any():
        away = ((means - means[pinned].mean(axis=0)) ** 2).sum(axis=1)
        orders += [np.argsort(away, kind="stable"), np.argsort(-away, kind="stable")]
    places = [board.filled(order.tolist()) for order in orders]
    different = {place.tobytes(): place for place in places if board.allowed(place)}
    return list(different.values())


def _alternating(board: Board, along: Array) -> Array:
    """An order whose front and end alternate in the middle of another order."""
    free = along[board.pinned[along] == FREE]
    share = len(free) / board.sizes[free].sum()
    if not any(OUT in kind for kind in board.kinds) or board.kinds == ((TRAIN, OUT),):
        window = free
    else:
        half = round(sum(board.wanted) * share / 2)
        window = free[max(0, len(free) // 2 - half) : len(free) // 2 + half]
    need = board.wanted[TRAIN] - board.sizes[board.pinned == TRAIN].sum()
    count = int(np.clip(round(need * share), 0, len(window)))
    front = np.unique(np.linspace(0, len(window) - 1, count).round().astype(int))
    chosen = window[front]
    others = np.setdiff1d(free, window, assume_unique=True)
    rest = window[~np.isin(window, chosen)]
    return np.concatenate([chosen, others, rest])
