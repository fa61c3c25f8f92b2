"""Score cards that belong together: what they must share, and what makes a curve of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from oodml.errors import RunError, UnknownNameError
from oodml.score.card import ScoreCard

Run = tuple[int | None, int | None, bool]


def of_one_sequence(cards: Sequence[ScoreCard]) -> None:
    """Raise `RunError` where cards are not of one sequence of splits on the same images."""
    _agree("data set and sequence", {(card.dataset, card.sequence[:12]) for card in cards})


def together(cards: Sequence[ScoreCard], metric: str) -> tuple[list[ScoreCard], list[ScoreCard]]:
    """The cards of splits, and those of controls, each in one order, whatever order they came in.

    Raises where they cannot share a figure.
    """
    require_alike(cards)
    for part in {(card.sequence, card.rank, card.control) for card in cards}:
        same = [card for card in cards if (card.sequence, card.rank, card.control) == part]
        _agree(f"shift of {_part_text(*part[1:])}", {card.shift for card in same})
    _check_metric([card for card in cards if card.control is None], metric)
    controls = [card for card in cards if card.control is not None]
    if not all(metric in card.values for card in controls):  # they only go along
        cards = [card for card in cards if card.control is None]
    cards = sorted(cards, key=_card_key)
    keys = [_card_key(card) for card in cards]
    for first, second in pairwise(keys):
        if first == second:
            raise RunError(f"Two score cards are of the same run, {first}; give each of them once.")
    return [c for c in cards if c.control is None], [c for c in cards if c.control is not None]


def require_alike(cards: Sequence[ScoreCard]) -> None:
    """Raise `RunError` unless there are cards, of the same images scored in the same way."""
    if all(card.control is not None for card in cards):
        there = "only cards of controls" if cards else "no score cards to draw a curve of"
        raise RunError(f"There are {there}; run or score something first.")
    _agree("data set", {card.dataset for card in cards})
    _agree("images (content fingerprint)", {card.content_fingerprint[:12] for card in cards})
    _agree("metric version", {card.metric_version for card in cards})
    _agree("who is searched for (roles)", {card.roles for card in cards})


def require_one_excess(cards: Iterable[ScoreCard]) -> None:
    """Raise `RunError` where cards of one split were calibrated in different ways."""
    found: dict[int, set[float]] = {}
    for card in cards:
        if card.excess is not None and card.control is None:
            found.setdefault(card.rank, set()).add(card.excess)
    for rank, values in found.items():
        _agree(f"excess of rank {rank}", values)


def _part_text(rank: int, control: int | None) -> str:
    return f"rank {rank}" if control is None else f"control {control} of rank {rank}"


def _agree(what: str, found: set[Any]) -> None:
    if len(found) > 1:
        raise RunError(
            f"The cards differ in {what}: {sorted(found, key=str)}; curves are comparable under "
            "one only: draw them apart, from run stores of their own."
        )


def _check_metric(cards: Sequence[ScoreCard], metric: str) -> None:
    known = {name for card in cards for name in (*card.sums, *card.others)}
    if metric not in known:
        raise UnknownNameError(
            f"No score card has the metric {metric!r}; there are: {', '.join(sorted(known))}. "
            f"oodml run --metric '{metric}' adds it to finished runs."
        )
    for card in cards:
        if metric not in card.sums and metric not in card.others:
            raise RunError(
                f"The card of {card.method!r}, rank {card.rank}"
                f"{', the other way round,' if card.swapped else ''} lacks the metric {metric!r} "
                f"that others have; oodml run --metric '{metric}'"
                f"{' --both-ways' if card.swapped else ''} adds it to finished runs."
            )


def curve_key(card: ScoreCard) -> tuple[Any, ...]:
    """What must agree within a curve; a difference in any of it makes another one."""
    shots = -1 if card.shots is None else card.shots
    training = (card.selection or "", tuple(sorted(card.budget.items())))
    seen = (card.encoder, card.features, card.similarity)
    return (card.sequence, card.method, *seen, card.protocol, *training, shots)


def run_of(card: ScoreCard) -> Run:
    """Which of the runs of a curve a card is of: seed, episode, direction."""
    return (card.seed, card.episode, card.swapped)


def _card_key(card: ScoreCard) -> tuple[Any, ...]:
    control = -1 if card.control is None else card.control
    return (*curve_key(card), card.rank, *ordinal(run_of(card)), control)


def ordinal(run: Run) -> tuple[int, ...]:
    """A run as something that sorts."""
    return tuple(-1 if number is None else int(number) for number in run)


def gaps(cards: Sequence[ScoreCard]) -> list[str]:
    """Which ranks some runs of one curve lack, in words; empty where all of them are there.

    Every run, a seed and an episode in a direction, must be there at every rank.
    """
    present: dict[Run, set[int]] = {}
    for card in cards:
        present.setdefault(run_of(card), set()).add(card.rank)
    ways = {run[1:] for run in present}
    for seed in {run[0] for run in present}:  # each with every episode and direction
        for way in ways:
            present.setdefault((seed, *way), set())
    ranks = range(1, max(card.levels for card in cards) + 1)
    lacking: dict[tuple[int, ...], list[Run]] = {}
    for run in sorted(present, key=ordinal):
        if absent := tuple(rank for rank in ranks if rank not in present[run]):
            lacking.setdefault(absent, []).append(run)
    return [
        f"{_runs_text(runs, everything=len(runs) == len(present))} rank "
        + ", ".join(map(str, absent))
        for absent, runs in lacking.items()
    ]


def _runs_text(runs: Sequence[Run], *, everything: bool) -> str:
    if everything:
        return "no results at"
    return f"no results of {', '.join(map(_run_text, runs))} at"


def _run_text(run: Run) -> str:
    seed, episode, swapped = run
    words = [f"{what} {n}" for what, n in (("seed", seed), ("episode", episode)) if n is not None]
    return " ".join([*words, "the other way round"] if swapped else words or ["this way round"])
