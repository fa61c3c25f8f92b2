"""The search `optimal`: splits as close, as far, or at just the distance that is wanted.

All levels have the same numbers of train and test classes, so that difficulty is not mixed up with
size. The smallest and the largest distance are local optima under exchanges of classes, the best of
several starts (all splits are tried where there are at most 20 classes); K levels lie evenly
between. They are taken from one path of exchanges from the smallest to the largest, so that
neighbours share most of their classes. Which side is called train, where constraints leave that
open: rank 1 shares most train classes with the start (the published halves), every later rank with
the rank before it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from oodml.errors import SplitError
from oodml.split.calibration import nine_digits
from oodml.split.constraints import OUT, Board, two_sided
from oodml.split.enumerate import all_places, few_enough
from oodml.split.exchange import EQUAL, State, Terrain, best_of
from oodml.split.many import CLIMBS, ends_by_slope, states_on_route
from oodml.split.meter import Meter
from oodml.split.path import path, turned_like
from oodml.split.problem import Found, Problem, Search
from oodml.split.starts import count_climbs, extremes

Array = np.ndarray[Any, Any]
log = logging.getLogger(__name__)

# Levels are brought this near to their targets, in steps between levels; what is promised for many
# classes is `PROMISED`.
PRECISION, PROMISED = 0.001, 0.005
# Two levels closer than this, relatively, would be one in a file.
DIFFERENT = 1e-6
# From how many states of the path a level is tried for.
TRIES = 4
# The step between levels where a single target is hit.
STEPS = 8


def search_optimal(problem: Problem, options: Mapping[str, Any]) -> Found:
    """Levels at equal class counts, evenly spaced from the smallest to the largest distance."""
    return find_levels(problem, two_sided(problem, options), options)


def find_levels(problem: Problem, board: Board, options: Mapping[str, Any]) -> Found:
    """The levels of a board, or the one split at the option `target`."""
    terrain = Terrain(board, Meter(problem, options["trials"]))
    terrain.meter.plan(steps_of(terrain, problem.levels))
    listed = few_enough(board, terrain.meter.left)
    if listed:
        places = all_places(board)
        shifts = terrain.shifts(places)
        low, high = (State(places[i], float(shifts[i])) for i in (shifts.argmin(), shifts.argmax()))
    else:
        ends = ends_by_slope if terrain.scatters else extremes
        low, high = ends(terrain, board.place_of(problem.start))
    goals = goals_of(options["target"], low.shift, high.shift, problem.levels)
    step = (high.shift - low.shift) / max(len(goals) - 1, STEPS if len(goals) == 1 else 1)
    start = board.place_of(problem.start)
    if listed:
        states = pick_listed(board, (places, shifts), goals, step, start)
    else:
        states = pick_walked(terrain, (low, high), goals, step, start)
    kept = [i for i, s in enumerate(states) if _is_new(s, states[:i])]
    terrain.meter.report(f"{len(states)} levels by {'enumeration' if listed else 'local search'}")
    candidates = [problem.candidate(board.sides(states[i].place)) for i in kept]
    errors = [c.shift - goals[i] for c, i in zip(candidates, kept, strict=True)]
    if step > 0 and max(map(abs, errors)) > PROMISED * step:
        log.info("levels miss their targets by up to %.2g steps", max(map(abs, errors)) / step)
    facts = {
        "method": "enumeration" if listed else "local search",
        "range": [nine_digits(low.shift), nine_digits(high.shift)],
        "step": nine_digits(step),
        "targets": [nine_digits(goals[i]) for i in kept],
        "error": [nine_digits(error) for error in errors],
        "distances": terrain.meter.spent,
    }
    return Found(candidates, facts)


def steps_of(terrain: Terrain, levels: int) -> int:
    """How many steps the progress of a search counts: those of its climbs, and its levels."""
    return (CLIMBS if terrain.scatters else count_climbs(terrain)) + levels


def _is_new(state: State, before: list[State]) -> bool:
    return all(state.shift > other.shift * (1 + DIFFERENT) for other in before)


def goals_of(target: Any, low: float, high: float, levels: int) -> list[float]:
    """The distances wanted: even ones over the range, or the one that was asked for."""
    if target is None:
        return [float(goal) for goal in np.linspace(low, high, levels)]
    if target in ("min", "max"):
        return [low if target == "min" else high]
    try:
        goal = float(target)
    except (TypeError, ValueError):
        raise SplitError(f"The target is {target!r}; expected a number, 'min' or 'max'.") from None
    margin = DIFFERENT * abs(high)
    if not low - margin <= goal <= high + margin:
        raise SplitError(
            f"No split at distance {goal:g} was found; at these class counts the distances found "
            f"go from {low:.6g} to {high:.6g}."
        )
    return [goal]


def pick_listed(
    board: Board, tried: tuple[Array, Array], goals: list[float], step: float, start: Array
) -> list[State]:
    """For each goal, of the places near enough, the one that shares most with the level before.

    `tried` are all places `(b, u)` and their shifts `(b,)`.
    """
    places, shifts = tried
    chosen, before = [], start
    for goal in goals:
        # In units of rounding errors, so that equal distances count as equal on every machine.
        unit = EQUAL * (shifts.max() or 1.0)
        away = np.round(np.abs(shifts - goal) / unit)
        end = goal in (shifts.min(), shifts.max())
        near = np.flatnonzero(away <= max(0.0 if end else PRECISION * step / unit, away.min()))
        shared = _shared(board, places[near], before)
        first = np.lexsort((near, away[near], -shared))[0]
        before = turned_like(board, places[near[first]], before)
        chosen.append(State(before, float(shifts[near[first]])))
    return chosen


def _shared(board: Board, places: Array, model: Array) -> Array:
    """How many classes stand as in the model `(b,)`, or as in its mirror image if that is free."""
    same = (places == model) & (places != OUT)
    shared = same @ board.sizes
    if board.mirrored:
        other = (places == 1 - model) & (places != OUT) & (model != OUT)
        shared = np.maximum(shared, other @ board.sizes)
    return np.asarray(shared)


def pick_walked(
    terrain: Terrain, ends: tuple[State, State], goals: list[float], step: float, start: Array
) -> list[State]:
    """For each goal, the nearest state on the path from end to end, brought nearer by exchanges."""
    board = terrain.board
    low = State(turned_like(board, ends[0].place, start), ends[0].shift)
    high = State(turned_like(board, ends[1].place, low.place), ends[1].shift)
    tolerance = PRECISION * step
    if terrain.scatters:
        states = states_on_route(terrain, (low, high), goals, tolerance)
    else:
        route = path(terrain, low, high)
        states = [_nearest(terrain, route, goal, tolerance) for goal in goals]
    chosen, before = [], start
    for state in states:
        before = turned_like(board, state.place, before)
        chosen.append(State(before, state.shift))
    return chosen


def _nearest(terrain: Terrain, route: list[State], goal: float, tolerance: float) -> State:
    """A state at the goal: exchanges from the nearest state of a route, else from the next ones."""
    terrain.meter.advance()
    away = np.abs([state.shift - goal for state in route])
    best = route[int(away.argmin())]
    for i in np.argsort(away, kind="stable")[:TRIES].tolist():
        if abs(best.shift - goal) <= tolerance:
            break
        best = best_of([best, terrain.near(route[i], goal, tolerance)], goal)
    return best


OPTIMAL = Search(
    search_optimal,
    {
        "fraction": None,
        "per_side": None,
        "train": None,
        "test": None,
        "groups": False,
        "min_images": 1,
        "target": None,
        "trials": None,
    },
)
