"""How often the intervals and tests of curves are right, where the truth is known.

    python scripts/simulate_intervals.py --simulations 1000 > intervals.md

Classes, training runs and queries are drawn from a population: a query of class c under seed s is
right with probability

    truth_k + hard_c + luck_s + luck_sc,   each normal, cut to [0, 1],

on three splits that test 60 of 90 classes (or other numbers) with 5 to 29 queries each. An interval
is right if it covers the truth, which is what other classes and seeds of this population would
score. A test of two methods is wrong if it calls methods of equal truth different; these share how
hard a class is, and have luck of their own with every class.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from oodml.curve import build_curve, compare_methods
from oodml.score import ScoreCard

TRUTH = (0.7, 0.6, 0.5)
SHIFTS = (1.0, 3.0, 4.0)
HARD, LUCK_WITH_CLASS = 0.1, 0.02
SEEDS = (1, 2, 3, 5, 10)


@dataclass(frozen=True, slots=True)
class World:
    """A population: how many classes there are and are tested, and the luck of a seed."""

    classes: int = 90
    tested: int = 60
    luck: float = 0.01
    hard: float = HARD


def area_of_truth() -> float:
    x = (np.array(SHIFTS) - SHIFTS[0]) / (SHIFTS[-1] - SHIFTS[0])
    return float(np.trapezoid(TRUTH, x))


def draw_cards(
    rng: np.random.Generator, world: World, seeds: int, methods: int = 1
) -> list[ScoreCard]:
    """The cards of methods of equal truth: the same classes and queries, luck of their own.

    Methods with a single seed are called deterministic: oodml makes no test of one seed, and this
    shows why.
    """
    hard = rng.normal(0, world.hard, world.classes)
    counts = rng.integers(5, 30, world.classes)
    tests = [np.sort(rng.permutation(world.classes)[: world.tested]) for _ in TRUTH]
    cards = []
    for method in range(methods):
        affinity = rng.normal(0, LUCK_WITH_CLASS, world.classes) if methods > 1 else 0.0
        for seed in range(seeds):
            luck = rng.normal(0, world.luck) + rng.normal(0, LUCK_WITH_CLASS, world.classes)
            for at, rows in enumerate(tests):
                chances = np.clip(TRUTH[at] + (hard + affinity + luck)[rows], 0, 1)
                sums = rng.binomial(counts[rows], chances)
                number = seed if seeds > 1 else None
                cards.append(_card(f"m{method}", number, at, rows, counts[rows], sums))
    return cards


def _card(
    method: str, seed: int | None, at: int, rows: np.ndarray, counts: np.ndarray, sums: np.ndarray
) -> ScoreCard:
    return ScoreCard(
        dataset="simulated",
        sequence="a" * 64,
        rank=at + 1,
        levels=len(TRUTH),
        shift=SHIFTS[at],
        method=method,
        encoder="none",
        seed=seed,
        protocol="head",
        metric_version=2,
        content_fingerprint="c" * 64,
        features="f" * 64,
        classes=tuple(f"class {row:04d}" for row in rows),
        counts=counts,
        sums={"recall@1": sums},
        chance={"recall@1": 0.02},
    )


def coverage(world: World, seeds: int, simulations: int) -> tuple[float, float]:
    """How often the interval of a split, and that of AGS, covers the truth."""
    splits, areas = [], []
    for rng in _rngs(world, seeds, simulations):
        curve = build_curve(draw_cards(rng, world, seeds))
        splits.append((curve.low <= TRUTH) & (curve.high >= TRUTH))
        areas.append(curve.area.low <= area_of_truth() <= curve.area.high)
    return float(np.mean(splits)), float(np.mean(areas))


def false_findings(
    world: World, seeds: int, simulations: int, methods: int = 2
) -> tuple[float, float]:
    """How often equal methods are called different: each pair by p, and any pair after Holm."""
    pairs, families = [], []
    for rng in _rngs(world, seeds, simulations):
        found = compare_methods(draw_cards(rng, world, seeds, methods)).differences
        pairs += [pair.p < 0.05 for pair in found]
        families.append(any(pair.significant for pair in found))
    return float(np.mean(pairs)), float(np.mean(families))


def _rngs(world: World, seeds: int, simulations: int) -> Iterator[np.random.Generator]:
    for number in range(simulations):
        yield np.random.default_rng([number, seeds, world.classes, round(1e4 * world.luck)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=1000)
    simulations = parser.parse_args().simulations
    worlds = [
        *(World(luck=luck) for luck in (0.005, 0.01, 0.03)),
        *(World(classes=c, tested=t) for c, t in ((10, 5), (20, 10), (1000, 500))),
    ]
    error = (0.95 * 0.05 / simulations) ** 0.5
    print(f"{simulations} simulations each; a share of .95 has a standard error of {error:.3f}.\n")
    print("Coverage of the 95 % interval, splits / AGS:\n")
    _table(worlds, lambda world, seeds: coverage(world, seeds, simulations))
    print("\nFalse findings at .05 among 2 equal methods, and among 5 after Holm's correction:\n")
    _table(
        worlds[:4],
        lambda world, seeds: (
            false_findings(world, seeds, simulations)[0],
            false_findings(world, seeds, simulations // 2, methods=5)[1],
        ),
    )


def _table(worlds: Sequence[World], value: Callable[[World, int], tuple[float, float]]) -> None:
    print("| tested of all classes, luck of a seed |", *(f" {n} seeds |" for n in SEEDS), sep="")
    print("|---|", *("---|" for _ in SEEDS), sep="")
    for world in worlds:
        cells = []
        for seeds in SEEDS:
            one, other = value(world, seeds)
            cells.append(f" {one:.3f} / {other:.3f} |")
        print(f"| {world.tested} of {world.classes}, {world.luck} |", *cells, sep="", flush=True)


if __name__ == "__main__":
    main()
