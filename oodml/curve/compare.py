"""Two curves against each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from oodml.curve.curves import REFERENCE
from oodml.curve.points import curve_key, points_of, together
from oodml.errors import RunError
from oodml.score.card import ScoreCard

Array = np.ndarray[Any, Any]


def gains(
    cards: Sequence[ScoreCard],
    method: str,
    reference: str = REFERENCE,
    metric: str = "recall@1",
) -> tuple[Array, Array]:
    """Shift (K,) and what `method` scores above `reference` (K,) at each split that both have.

    Means over seeds are subtracted, on the same queries; so what makes the test classes of a split
    hard, or its gallery small, cancels, and what training has changed remains.
    """
    chosen, _ = together(cards, metric)
    ours = _one_curve(chosen, method, encoder=None)
    theirs = _one_curve(chosen, reference, encoder=ours[0].encoder)
    _check_queries(ours, theirs)
    above = {point.rank: point for point in points_of(ours, metric, None)}
    below = {point.rank: point.mean for point in points_of(theirs, metric, None)}
    ranks = [rank for rank in above if rank in below]
    x = np.array([above[rank].shift for rank in ranks])
    return x, np.array([above[rank].mean - below[rank] for rank in ranks])


def _one_curve(cards: Sequence[ScoreCard], method: str, *, encoder: str | None) -> list[ScoreCard]:
    """The cards of one method, which must make one curve; of the given encoder, if any."""
    found = [c for c in cards if c.method == method and encoder in (None, c.encoder)]
    curves = {curve_key(card) for card in found}
    if len(curves) != 1:
        with_encoder = f" with encoder {encoder!r}" if encoder else ""
        there = sorted({(c.method, c.encoder, c.protocol, c.shots or 0) for c in cards})
        raise RunError(
            f"Expected cards of one curve of {method!r}{with_encoder}, found {len(curves)}; "
            f"there are (method, encoder, protocol, shots): {there}."
        )
    return found


def _check_queries(ours: Sequence[ScoreCard], theirs: Sequence[ScoreCard]) -> None:
    queries = {card.rank: (card.classes, card.counts.tolist()) for card in theirs}
    for card in ours:
        if card.rank in queries and queries[card.rank] != (card.classes, card.counts.tolist()):
            raise RunError(
                f"Rank {card.rank}: {card.method!r} and {theirs[0].method!r} were scored on "
                "different queries; a difference needs the same test images for both."
            )
