"""Methods against each other: paired differences of AGS, the ranks they allow, and gains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from oodml.curve.build import area_of, resampled
from oodml.curve.cards import of_one_sequence
from oodml.curve.curves import REFERENCE, View, labels, sign_of
from oodml.curve.estimates import Estimate, estimate
from oodml.curve.multiple import Correction, adjusted
from oodml.curve.order import OrderChange, order_change
from oodml.curve.results import Results, gather
from oodml.curve.summaries import areas
from oodml.curve.views import span_of, view_results
from oodml.errors import RunError
from oodml.score.card import ScoreCard

Array = np.ndarray[Any, Any]
SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Difference:
    """AGS of `one` less that of `other`, on the same queries and resampled classes.

    `p` is two-sided; `adjusted` is `p` under the correction for all pairs that were compared. None
    where there is no interval, and where one of them was trained with a single seed: nothing is
    known of the luck of seeds then, and a test on classes alone calls equal methods different far
    too often (in 9 to 54 % of simulations). The interval then covers classes only.
    """

    one: str
    other: str
    ags: Estimate
    p: float | None
    adjusted: float | None

    @property
    def significant(self) -> bool:
        return self.adjusted is not None and self.adjusted < SIGNIFICANT

    def to_json(self) -> dict[str, Any]:
        names = {"one": self.one, "other": self.other, "p": self.p, "adjusted": self.adjusted}
        return {**names, **self.ags.to_json("difference"), "significant": self.significant}


@dataclass(frozen=True, slots=True)
class Place:
    """The ranks from `best` to `worst` that a method may have among all: 1 is the best AGS.

    [1 + significantly better ones, N - significantly worse ones]. Pairs that could not be compared
    narrow it nowhere.
    """

    method: str
    best: int
    worst: int

    def __str__(self) -> str:
        return str(self.best) if self.best == self.worst else f"{self.best}–{self.worst}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """All methods of one sequence against each other.

    `order` says whether the splits order the methods alike; None for a single split or method, and
    where not all were scored on the same queries.
    `left_out` are pairs scored on different queries, which have no paired difference.
    """

    metric: str
    correction: Correction
    differences: tuple[Difference, ...]
    places: tuple[Place, ...]
    order: OrderChange | None
    left_out: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "correction": self.correction,
            "differences": [pair.to_json() for pair in self.differences],
            "places": [asdict(place) for place in self.places],
            "order": self.order and asdict(self.order),
            "left_out": self.left_out,
        }


def compare_methods(
    cards: Sequence[ScoreCard],
    metric: str = "recall@1",
    *,
    view: View = "raw",
    correction: Correction = "holm",
) -> Comparison:
    """Every method against every other one by AGS, and the order of methods along the splits.

    The error of a difference is that of its replicates, which share their classes, and of the seeds
    of either method; p is of Student's t with Satterthwaite's degrees of freedom, since with few
    seeds the normal distribution finds differences that are not there. `minus-frozen` leaves the
    frozen encoder out and changes no difference. Raises `RunError` where a rank is missing or the
    shifts are unknown.
    """
    of_one_sequence(cards)
    return compare_results(view_results(cards, metric, view), view, correction)


def compare_results(
    results: Sequence[Results], view: View = "raw", correction: Correction = "holm"
) -> Comparison:
    """`compare_methods` on results of one sequence in a view."""
    for found in results:
        if not found.has_area:
            raise RunError(
                f"{found.cards[0].method!r} has no AGS to compare: there must be two splits or "
                "more, with shifts that grow."
            )
    metric = results[0].metric
    sign, span = sign_of(metric), span_of(metric, view)
    results = sorted(results, key=lambda found: -sign * area_of(found, span).value)
    names = labels([found.cards[0] for found in results])
    asked = [found.queries for found in results]
    pairs = [(i, j) for i, j in combinations(range(len(results)), 2) if asked[i] == asked[j]]
    differences = _differences(results, names, pairs, correction)
    return Comparison(
        metric=metric,
        correction=correction,
        differences=differences,
        places=_places(names, differences, sign),
        order=order_change(results, names, sign) if len({*asked}) == 1 else None,
        left_out=len(names) * (len(names) - 1) // 2 - len(pairs),
    )


def _differences(
    results: Sequence[Results],
    names: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    correction: Correction,
) -> tuple[Difference, ...]:
    found = [difference(results[i], results[j]) for i, j in pairs]
    tested = {
        at: entry.p
        for at, ((i, j), entry) in enumerate(zip(pairs, found, strict=True))
        if entry.p is not None and not (results[i].one_seed or results[j].one_seed)
    }
    corrected = dict(zip(tested, adjusted([*tested.values()], correction).tolist(), strict=True))
    return tuple(
        Difference(names[i], names[j], entry, tested.get(at), corrected.get(at))
        for at, ((i, j), entry) in enumerate(zip(pairs, found, strict=True))
    )


def difference(one: Results, other: Results) -> Estimate:
    """AGS of `one` less that of `other`; a seed of one is no partner of a seed of the other."""
    shift = one.shift
    mine, theirs = (areas(shift, found.values) for found in (one, other))
    drawn = [resampled(found) for found in (one, other)]
    replicates = None
    if drawn[0] is not None and drawn[1] is not None:
        replicates = areas(shift, drawn[0] - drawn[1])
    value = float(mine.mean() - theirs.mean())
    return estimate(value, replicates, one.union, mine, theirs)


def _places(
    names: Sequence[str], differences: Sequence[Difference], sign: int
) -> tuple[Place, ...]:
    better, worse = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for pair in differences:
        if pair.significant:
            ahead = sign * pair.ags.value > 0
            winner, loser = (pair.one, pair.other) if ahead else (pair.other, pair.one)
            worse[winner] += 1
            better[loser] += 1
    return tuple(Place(name, 1 + better[name], len(names) - worse[name]) for name in names)


def gains(
    cards: Sequence[ScoreCard],
    method: str,
    reference: str = REFERENCE,
    metric: str = "recall@1",
) -> tuple[Array, Array]:
    """Shift (K,) and what `method` scores above `reference` (K,) at each split.

    Means over seeds are subtracted, on the same queries; so what makes the test classes of a split
    hard, or its gallery small, cancels, and what training has changed remains.
    """
    of_one_sequence(cards)
    results = gather(cards, metric)
    ours = _one(results, method, encoder=None)
    theirs = _one(results, reference, encoder=ours.cards[0].encoder)
    queries = [{key[0:1] + key[3:] for key in found.queries} for found in (ours, theirs)]
    if queries[0] != queries[1]:
        raise RunError(
            f"{method!r} and {reference!r} were scored on different queries; a difference needs "
            "the same test images for both."
        )
    return ours.shift, ours.mean - theirs.mean


def _one(results: Sequence[Results], method: str, *, encoder: str | None) -> Results:
    """The results of one method, which must make one curve; of the given encoder, if any."""
    of_method = [found for found in results if found.cards[0].method == method]
    chosen = [found for found in of_method if encoder in (None, found.cards[0].encoder)]
    if len(chosen) != 1:
        with_encoder = f" with encoder {encoder!r}" if encoder else ""
        firsts = [found.cards[0] for found in results]
        there = sorted({(c.method, c.encoder, c.protocol, c.shots or 0) for c in firsts})
        raise RunError(
            f"Expected cards of one curve of {method!r}{with_encoder}, found {len(chosen)}; "
            f"there are (method, encoder, protocol, shots): {there}."
        )
    return chosen[0]
