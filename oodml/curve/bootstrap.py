"""What curves would be on other test classes: classes drawn again, or left out group by group.

value_r = sum_c w_rc sum_c / sum_c w_rc count_c, where the weights w_r of replicate r are
multinomial over the union of all test classes. They are drawn once and shared by every split, seed
and method, so that a class which many splits have in common moves them together, in AGS as in
comparisons. The gallery stays fixed. Metrics that are no means over queries have no such sums; of
these, what they are without each of 20 groups of classes says how much the classes matter
(jackknife), and a group takes its images out of the gallery too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from oodml.curve.estimates import REPLICATES
from oodml.score.card import ScoreCard
from oodml.store import frozen

Array = np.ndarray[Any, Any]
Weighted = Mapping[int, float]  # a mean of cards: which ones, and with what weight
_SEED = 0
_BLOCK = 8_000_000  # weights drawn at a time: 64 MB, whatever the number of classes


def replicates_of(
    cards: Sequence[ScoreCard], metric: str, points: Sequence[Weighted]
) -> Array | None:
    """The value of each point, a weighted mean of cards, on other classes: (R, points).

    None where some card has neither sums by class nor a jackknife of the metric.
    """
    if all(metric in card.sums for card in cards):
        return class_replicates(cards, metric, points)
    if all(metric in card.replicates for card in cards):
        return group_replicates(cards, metric, points)
    return None


def class_replicates(cards: Sequence[ScoreCard], metric: str, points: Sequence[Weighted]) -> Array:
    """The value of each point under resampled test classes, (2000, points).

    NaN where a replicate drew none of the classes of one of its cards.
    """
    sums, counts, parts = _by_class(cards, metric, points)
    values = np.zeros((REPLICATES, len(points)))
    for rows, weights in _drawn(len(sums)):
        total = weights @ counts
        ratios = np.full((len(weights), sums.shape[1]), np.nan)
        denominators = total[:, [denominator for _, denominator in parts]]
        np.divide(weights @ sums, denominators, out=ratios, where=denominators > 0)
        for column, (point, _) in enumerate(parts):
            values[rows, point] += ratios[:, column]
    return frozen(values)


def _by_class(
    cards: Sequence[ScoreCard], metric: str, points: Sequence[Weighted]
) -> tuple[Array, Array, list[tuple[int, int]]]:
    """Numerators (C, parts), denominators (C, h), and (point, denominator) of each part.

    Cards of a point with the same queries add up before anything is drawn: seeds and methods share
    denominators, so that what is to be resampled grows with the splits, not with the cards.
    """
    union = sorted({name for classes in {card.classes for card in cards} for name in classes})
    row = {name: index for index, name in enumerate(union)}
    rows = {names: [row[name] for name in names] for names in {card.classes for card in cards}}
    denominators: dict[tuple[tuple[str, ...], bytes], int] = {}
    parts: dict[tuple[int, int], Array] = {}
    for point, weighted in enumerate(points):
        for index, weight in weighted.items():
            card = cards[index]
            queries = (card.classes, card.counts.tobytes())
            part = (point, denominators.setdefault(queries, len(denominators)))
            column = parts.setdefault(part, np.zeros(len(union)))
            column[rows[card.classes]] += weight * card.sums[metric]
    counts = np.zeros((len(union), len(denominators)))
    for (names, numbers), place in denominators.items():
        counts[rows[names], place] = np.frombuffer(numbers, dtype=np.int64)
    return np.stack(list(parts.values()), axis=1), counts, list(parts)


def _drawn(classes: int) -> Iterator[tuple[slice, Array]]:
    """How often each class was drawn in `classes` draws with replacement, (block, classes).

    Always the same draws for the same number of classes.
    """
    rng = np.random.default_rng(_SEED)
    step = max(1, _BLOCK // classes)
    for start in range(0, REPLICATES, step):
        size = min(step, REPLICATES - start)
        # Counting draws is the multinomial, and tens of times faster than one binomial a class.
        drawn = rng.integers(classes, size=(size, classes))
        drawn += np.arange(size)[:, None] * classes
        weights = np.bincount(drawn.ravel(), minlength=size * classes)
        yield slice(start, start + size), weights.reshape(size, classes).astype(np.float64)


def group_replicates(cards: Sequence[ScoreCard], metric: str, points: Sequence[Weighted]) -> Array:
    """What stands in for `class_replicates` where the metric is no mean over queries, (g, points).

    From the values without each of g groups of classes: their deviations, scaled so that the
    variance over rows is the jackknife's, (g - 1) / g sum_i (value_i - mean)^2. A group that a
    split does not test changes nothing there, and counts as one. NaN for a point with a card where
    the metric is not defined without one of its groups.
    """
    left_out = np.stack([card.replicates[metric] for card in cards], axis=1)
    count = len(left_out)
    values = np.array([card.values[metric] for card in cards])
    spread = values + (left_out - left_out.mean(axis=0)) * (count - 1) / np.sqrt(count)
    columns = [spread[:, list(part)] @ np.array(list(part.values())) for part in points]
    return frozen(np.stack(columns, axis=1))
