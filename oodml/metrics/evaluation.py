"""Vectors and labels in, scores out: every metric from one pass over the ranks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oodml.metrics.pool import check_images, read_mask
from oodml.metrics.ranks import Settings, rank_stream
from oodml.metrics.registry import by_kind
from oodml.metrics.retrieval import RankMetric
from oodml.metrics.sets import score_set

Values = NDArray[np.float64]
MASKS = ("queries", "gallery")


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """The scores of one set of vectors.

    Of the metrics that are means over queries, `per_query[name]` (q,) are the values, for queries
    with the given `labels` (q,) in rows `queries` (q,) of the input. Of those that are not,
    `others[name]` (s,) are the values under s seeds (one where nothing is drawn). `chance[name]` is
    what a random order is expected to score. `excluded` queries had no other image of their class;
    `tied` ones had a negative as near as their best positive.
    """

    per_query: Mapping[str, Values]
    others: Mapping[str, Values]
    chance: Mapping[str, float]
    labels: NDArray[Any]
    queries: NDArray[np.int64]
    excluded: int
    tied: int = 0

    @property
    def values(self) -> dict[str, float]:
        """Every metric: the mean over queries, or over seeds."""
        return {name: float(row.mean()) for name, row in {**self.per_query, **self.others}.items()}

    @property
    def spread(self) -> dict[str, float]:
        """The standard deviation over seeds of the metrics that draw something."""
        return {name: float(row.std(ddof=1)) for name, row in self.others.items() if len(row) > 1}


def evaluate(
    vectors: ArrayLike,
    labels: ArrayLike,
    metrics: str | Sequence[str] = ("recall@1", "map@r"),
    **options: Any,
) -> dict[str, float]:
    """The metrics of `vectors` (n, d) with `labels` (n,), each image a query among all the others.

    `options` are those of `rank_positives`. Images without another of their class are no queries.

    >>> evaluate([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], ["a", "a", "b", "b"])
    {'recall@1': 1.0, 'map@r': 1.0}
    """
    return score_vectors(vectors, labels, metrics, **options).values


def score_vectors(
    vectors: ArrayLike,
    labels: ArrayLike,
    metrics: str | Sequence[str] = ("recall@1", "map@r"),
    **options: Any,
) -> Scores:
    """`evaluate` with all that is behind the numbers.

    With masks of `queries` and `gallery`, metrics of a whole set are of the images in either.
    """
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    ranked, sets = by_kind(names)
    masks: dict[str, Any] = {key: options[key] for key in MASKS if key in options}
    Settings(**{key: value for key, value in options.items() if key not in masks})
    others = score_set(*_taking_part(vectors, labels, masks), sets) if sets else {}
    if ranked:
        return replace(_score_queries(vectors, labels, ranked, options), others=others)
    tags = check_images(vectors, labels)[1]
    asks, found = (read_mask(masks.get(key), len(tags)) for key in MASKS)
    rows = queries_of(tags, asks, found)
    excluded = int(asks.sum()) - len(rows)
    return Scores({}, others, {}, labels=tags[rows], queries=rows, excluded=excluded)


def _taking_part(
    vectors: ArrayLike, labels: ArrayLike, masks: Mapping[str, ArrayLike]
) -> tuple[ArrayLike, ArrayLike]:
    """Vectors and labels of the images that are queries or in the gallery."""
    if not masks:
        return vectors, labels
    given, tags = check_images(vectors, labels)
    asks, found = (read_mask(masks.get(key), len(tags)) for key in MASKS)
    return given[asks | found], tags[asks | found]


def queries_of(
    labels: NDArray[Any], asks: NDArray[np.bool_], found: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """The rows that `asks` and have another of their class among those that are `found`.

    In the order of `Ranks.queries`: those that are found too come first, each part sorted by label,
    then by row.
    """
    names, where = np.unique(labels, return_inverse=True)
    others = np.bincount(where[found], minlength=len(names))[where] - found
    rows = np.flatnonzero(asks & (others > 0))
    return rows[np.lexsort((rows, where[rows], ~found[rows]))]


def _score_queries(
    vectors: ArrayLike,
    labels: ArrayLike,
    metrics: Mapping[str, RankMetric],
    options: Mapping[str, Any],
) -> Scores:
    """The metrics of ranks, block by block, so that nobody holds all ranks at once."""
    depth = max(metric.depth for metric in metrics.values())

    def reach(positives: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
        every = [metric.reach(positives, others) for metric in metrics.values()]
        return np.asarray(np.max(every, axis=0))

    values: dict[str, list[Values]] = {name: [] for name in metrics}
    chance: dict[str, list[Values]] = {name: [] for name in metrics}
    blocks = []
    for ranks in rank_stream(vectors, labels, depth=depth, reach=reach, **options):
        for name, metric in metrics.items():
            values[name].append(metric.per_query(ranks))
            chance[name].append(metric.chance_per_query(ranks))
        blocks.append((ranks.labels, ranks.queries, int(ranks.tied.sum()), ranks.excluded))
    tags, queries, tied, excluded = zip(*blocks, strict=True)
    return Scores(
        per_query={name: np.concatenate(rows) for name, rows in values.items()},
        others={},
        chance={name: float(np.concatenate(rows).mean()) for name, rows in chance.items()},
        labels=np.concatenate(tags),
        queries=np.concatenate(queries),
        excluded=excluded[0],
        tied=sum(tied),
    )


def sum_by_class(
    values: Values, labels: NDArray[Any]
) -> tuple[NDArray[Any], Values, NDArray[np.int64]]:
    """The sorted classes with queries (c,), the sum of `values` (q,) over each, its queries (c,).

    A decomposable metric is `sums.sum() / counts.sum()`, and resampling classes needs nothing else.
    """
    if values.shape != labels.shape:
        raise ValueError(f"values have shape {values.shape}; expected {labels.shape}, one a query.")
    classes, where, counts = np.unique(labels, return_inverse=True, return_counts=True)
    ordered = values[np.argsort(where, kind="stable")]
    # The exactly rounded sum is the same in any order of images.
    bounds = [0, *np.cumsum(counts).tolist()]
    sums = np.array([math.fsum(ordered[start:stop]) for start, stop in pairwise(bounds)])
    return classes, sums, counts
