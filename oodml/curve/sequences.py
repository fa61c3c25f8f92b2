"""Several sequences of one search: how much a curve depends on which of them was drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from oodml.curve.build import curve_of, resampled
from oodml.curve.cards import curve_key
from oodml.curve.curves import REFERENCE, Curve, View, labels, sign_of
from oodml.curve.estimates import Estimate, estimate
from oodml.curve.results import Results
from oodml.curve.summaries import areas
from oodml.curve.views import span_of, view_results
from oodml.errors import RunError
from oodml.score.card import ScoreCard


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """One method on J sequences: AGS of each, their mean, and what sets them apart.

    `ags` is the mean over sequences; its error has the choice of classes (the same draws for all),
    and s^2 / J between sequences, which the seeds within them are part of. `between` is that s, the
    standard deviation of AGS between sequences; `within` the part of it that the seeds of a
    sequence alone would make (None for one seed). `curves` are those of the sequences.
    """

    label: str
    metric: str
    curves: tuple[Curve, ...]
    ags: Estimate
    between: float
    within: float | None

    def to_json(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "metric": self.metric,
            "sequences": [curve.sequence for curve in self.curves],
            "each": [curve.ags for curve in self.curves],
            **self.ags.to_json("ags"),
            "between": self.between,
            "within": self.within,
        }


def across_sequences(
    cards: Sequence[ScoreCard], metric: str = "recall@1", *, view: View = "raw"
) -> list[Spread]:
    """What each method comes to over all sequences that the cards are of, as equals.

    The sequences must be of the same data and search, and every method must have run on all of
    them. The frozen encoder comes first, then the best AGS.
    """
    results = view_results(cards, metric, view)
    sequences = sorted({found.cards[0].sequence for found in results})
    searches = {(card.search, card.measure, card.levels) for card in cards}
    if len(sequences) < 2 or len(searches) > 1 or None in {card.search for card in cards}:
        raise RunError(
            f"There are {len(sequences)} sequences, of (search, measure, splits) "
            f"{sorted(searches, key=str)}; expected two or more of one known search: build some "
            "with other seeds (oodml splits build --seed), and run on them into one store."
        )
    methods: dict[tuple[Any, ...], list[Results]] = {}
    for found in results:
        methods.setdefault(curve_key(found.cards[0])[1:], []).append(found)
    for rows in methods.values():
        if len(rows) < len(sequences):
            raise RunError(
                f"{rows[0].cards[0].method!r} has results on {len(rows)} of {len(sequences)} "
                "sequences; run it on the others too."
            )
    names = labels([rows[0].cards[0] for rows in methods.values()])
    pairs = zip(names, methods.values(), strict=True)
    spreads = [_spread(name, rows, view) for name, rows in pairs]
    sign = sign_of(spreads[0].metric)
    return sorted(spreads, key=lambda s: (s.curves[0].method != REFERENCE, -sign * s.ags.value))


def _spread(label: str, rows: Sequence[Results], view: View) -> Spread:
    for row in rows:
        if not row.has_area:
            raise RunError(f"{label!r} has no AGS on sequence {row.cards[0].sequence[:12]}.")
    units = [areas(row.shift, row.values) for row in rows]
    each = np.array([values.mean() for values in units])
    drawn = [resampled(row) for row in rows]
    replicates = None
    if all(found is not None for found in drawn):
        pairs = zip(rows, drawn, strict=True)
        replicates = np.mean([areas(r.shift, d) for r, d in pairs if d is not None], axis=0)
    union = len(frozenset[str]().union(*(names for row in rows for names in row.classes)))
    span = span_of(rows[0].metric, view)
    within = [float(np.var(v, ddof=1)) / len(v) for v in units if len(v) > 1]
    return Spread(
        label=label,
        metric=rows[0].metric,
        curves=tuple(curve_of(row, view) for row in rows),
        ags=estimate(float(each.mean()), replicates, union, each, span=span),
        between=float(each.std(ddof=1)),
        within=sqrt(float(np.mean(within))) if within else None,
    )
