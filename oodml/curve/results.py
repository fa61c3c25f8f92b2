"""`Results`: the cards of one curve as arrays of splits, repetitions and replicates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from oodml.curve.bootstrap import Weighted, replicates_of
from oodml.curve.cards import curve_key, gaps, together
from oodml.errors import RunError
from oodml.score.card import ScoreCard

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Results:
    """One method on K splits, easiest first.

    `cards` are those of the splits, in one order. The unit of repetition is the training seed, with
    its episodes and directions averaged: they share one model, or one number. Only where there is a
    single seed the episodes are the `units` (U,). `values` (U, K) are the metric; NaN where a unit
    lacks a rank. `replicates` (R, K) are its means over units on other test classes. `shift`,
    `excess` and `chance` (K,) are NaN where unknown; `classes` are those that were queried at each
    rank; `controls` is the mean over units of each (rank, control); `gaps` says which runs are
    missing.
    """

    cards: tuple[ScoreCard, ...]
    metric: str
    ranks: tuple[int, ...]
    units: tuple[int | None, ...]
    values: Array
    replicates: Array | None
    shift: Array
    excess: Array
    chance: Array
    classes: tuple[frozenset[str], ...]
    controls: Mapping[tuple[int, int], float]
    gaps: tuple[str, ...]

    @property
    def mean(self) -> Array:
        """The metric at each split, averaged over units; (K,)."""
        return np.asarray(np.nanmean(self.values, axis=0))

    @property
    def has_area(self) -> bool:
        """Whether there is a range of shift to sum up over: several splits, shifts that grow."""
        return len(self.ranks) > 1 and bool((np.diff(self.shift) > 0).all())

    @property
    def seeds(self) -> tuple[int, ...]:
        """The training seeds; empty for a deterministic method."""
        return tuple(sorted({card.seed for card in self.cards if card.seed is not None}))

    @property
    def one_seed(self) -> bool:
        """Whether a method that depends on its seed has one only: its luck is not known."""
        return len(self.seeds) == 1

    @property
    def union(self) -> int:
        """How many classes are queried at any rank."""
        return len(frozenset[str]().union(*self.classes))

    @property
    def queries(self) -> frozenset[tuple[Any, ...]]:
        """What was asked at each rank; results can be subtracted where this is the same."""
        return frozenset(
            (c.rank, c.episode, c.swapped, c.classes, c.counts.tobytes()) for c in self.cards
        )


def gather(cards: Sequence[ScoreCard], metric: str, *, partial: bool = False) -> list[Results]:
    """The results of each curve; every one is resampled with the same classes.

    Cards may be of several sequences of one data set. Raises `RunError` where they do not belong
    together, or, unless `partial`, where a run lacks a rank.
    """
    cards, controls = together(cards, metric)
    curves: dict[tuple[Any, ...], list[int]] = {}
    for index, card in enumerate(cards):
        curves.setdefault(curve_key(card), []).append(index)
    lacking = {key: tuple(gaps([cards[i] for i in rows])) for key, rows in curves.items()}
    if not partial:
        _require_all(lacking, cards, curves)
    points = {
        (key, rank): _weights(cards, [i for i in rows if cards[i].rank == rank], rows)
        for key, rows in curves.items()
        for rank in sorted({cards[i].rank for i in rows})
    }
    replicates = replicates_of(cards, metric, list(points.values()))
    means = _control_means(controls, metric)
    found = []
    for key, rows in curves.items():
        columns = [at for at, (owner, _) in enumerate(points) if owner == key]
        resampled = None if replicates is None else replicates[:, columns]
        own = _results([cards[i] for i in rows], metric, resampled, lacking[key])
        found.append(replace(own, controls=means.get(key, {})))
    return found


def _require_all(
    lacking: Mapping[tuple[Any, ...], tuple[str, ...]],
    cards: Sequence[ScoreCard],
    curves: Mapping[tuple[Any, ...], Sequence[int]],
) -> None:
    for key, missing in lacking.items():
        if missing:
            raise RunError(
                f"{cards[curves[key][0]].method}: {'; '.join(missing)}. Give the same oodml run "
                "again to finish it, or draw what is there, without AGS, with --partial "
                "(partial=True)."
            )


def units_of(cards: Iterable[ScoreCard]) -> list[int | None]:
    """The unit of repetition that each card of a curve belongs to."""
    cards = list(cards)
    by_seed = len({card.seed for card in cards}) > 1
    return [card.seed if by_seed else card.episode for card in cards]


def _weights(cards: Sequence[ScoreCard], here: Sequence[int], curve: Sequence[int]) -> Weighted:
    """The weight of each card of a rank: units count alike, and so do the cards within a unit."""
    by_index = dict(zip(curve, units_of(cards[i] for i in curve), strict=True))
    units = [by_index[i] for i in here]
    return {i: 1 / (units.count(by_index[i]) * len({*units})) for i in here}


def _results(
    cards: Sequence[ScoreCard], metric: str, replicates: Array | None, lacking: tuple[str, ...]
) -> Results:
    of_card = units_of(cards)
    units = sorted({*of_card}, key=lambda unit: -1 if unit is None else unit)
    ranks = sorted({card.rank for card in cards})
    values = np.full((len(units), len(ranks)), np.nan)
    for row, unit in enumerate(units):
        for column, rank in enumerate(ranks):
            own = [
                card.values[metric]
                for card, found in zip(cards, of_card, strict=True)
                if (found, card.rank) == (unit, rank)
            ]
            if own:
                values[row, column] = np.mean(own)
    here = [[card for card in cards if card.rank == rank] for rank in ranks]
    return Results(
        cards=tuple(cards),
        metric=metric,
        ranks=tuple(ranks),
        units=tuple(units),
        values=values,
        replicates=replicates,
        shift=np.array([_known(card.shift for card in row) for row in here]),
        excess=np.array([_known(card.excess for card in row) for row in here]),
        chance=np.array([np.mean([c.chance.get(metric, np.nan) for c in row]) for row in here]),
        classes=tuple(frozenset[str]().union(*{c.classes for c in row}) for row in here),
        controls={},
        gaps=lacking,
    )


def _known(values: Iterable[float | None]) -> float:
    """The one value that some of the cards say; NaN where none does."""
    return next((value for value in values if value is not None), np.nan)


def _control_means(
    controls: Sequence[ScoreCard], metric: str
) -> dict[tuple[Any, ...], dict[tuple[int, int], float]]:
    """By curve: the metric of each (rank, control), averaged over its runs."""
    found: dict[tuple[Any, ...], dict[tuple[int, int], list[float]]] = {}
    for card in controls:
        if card.control is not None:
            own = found.setdefault(curve_key(card), {})
            own.setdefault((card.rank, card.control), []).append(card.values[metric])
    return {
        key: {part: float(np.mean(values)) for part, values in own.items()}
        for key, own in found.items()
    }


def minus(own: Results, reference: Results) -> Results:
    """`own` less the `reference` at every split, on the same queries and resampled classes.

    So what makes the classes of a split hard, or its gallery small, cancels. The reference must be
    one deterministic method: the seeds of another one would have an error of their own. Chance is
    the same for both, and so is not known of the difference. Raises `RunError`.
    """
    ours, theirs = own.cards[0].method, reference.cards[0].method
    if absent := [str(rank) for rank in own.ranks if rank not in reference.ranks]:
        raise RunError(f"{theirs} has no results at rank {', '.join(absent)}; run it there too.")
    if own.queries != {query for query in reference.queries if query[0] in own.ranks}:
        raise RunError(
            f"{ours!r} and {theirs!r} were scored on different queries; a difference needs the "
            "same test images, episodes and directions for both: run both alike."
        )
    if len(reference.units) > 1 and reference.cards[0].seed is not None:
        raise RunError(f"{theirs!r} has several seeds; a reference is one deterministic method.")
    columns = [reference.ranks.index(rank) for rank in own.ranks]
    rows = _paired(own, reference)
    both = own.replicates is not None and reference.replicates is not None
    return replace(
        own,
        values=own.values - rows[:, columns],
        replicates=own.replicates - reference.replicates[:, columns] if both else None,  # type: ignore[index]
        chance=np.full(len(own.ranks), np.nan),
        controls={
            part: value - reference.controls[part]
            for part, value in own.controls.items()
            if part in reference.controls
        },
    )


def _paired(own: Results, reference: Results) -> Array:
    """What to subtract from each unit: its own episode where episodes are the units, else all."""
    if len(reference.units) > 1 and own.units == reference.units:
        return reference.values
    return reference.mean[None]
