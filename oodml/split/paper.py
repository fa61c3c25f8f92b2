"""The search `ooDML`: swap classes between the sides, then remove some (Milbich et al., 2021).

From a start, every step ranks the classes of either side by how much closer they lie to the other
side's mean than to their own, and swaps the closest pairs (to make the split harder) or the
farthest (easier). When swapping is exhausted, steps whose swap does not shrink the distance take
these classes out instead, as the published code does. Three defects of that code are not repeated:
vectors and names cannot come apart, since a state is two immutable arrays of class rows; what was
swapped lately is remembered by class, not by list position; and the state handed from swapping to
removal is the one that was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from oodml.shift.moments import in_blocks, mean_of_rows
from oodml.split.grading import choose_levels
from oodml.split.problem import Candidate, Found, Problem, Search, Sides

Array = np.ndarray[Any, Any]

HARDER_STEPS, EASIER_STEPS, REMOVAL_STEPS = 25, 15, 35
HARDER_MEMORY, EASIER_MEMORY = 5, 30
SMALLEST_SIDE = 4
IN_CACHE = 64  # rows; blocks that stay in a processor's cache take a fifth of the time
TOTAL = EASIER_STEPS + HARDER_STEPS + REMOVAL_STEPS


@dataclass(frozen=True, slots=True)
class Recent:
    """The classes that arrived on either side in the last swaps; for now they stay."""

    length: int
    train: tuple[int, ...] = ()
    test: tuple[int, ...] = ()

    def after(self, a: int, b: int) -> Recent:
        """What is recent once train row a and test row b have changed places."""
        train, test = (*self.train, b)[-self.length :], (*self.test, a)[-self.length :]
        return Recent(self.length, train, test)


def search_oodml(problem: Problem, options: Mapping[str, Any]) -> Found:
    """The levels nearest to even targets among all states that the search comes by."""
    swaps = options["swaps"] or max(1, round(0.01 * len(problem.means)))
    states = walk_oodml(problem, swaps, remove=options["remove"])
    return Found(choose_levels(states, problem.levels))


def walk_oodml(problem: Problem, swaps: int, *, remove: bool = True) -> list[Candidate]:
    """Every state that the search comes by, the start among them, at `swaps` pairs a step.

    The paper: 2 of 200 classes a step, 25 steps harder, 15 easier, 35 with removal; the default
    keeps that share, 1 % of the classes and at least one. Progress counts states, and what a walk
    that ends early leaves out.
    """
    start = problem.candidate(problem.start)
    easier = _swap(problem, start, swaps, EASIER_STEPS, harder=False)
    harder = _swap(problem, start, swaps, HARDER_STEPS, harder=True)
    removal = _remove(problem, harder[-1], swaps) if remove else []
    problem.progress(TOTAL, TOTAL)
    return [*reversed(easier[1:]), *harder, *removal]


def walk_harder(problem: Problem, swaps: int, steps: int) -> list[Candidate]:
    """The start, and the states after each of so many steps of swaps that make it harder."""
    return _swap(problem, problem.candidate(problem.start), swaps, steps + 1, harder=True)


def _swap(
    problem: Problem, start: Candidate, swaps: int, steps: int, *, harder: bool
) -> list[Candidate]:
    """The states before each of `steps` steps one way, all at full size."""
    states, recent = [start], Recent(HARDER_MEMORY if harder else EASIER_MEMORY)
    for _ in range(steps - 1):
        problem.progress(len(states) + (EASIER_STEPS if harder else 0), TOTAL)
        pairs, recent = choose_pairs(problem, states[-1].sides, recent, swaps, harder=harder)
        if not pairs:
            break
        states.append(problem.candidate(states[-1].sides.swapped(pairs)))
    return states


def _remove(problem: Problem, start: Candidate, swaps: int) -> list[Candidate]:
    """The states after the last swap: a swap that does not shrink the distance removes its classes.

    That test looks the wrong way round, but it is the published one and made the published splits.
    """
    recent = Recent(HARDER_MEMORY)
    states = [start]
    for _ in range(REMOVAL_STEPS - 1):
        problem.progress(EASIER_STEPS + HARDER_STEPS + len(states), TOTAL)
        now = states[-1]
        pairs, later = choose_pairs(problem, now.sides, recent, swaps, harder=True)
        if not pairs:
            break
        new = problem.candidate(now.sides.swapped(pairs))
        if new.shift < now.shift:
            recent = later
        elif min(len(now.sides.train), len(now.sides.test)) - len(pairs) >= SMALLEST_SIDE:
            new = problem.candidate(now.sides.without(pairs))
        else:
            break
        states.append(new)
    return states[1:]


def choose_pairs(
    problem: Problem, sides: Sides, recent: Recent, swaps: int, *, harder: bool
) -> tuple[list[tuple[int, int]], Recent]:
    """The (train row, test row) pairs of one step, and what is recent after it.

    A class's score is its distance from the other side's mean less that from its own, computed once
    a step; the k-th pair is the first at place k or below in both rankings that is free.
    """
    mean_train, mean_test = (mean_of_rows(problem.means, s) for s in (sides.train, sides.test))
    train = _ranking(problem, sides.train, mean_test, mean_train, harder=harder)
    test = _ranking(problem, sides.test, mean_train, mean_test, harder=harder)
    places: list[int] = []
    taken: set[int] = set()
    for k in range(min(swaps, len(train), len(test))):
        place = _free_place(k, train, test, recent, taken)
        if place is None:
            break
        places.append(place)
        taken.add(place)
        recent = recent.after(train[place], test[place])
    return [(train[place], test[place]) for place in places], recent


def _free_place(
    k: int, train: list[int], test: list[int], recent: Recent, taken: set[int]
) -> int | None:
    for place in range(k, min(len(train), len(test))):
        if place in taken:
            continue
        if train[place] not in recent.train and test[place] not in recent.test:
            return place
    return None


def _ranking(problem: Problem, rows: Array, other: Array, own: Array, *, harder: bool) -> list[int]:
    """Rows of a side, those first that are nearest to the other side; for easier, farthest."""
    blocks = in_blocks(rows, IN_CACHE)
    score = np.concatenate([_scores(problem.means[some], other, own) for some in blocks])
    # Equal up to rounding counts as equal and is settled by the name, so that machines agree.
    score = np.round(score / (1e-9 * (np.abs(score).max() or 1.0)))
    order = np.lexsort((problem.name_rank[rows], score if harder else -score))
    ranking: list[int] = rows[order].tolist()
    return ranking


def _scores(x: Array, other: Array, own: Array) -> Array:
    scores: Array = np.linalg.norm(x - other, axis=1) - np.linalg.norm(x - own, axis=1)
    return scores


OODML = Search(search_oodml, {"swaps": 0, "remove": True})
