"""Walking from one split to another, so that levels in between share as many classes as can be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from oodml.split.constraints import OUT, TEST, TRAIN, Board
from oodml.split.exchange import Estimates, State, Terrain, best_of, exchanged, merit, pair_at

Array = np.ndarray[Any, Any]
Pairs = list[tuple[int, int]]

# How many exchanges a step measures, and how many steps a path has at most.
TRIED, STEPS = 6, 64


def path(terrain: Terrain, low: State, high: State) -> list[State]:
    """States from one to another, each some exchanges on, their distance growing evenly.

    Only units that differ move, and each step brings at least one of them to where it belongs.
    """
    states = [low]
    together = max(1, int((low.place != high.place).sum()) // 2 // STEPS)
    while not terrain.meter.exhausted:
        now = states[-1]
        left = int((now.place != high.place).sum()) / 2 / together
        if left == 0:
            break
        aim = now.shift + (high.shift - now.shift) / max(left, 1)
        places = [p for p in _steps(terrain, now, high, aim, together) if _fits(terrain.board, p)]
        if not places:
            break
        states.append(best_of(terrain.states(places), aim))
    return states if np.array_equal(states[-1].place, high.place) else [*states, high]


def _fits(board: Board, place: Array) -> bool:
    return board.single or board.allowed(place)


def _steps(terrain: Terrain, now: State, high: State, aim: float, together: int) -> Iterator[Array]:
    """Places that are some exchanges nearer to where the path ends."""
    pairs = _homeward(terrain, now, high, aim)
    for first in range(len(pairs)) if terrain.meter.exact else _spread(len(pairs)):
        chosen: Pairs = []
        for u, v in pairs[first:]:
            if len(chosen) == together:
                break
            if not {u, v} & {unit for pair in chosen for unit in pair}:
                chosen.append((u, v))
        yield exchanged(now.place, chosen)
        if terrain.meter.exact and first + 1 == TRIED and terrain.board.single:
            return
    if not terrain.board.single:
        for unit in np.flatnonzero(now.place != high.place):
            place = now.place.copy()
            place[unit] = high.place[unit]
            yield place


def _spread(count: int) -> list[int]:
    """A few places of `count`, evenly apart."""
    return sorted({*np.linspace(0, count - 1, min(count, TRIED)).round().astype(int).tolist()})


def _homeward(terrain: Terrain, now: State, high: State, aim: float) -> Pairs:
    """Exchanges that bring one unit home and take none away from there, the most even first."""
    away = now.place != high.place
    if not terrain.board.single:
        return [
            (int(u), int(v))
            for a, b in terrain.board.kinds
            for u in np.flatnonzero(away & (now.place == a) & (high.place == b))
            for v in np.flatnonzero(away & (now.place == b) & (high.place == a))
        ]
    found = []
    for e in terrain.estimates(now):
        a, b = now.place[e.u[0]], now.place[e.v[0]]
        home = (high.place[e.u] == b)[:, None] | (high.place[e.v] == a)[None, :]
        good = home & away[e.u][:, None] & away[e.v][None, :]
        found.append(Estimates(e.u, e.v, np.where(good, e.values, np.nan)))
    if not found:
        return []
    values = np.concatenate([e.values.ravel() for e in found])
    order = np.argsort(merit(values, aim) if terrain.meter.exact else values, kind="stable")
    count = int(np.isfinite(values).sum())
    kept = order[:count] if not terrain.meter.exact else order[: min(count, 4096)]
    return [pair_at(found, int(index)) for index in kept]


def mirrored(place: Array) -> Array:
    """A place with train and test side exchanged."""
    turned: Array = np.array([TEST, TRAIN, OUT])[place]
    return turned


def turned_like(board: Board, place: Array, model: Array) -> Array:
    """The place or its mirror image, whichever shares more classes with the model's sides.

    Where both share as many, the one whose first free unit stands as in the model.
    """
    if not board.mirrored:
        return place
    other = mirrored(place)
    shared = [int((board.sizes * ((p == model) & (p != OUT))).sum()) for p in (place, other)]
    if shared[0] != shared[1]:
        return place if shared[0] > shared[1] else other
    used = np.flatnonzero(place != OUT)
    return place if place[used[0]] == model[used[0]] else other
