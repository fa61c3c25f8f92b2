"""Score cards that belong together, and what they say of each split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from oodml.errors import RunError, UnknownNameError
from oodml.score.card import ScoreCard

Array = np.ndarray[Any, Any]
Run = tuple[int | None, int | None]


def together(cards: Sequence[ScoreCard], metric: str) -> tuple[list[ScoreCard], list[ScoreCard]]:
    """The cards of splits, and those of controls, each in one order, whatever order they came in.

    Raises where they cannot share a figure.
    """
    if all(card.control is not None for card in cards):
        there = "only cards of controls" if cards else "no score cards to draw a curve of"
        raise RunError(f"There are {there}; run or score something first.")
    _agree("data set and sequence", {(card.dataset, card.sequence[:12]) for card in cards})
    _agree("images (content fingerprint)", {card.content_fingerprint[:12] for card in cards})
    _agree("metric version", {card.metric_version for card in cards})
    for part in {(card.rank, card.control) for card in cards}:
        same = [card for card in cards if (card.rank, card.control) == part]
        _agree(f"shift of {_part_text(*part)}", {card.shift for card in same})
    _check_metric(cards, metric)
    cards = sorted(cards, key=_card_key)
    keys = [_card_key(card) for card in cards]
    for first, second in pairwise(keys):
        if first == second:
            raise RunError(f"Two score cards are of the same run, {first}; give each of them once.")
    return [c for c in cards if c.control is None], [c for c in cards if c.control is not None]


def require_one_excess(cards: Sequence[ScoreCard]) -> None:
    """Raise `RunError` where cards of one split were calibrated in different ways."""
    for rank in {card.rank for card in cards}:
        found = {card.excess for card in cards if card.rank == rank}
        _agree(f"excess of rank {rank}", found - {None})


def _part_text(rank: int, control: int | None) -> str:
    return f"rank {rank}" if control is None else f"control {control} of rank {rank}"


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
    return (*curve_key(card), card.rank, *ordinal((card.seed, card.episode, card.control)))


def ordinal(run: tuple[int | None, ...]) -> tuple[int, ...]:
    return tuple(-1 if number is None else number for number in run)


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """A method on one split: its value for each unit of repetition, and resampled."""

    rank: int
    shift: float
    excess: float
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
                shift=_known(card.shift for card in here),
                excess=_known(card.excess for card in here),
                classes=frozenset(name for card in here for name in card.classes),
                runs=frozenset((card.seed, card.episode) for card in here),
                units={unit: float(values[[u == unit for u in units]].mean()) for unit in units},
                replicates=None if replicates is None else replicates[:, rows] @ weights,
                chance=float(np.mean([card.chance.get(metric, np.nan) for card in here])),
            )
        )
    return points


def _known(values: Iterable[float | None]) -> float:
    """The one value that some of the cards say; NaN where none does."""
    return next((value for value in values if value is not None), np.nan)


def control_means(cards: Sequence[ScoreCard], metric: str) -> dict[int, float]:
    """The metric of the controls of each rank: the mean over controls of that over their runs."""
    values: dict[int, dict[int | None, list[float]]] = {}
    for card in cards:
        own = values.setdefault(card.rank, {}).setdefault(card.control, [])
        own.append(card.values[metric])
    return {
        rank: float(np.mean([np.mean(runs) for runs in controls.values()]))
        for rank, controls in values.items()
    }
