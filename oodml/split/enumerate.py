"""Every split of a board, where there are few enough to try them all."""

from __future__ import annotations

from itertools import combinations, product
from math import comb
from typing import Any

import numpy as np

from oodml.split.constraints import FREE, OUT, TEST, TRAIN, Board

Array = np.ndarray[Any, Any]

MOST_CLASSES, MOST_PLACES = 20, 200_000


def count_places(board: Board) -> int:
    """How many places there are, a mirrored one not counted twice; an upper bound for groups."""
    free = int((board.pinned == FREE).sum())
    three = any(OUT in kind for kind in board.kinds)
    if not board.single:
        return int((3 if three else 2) ** free)
    need = [board.wanted[zone] - int((board.pinned == zone).sum()) for zone in (TRAIN, TEST)]
    count = comb(free, need[0]) * (comb(free - need[0], need[1]) if three else 1)
    return count // 2 if board.mirrored else count


def few_enough(board: Board, left: int) -> bool:
    """Whether all places can be measured: at most 20 classes, and no more places than trials."""
    classes = int(board.sizes.sum())
    return classes <= MOST_CLASSES and count_places(board) <= min(MOST_PLACES, left)


def all_places(board: Board) -> Array:
    """All places `(b, u)` that the board allows; of a place and its mirror image only one."""
    places = _single(board) if board.single else _grouped(board)
    if not board.mirrored:
        return places
    first = (places != OUT).argmax(axis=1)
    kept: Array = places[places[np.arange(len(places)), first] == TRAIN]
    return kept


def _single(board: Board) -> Array:
    free = np.flatnonzero(board.pinned == FREE)
    three = any(OUT in kind for kind in board.kinds)
    need = [board.wanted[zone] - int((board.pinned == zone).sum()) for zone in (TRAIN, TEST)]
    rest = np.where(board.pinned == FREE, OUT if three else TEST, board.pinned)
    chosen = np.array(list(combinations(range(len(free)), need[0])), dtype=np.int64)
    places = np.tile(rest.astype(np.int8), (len(chosen), 1))
    np.put_along_axis(places, free[chosen], TRAIN, axis=1)
    if not three or need[1] == 0:
        return places
    left = np.nonzero(places == OUT)[1].reshape(len(places), -1)
    second = np.array(list(combinations(range(left.shape[1]), need[1])), dtype=np.int64)
    rows = left[:, second].reshape(-1, need[1])
    places = np.repeat(places, len(second), axis=0)
    np.put_along_axis(places, rows, TEST, axis=1)
    return places


def _grouped(board: Board) -> Array:
    free = board.pinned == FREE
    zones = sorted({zone for kind in board.kinds for zone in kind})
    choices = np.array(list(product(zones, repeat=int(free.sum()))), dtype=np.int8)
    places = np.tile(board.pinned.astype(np.int8), (len(choices), 1))
    places[:, free] = choices
    return places[[board.allowed(place) for place in places]]
