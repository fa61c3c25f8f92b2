"""Score cards with known truths, for the tests of curves."""

from __future__ import annotations

import numpy as np

from oodml.score.card import ScoreCard

SHIFTS = (1.0, 2.0, 4.0, 9.0)


def make_cards(
    method="triplet", level=0.6, seeds=(0, 1, 2), *, splits=4, classes=30, spread=0.1, rng=0
):
    """Cards of one method: half of the classes are tested on each split, other ones on each."""
    rng = np.random.default_rng(rng)
    hard, counts = rng.normal(0, spread, classes), rng.integers(5, 30, classes)
    tests = [np.sort(rng.permutation(classes)[: classes // 2]) for _ in range(splits)]
    cards = []
    for seed in seeds:
        luck = 0.0 if seed is None else rng.normal(0, 0.01)
        for at, rows in enumerate(tests):
            chances = np.clip(level - 0.03 * at + hard[rows] + luck, 0, 1)
            cards.append(
                ScoreCard(
                    dataset="glyphs",
                    sequence="a" * 64,
                    rank=at + 1,
                    levels=splits,
                    shift=SHIFTS[at],
                    method=method,
                    encoder="oodml:hog",
                    seed=seed,
                    protocol="head",
                    metric_version=1,
                    content_fingerprint="c" * 64,
                    features="f" * 64,
                    measure="frechet",
                    classes=tuple(f"class {row:03d}" for row in rows),
                    counts=counts[rows],
                    sums={"recall@1": rng.binomial(counts[rows], chances)},
                    chance={"recall@1": 0.02},
                )
            )
    return cards
