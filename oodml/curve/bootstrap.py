"""How sure a number is: resampled test classes, and the spread between training seeds.

value_r = sum_c w_rc sum_c / sum_c w_rc count_c, where the weights w_r of replicate r are
multinomial over the union of all test classes. They are drawn once and shared by every split, seed
and method, so that a class which many splits have in common moves them together, in AGS as in
comparisons. The gallery stays fixed. Metrics that are no means over queries have no such sums; of
these, what they are without each of 20 groups of classes says how much the classes matter
(jackknife), and a group takes its images out of the gallery too.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np

from oodml.score.card import ScoreCard
from oodml.store import frozen

REPLICATES = 2000
LEVEL = 0.95
_SEED = 0
_BLOCK = 8_000_000  # weights drawn at a time: 64 MB, whatever the number of classes


def class_replicates(cards: Sequence[ScoreCard], metric: str) -> np.ndarray[Any, Any]:
    """The value of each card under resampled test classes, shape (2000, cards).

    NaN where a replicate drew none of the classes of a card's split.
    """
    sums, counts = _by_class(cards, metric)
    values = np.full((REPLICATES, len(cards)), np.nan)
    rng = np.random.default_rng(_SEED)
    step = max(1, _BLOCK // len(sums))
    for start in range(0, REPLICATES, step):
        block = values[start : start + step]
        weights = _draw_weights(rng, len(block), len(sums))
        total = weights @ counts
        np.divide(weights @ sums, total, out=block, where=total > 0)
    return frozen(values)


def group_replicates(cards: Sequence[ScoreCard], metric: str) -> np.ndarray[Any, Any]:
    """What stands in for `class_replicates` where the metric is no mean over queries, (g, cards).

    From the values without each of g groups of classes: their deviations, scaled so that the
    variance over rows is the jackknife's, (g - 1) / g sum_i (value_i - mean)^2. A group that a
    split does not test changes nothing there, and counts as one. NaN for a card where the metric is
    not defined without one of its groups.
    """
    left_out = np.stack([card.replicates[metric] for card in cards], axis=1)
    count = len(left_out)
    values = np.array([card.values[metric] for card in cards])
    return frozen(values + (left_out - left_out.mean(axis=0)) * (count - 1) / np.sqrt(count))


def _by_class(cards: Sequence[ScoreCard], metric: str) -> tuple[np.ndarray[Any, Any], ...]:
    """Sums and counts of each card, two (classes, cards) matrices over the union of classes."""
    union = sorted({name for card in cards for name in card.classes})
    row = {name: index for index, name in enumerate(union)}
    sums, counts = np.zeros((2, len(union), len(cards)))
    for column, card in enumerate(cards):
        rows = [row[name] for name in card.classes]
        sums[rows, column] = card.sums[metric]
        counts[rows, column] = card.counts
    return sums, counts


def _draw_weights(rng: np.random.Generator, replicates: int, classes: int) -> np.ndarray[Any, Any]:
    """How often each class was drawn in `classes` draws with replacement, (replicates, classes)."""
    # Counting draws is the multinomial, and tens of times faster than one binomial a class.
    drawn = rng.integers(classes, size=(replicates, classes))
    drawn += np.arange(replicates)[:, None] * classes
    weights = np.bincount(drawn.ravel(), minlength=replicates * classes)
    return weights.reshape(replicates, classes).astype(np.float64)


def half_width(
    replicates: np.ndarray[Any, Any], classes: int, seed_values: np.ndarray[Any, Any]
) -> float:
    """Half of the 95 % interval of a mean over seeds, t * sqrt(class part + seed part).

    Class part: variance of that mean's `replicates`, (2000,) with `classes` - 1 degrees of freedom,
    or fewer, of groups of classes, with one less than they are.
    Seed part: s2 / S of `seed_values` (S,), with S - 1; absent for one seed. t has Satterthwaite's
    degrees of freedom, (sum v)^2 / sum(v^2 / df). NaN for one class, which tells nothing of others.
    """
    from scipy.special import stdtrit

    drawn = len(replicates)
    # Of replicates by classes, a few may have drawn none; by groups, each of them counts.
    if classes < 2 or np.isfinite(replicates).sum() < max(2, drawn / 2):
        return float("nan")
    if drawn < REPLICATES and not np.isfinite(replicates).all():
        return float("nan")
    parts = [(float(np.nanvar(replicates, ddof=1)), min(classes, drawn) - 1)]
    if (count := len(seed_values)) > 1:
        parts.append((float(np.var(seed_values, ddof=1)) / count, count - 1))
    total = sum(variance for variance, _ in parts)
    if total == 0:
        return 0.0
    freedom = 1 / sum((variance / total) ** 2 / df for variance, df in parts)
    return float(stdtrit(freedom, (1 + LEVEL) / 2)) * sqrt(total)
