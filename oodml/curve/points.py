"""Score cards that belong together, and what they say of each split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from oodml.errors import RunError, UnknownNameError
from oodml.score.card import ScoreCard

Array = np.ndarray[Any, Any]
Run = tuple[int | None, int | None]


def together(cards: Sequence[ScoreCard], metric: str) -> list[ScoreCard]:
    """The cards in one order, whatever order they came in.

    Raises where they cannot share a figure.
    """
    if not cards:
        raise RunError("There are no score cards to draw a curve of; run or score something first.")
    _agree("data set and sequence", {(card.dataset, card.sequence[:12]) for card in cards})
    _agree("images (content fingerprint)", {card.content_fingerprint[:12] for card in cards})
    _agree("metric version", {card.metric_version for card in cards})
    for rank in {card.rank for card in cards}:
        _agree(f"shift of rank {rank}", {card.shift for card in cards if card.rank == rank})
    _check_metric(cards, metric)
    cards = sorted(cards, key=_card_key)
    keys = [_card_key(card) for card in cards]
    for first, second in pairwise(keys):
        if first == second:
            raise RunError(f"Two score cards are of the same run, {first}; give each of them once.")
    return cards


def _agree(what: str, found: set[Any]) -> None:
    if len(found) > 1:
        raise RunError(
            f"The cards differ in {what}: {sorted(found, key=str)}; curves are comparable under "
            "one only."
        )


def _check_metric(cards: Sequence[ScoreCard], metric: str) -> None:
    known = {name for card in cards for name in (*card.sums, *card.others)}
    if metric not in known:
        raise UnknownNameError(
            f"No score card has the metric {metric!r}; there are: {', '.join(sorted(known))}."
        )
    for card in cards:
        if metric not in card.sums and metric not in card.others:
            raise RunError(
                f"The card of {card.method!r}, rank {card.rank}, lacks the metric {metric!r} "
                "that others have; score it again."
            )


def curve_key(card: ScoreCard) -> tuple[Any, ...]:
    """What must agree within a curve; a difference in any of it makes another one."""
    shots = -1 if card.shots is None else card.shots
    training = (card.selection or "", tuple(sorted(card.budget.items())))
    seen = (card.encoder, card.features, card.similarity)
    return (card.method, *seen, card.protocol, *training, shots)


def _card_key(card: ScoreCard) -> tuple[Any, ...]:
    return (*curve_key(card), card.rank, *ordinal((card.seed, card.episode)))


def ordinal(run: Run) -> tuple[int, ...]:
    return tuple(-1 if number is None else number for number in run)


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """A method on one split: its value for each unit of repetition, and resampled."""

    rank: int
    shift: float
    classes: frozenset[str]
    runs: frozenset[Run]
    units: Mapping[int | None, float]
    replicates: Array | None
    chance: float

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.units.values())))


def points_of(cards: Sequence[ScoreCard], metric: str, replicates: Array | None) -> list[Point]:
    """The cards of one curve gathered by rank, easiest first.

    The unit of repetition is the training seed, with its episodes averaged: they share one model.
    Only where there is a single seed the episodes are the units.
    """
    by_seed = len({card.seed for card in cards}) > 1
    points = []
    for rank in sorted({card.rank for card in cards}):
        rows = [index for index, card in enumerate(cards) if card.rank == rank]
        here = [cards[index] for index in rows]
        units = [card.seed if by_seed else card.episode for card in here]
        weights = np.array([1 / units.count(unit) for unit in units]) / len(set(units))
        values = np.array([card.values[metric] for card in here])
        points.append(
            Point(
                rank=rank,
                shift=np.nan if here[0].shift is None else here[0].shift,
                classes=frozenset(name for card in here for name in card.classes),
                runs=frozenset((card.seed, card.episode) for card in here),
                units={unit: float(values[[u == unit for u in units]].mean()) for unit in units},
                replicates=None if replicates is None else replicates[:, rows] @ weights,
                chance=float(np.mean([card.chance.get(metric, np.nan) for card in here])),
            )
        )
    return points
