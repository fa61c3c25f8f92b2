"""What a curve shows: the metric, what it is above the frozen encoder's, or equal galleries."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import inf

from oodml.curve.cards import require_alike
from oodml.curve.curves import REFERENCE, View
from oodml.curve.results import Results, gather, minus
from oodml.errors import RunError
from oodml.metrics import find_metric
from oodml.score.card import ScoreCard

Span = tuple[float, float]


def metric_of(cards: Sequence[ScoreCard], metric: str, view: View) -> str:
    """The metric that a view of `metric` shows.

    With equal galleries, `recall@1` is `recall@1|m`: what is expected in a gallery of m classes, m
    being the largest that all cards have. Raises `RunError` where none has it.
    """
    if view != "equal-galleries" or "|" in metric:
        return metric
    ours = re.compile(rf"{re.escape(metric)}\|(\d+)")
    sizes = [
        {int(found[1]) for name in card.sums if (found := ours.fullmatch(name))} for card in cards
    ]
    if common := set.intersection(*sizes) if sizes else set():
        return f"{metric}|{max(common)}"
    if not metric.startswith("recall@"):
        raise RunError(
            f"Only recall@k has a value for galleries of equal size, not {metric!r}; give "
            "--metric recall@1."
        )
    fewest = min((len(card.classes) for card in cards), default=1)
    raise RunError(
        f"The cards do not say {metric} in galleries of equal size; oodml run --metric "
        f"'{metric}|{fewest}' adds it ({fewest} is the smallest number of test classes)."
    )


def view_results(
    cards: Sequence[ScoreCard], metric: str, view: View = "raw", *, partial: bool = False
) -> list[Results]:
    """The results of each curve in a view: what curves and comparisons are made of.

    Raises `RunError` as `gather` does, and where a view lacks what it needs.
    """
    require_alike(cards)
    return _seen(gather(cards, metric_of(cards, metric, view), partial=partial), view)


def _seen(results: Sequence[Results], view: View) -> list[Results]:
    """The results of a view; `minus-frozen` leaves the frozen encoder itself out.

    What is subtracted is the frozen encoder on the same vectors, with the same similarity and
    shots.
    """
    if view != "minus-frozen":
        return list(results)
    frozen = {_alike(found): found for found in results if found.cards[0].method == REFERENCE}
    trained = [found for found in results if found.cards[0].method != REFERENCE]
    if not trained:
        raise RunError("Only the frozen encoder is here; there is nothing to compare with it.")
    for found in trained:
        if _alike(found) not in frozen:
            raise RunError(
                f"There are no results of the frozen encoder {found.cards[0].encoder!r} to compare "
                f"{found.cards[0].method!r} with; add them with oodml run --method {REFERENCE}."
            )
    return [minus(found, frozen[_alike(found)]) for found in trained]


def _alike(results: Results) -> tuple[object, ...]:
    card = results.cards[0]
    return (card.sequence, card.encoder, card.features, card.similarity, card.shots)


def span_of(metric: str, view: View) -> Span:
    """The least and the largest number that a view of a metric can give."""
    found = find_metric(metric)
    if view != "minus-frozen":
        return found.low, found.high
    width = found.high - found.low
    return (-width, width) if width < inf else (-inf, inf)
