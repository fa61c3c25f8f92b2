"""The search `fixed-test`: one set of test classes, and train sides at graded distance from it.

Along an ordinary sequence the test classes change, and with them how hard the queries are. Here
they stay: a seed draws them (about a third of the classes, or they are given), and the train sides,
all of equal size, are chosen from the remaining classes by exchanging train classes with unused
ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from oodml.errors import SplitError
from oodml.split.constraints import (
    FREE,
    OUT,
    SMALLEST_SIDE,
    TEST,
    TRAIN,
    Board,
    rows_of,
    usable_rows,
)
from oodml.split.optimal import find_levels
from oodml.split.problem import Found, Problem, Search

Array = np.ndarray[Any, Any]


def search_fixed_test(problem: Problem, options: Mapping[str, Any]) -> Found:
    """Levels with the same test classes, evenly spaced from the nearest to the farthest train side.

    The problem's seed draws the test classes; further seeds give further sequences.
    """
    return find_levels(problem, fixed_board(problem, options), options)


def fixed_board(problem: Problem, options: Mapping[str, Any]) -> Board:
    """The board whose test classes are pinned and whose train side is part of the others."""
    rows = usable_rows(problem, options["min_images"])
    test = rows_of(problem, options["test"], rows, "test") or _drawn(problem, options, rows)
    left = len(rows) - len(test)
    per_side = options["per_side"]
    count = left // 2 if per_side is None else int(per_side)
    if len(test) < SMALLEST_SIDE or count < SMALLEST_SIDE:
        raise SplitError(
            f"{len(test)} test classes and {count} train classes of {len(rows)} were asked for; a "
            f"side needs at least {SMALLEST_SIDE}."
        )
    if count > left:
        raise SplitError(
            f"{count} train classes were asked for, but {len(test)} test classes leave only {left} "
            f"of {len(rows)}; per_side can be at most {left}."
        )
    pinned = np.where(np.isin(rows, test), TEST, FREE)
    units = tuple(rows[i : i + 1] for i in range(len(rows)))
    return Board(units, pinned, (count, len(test)), ((TRAIN, OUT),))


def _drawn(problem: Problem, options: Mapping[str, Any], rows: Array) -> list[int]:
    """The seeded test classes: `test_fraction` of all, of which a permutation decides."""
    fraction = float(options["test_fraction"])
    if not 0 < fraction < 1:
        raise SplitError(f"test_fraction is {fraction}; expected a number between 0 and 1.")
    chosen = np.random.default_rng([problem.seed]).permutation(len(rows))
    count = max(SMALLEST_SIDE, round(fraction * len(rows)))
    return [int(row) for row in rows[np.sort(chosen[:count])]]


FIXED_TEST = Search(
    search_fixed_test,
    {
        "test_fraction": 1 / 3,
        "test": None,
        "per_side": None,
        "min_images": 1,
        "target": None,
        "trials": None,
    },
)
