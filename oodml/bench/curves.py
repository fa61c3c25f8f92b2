"""`oodml bench curves`: intervals and comparisons of many methods, against plain loops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from oodml.bench.timing import BenchRow, timed
from oodml.curve import build_curves, compare_methods, view_results
from oodml.score import ScoreCard

Array = np.ndarray[Any, Any]
SPLITS, SEEDS, METHODS = 9, 5, 10
REPLICATES = 2000


def bench_curves(*, quick: bool = False) -> Iterator[BenchRow]:
    """Curves of 10 methods with 5 seeds on 9 splits, 2,000 replicates of their test classes.

    The loops draw the same weights, and sum up a card at a time in numpy, or a class at a time in
    Python; where only some replicates are timed, they are multiplied. The error is that of the
    standard errors.
    """
    for classes in (40,) if quick else (196, 22_634):
        task = f"{METHODS} methods, {SEEDS} seeds, {SPLITS} splits, {classes:,} classes"
        cards = make_cards(classes, np.random.default_rng(0))
        repeats = 1 if quick else 3
        seconds, _ = timed(partial(build_curves, cards), repeats=repeats)
        yield BenchRow(task, "oodml: curves with intervals, AGS, slope, retention", seconds)
        seconds, _ = timed(partial(compare_methods, cards), repeats=repeats)
        yield BenchRow(task, "oodml: all pairs, places, order of methods", seconds)
        timing = 20 if quick or classes > 1000 else REPLICATES
        seconds, drawn = timed(partial(by_card, cards, timing), repeats=1, warm=False)
        error = None if timing < REPLICATES else _error(cards, drawn)
        note = f"{timing} of {REPLICATES} replicates timed" if timing < REPLICATES else ""
        times = REPLICATES / timing
        yield BenchRow(task, "loop: a card at a time", seconds * times, error, note)
        few = 1 if classes > 1000 else 5
        seconds, _ = timed(partial(by_class, cards, few), repeats=1, warm=False)
        note = f"{few} of {REPLICATES} replicates timed"
        yield BenchRow(task, "loop: a class at a time", seconds * REPLICATES / few, note=note)


def make_cards(classes: int, rng: np.random.Generator) -> list[ScoreCard]:
    """Cards with random recalls; each split tests one half of the classes."""
    names, counts = [f"class {at:06d}" for at in range(classes)], rng.integers(5, 30, classes)
    tests = [np.sort(rng.permutation(classes)[: classes // 2]) for _ in range(SPLITS)]
    queried = [(tuple(names[row] for row in rows), counts[rows]) for rows in tests]
    return [
        _card(f"method {method}", seed, at, queried[at], rng)
        for method in range(METHODS)
        for seed in range(SEEDS)
        for at in range(SPLITS)
    ]


def _card(
    method: str,
    seed: int,
    at: int,
    queried: tuple[tuple[str, ...], Array],
    rng: np.random.Generator,
) -> ScoreCard:
    classes, counts = queried
    return ScoreCard(
        dataset="random",
        sequence="a" * 64,
        rank=at + 1,
        levels=SPLITS,
        shift=float(at),
        method=method,
        encoder="none",
        seed=seed,
        protocol="head",
        metric_version=1,
        content_fingerprint="c" * 64,
        features="f" * 64,
        classes=classes,
        counts=counts,
        sums={"recall@1": rng.binomial(counts, 0.6)},
        chance={"recall@1": 0.01},
    )


def _error(cards: Sequence[ScoreCard], drawn: Array) -> float:
    """The largest relative difference of our standard errors over classes from those of a loop."""
    results = sorted(view_results(cards, "recall@1"), key=lambda found: found.cards[0].method)
    own = [found.replicates.std(axis=0) for found in results if found.replicates is not None]
    return float(np.abs(np.array(own) / drawn.std(axis=0) - 1).max())


def by_card(cards: Sequence[ScoreCard], replicates: int) -> Array:
    """Replicates of the means over seeds (replicates, methods, splits), a card by itself."""
    union = sorted({name for card in cards for name in card.classes})
    place = {name: at for at, name in enumerate(union)}
    rows = {card.classes: [place[name] for name in card.classes] for card in cards}
    rng = np.random.default_rng(0)
    values = np.empty((replicates, len(cards)))
    for row in range(replicates):
        drawn = rng.integers(len(union), size=len(union))
        weights = np.bincount(drawn, minlength=len(union)).astype(float)
        for column, card in enumerate(cards):
            own = weights[rows[card.classes]]
            values[row, column] = (own @ card.sums["recall@1"]) / (own @ card.counts)
    return np.asarray(values.reshape(replicates, METHODS, SEEDS, SPLITS).mean(axis=2))


def by_class(cards: Sequence[ScoreCard], replicates: int) -> list[float]:
    """The last replicate of every card, without any array."""
    rng = np.random.default_rng(0)
    union = sorted({name for card in cards for name in card.classes})
    values: list[float] = []
    for _ in range(replicates):
        weights = dict.fromkeys(union, 0)
        for at in rng.integers(len(union), size=len(union)):
            weights[union[at]] += 1
        values = []
        for card in cards:
            top, bottom = 0.0, 0
            for name, score, count in zip(
                card.classes, card.sums["recall@1"], card.counts, strict=True
            ):
                top += weights[name] * score
                bottom += weights[name] * count
            values.append(top / bottom)
    return values
