"""Two cards of one model on the same queries, made one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from oodml.errors import RunError
from oodml.score.card import ScoreCard

BY_METRIC = ("sums", "chance", "others", "replicates")  # the fields whose keys are metrics
_SUBJECT = (
    *("sequence", "rank", "control", "swapped", "shots", "episode"),
    *("content_fingerprint", "features", "similarity", "metric_version"),
    *("classes", "excluded", "roles"),
)


def unite(card: ScoreCard, other: ScoreCard) -> ScoreCard:
    """`card` with the metrics of `other` that it lacks; what it says already stays bit for bit.

    Ties are known to a card with a metric of ranks only. Raises `RunError` where the two were not
    scored on the same queries.
    """
    differing = [name for name in _SUBJECT if getattr(card, name) != getattr(other, name)]
    if card.counts.tolist() != other.counts.tolist():
        differing.append("counts")
    if differing:
        raise RunError(
            f"Two score cards of {card.method!r}, rank {card.rank}, differ in "
            f"{', '.join(differing)}; metrics of the same queries only can be put together."
        )
    united: dict[str, Any] = {
        name: {**getattr(other, name), **getattr(card, name)} for name in BY_METRIC
    }
    tied = max(card.tied, other.tied)
    known = {name: getattr(card, name) or getattr(other, name) for name in ("search", "terms")}
    return replace(card, **united, **known, tied=tied)
