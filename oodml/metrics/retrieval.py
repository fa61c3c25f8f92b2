"""Retrieval metrics as functions of `Ranks`, each with its expectation under random order."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oodml.errors import UnknownNameError
from oodml.metrics.ranks import Ranks, rank_positives
from oodml.registry import Name, Registry

METRIC_VERSION = 1  # part of every run's identity: raise it when any value could change
DEFAULT_METRICS = ("recall@1", "recall@2", "recall@4", "recall@8", "map@r")


@dataclass(frozen=True, slots=True)
class Metric:
    """A score of a ranking.

    `per_query` gives the value of each query (q,), and the metric is their mean; `chance` gives
    what is expected when each query's gallery is in random order. `laws` names the laws that hold,
    which the test suite checks; what every metric owes (no effect of the order of images or of the
    names of labels) is not repeated there.
    """

    name: str
    per_query: Callable[[Ranks], NDArray[np.float64]]
    chance: Callable[[Ranks], float]
    laws: frozenset[str]
    low: float = 0.0
    high: float = 1.0
    higher_is_better: bool = True
    decomposable: bool = True


_RANKING_LAWS = frozenset({"rotation", "row-scaling", "perfect-is-high", "all-equal-is-low"})


def recall_at(argument: str) -> Metric:
    """recall@k, the field's: 1 where the best positive is among the k nearest others, else 0.

    Chance, with R positives among N others: the mean of 1 - C(N - R, k) / C(N, k).
    """
    if not re.fullmatch(r"[1-9][0-9]{0,17}", argument):
        raise UnknownNameError(
            f"'recall@{argument}' is no metric; "
            "expected recall@k with a whole k of at least 1, such as recall@4."
        )
    k = int(argument)

    def per_query(ranks: Ranks) -> NDArray[np.float64]:
        return (ranks.ranks[ranks.starts[:-1]] <= k).astype(np.float64)

    def chance(ranks: Ranks) -> float:
        def one(positives: int) -> float:
            left = ranks.gallery - np.arange(min(k, ranks.gallery))
            return 1 - float(np.prod(np.clip(1 - positives / left, 0, None)))

        return _mean_over_sizes(ranks, one)

    return Metric(f"recall@{k}", per_query, chance, laws=_RANKING_LAWS | {"grows-with-k"})


def map_at(argument: str) -> Metric:
    """map@r, the mean average precision at R, where R is the number of a query's positives:

        (1 / R) sum over the positives j = 1..R with rank_j <= R of j / rank_j.

    Chance: (1 / R) sum over i = 1..R of (R / N) (1 + (i - 1)(R - 1) / (N - 1)) / i, for N others.
    Musgrave, Belongie, Lim: "A Metric Learning Reality Check", ECCV 2020.
    """
    if argument != "r":
        raise UnknownNameError(f"'map@{argument}' is no metric; expected map@r.")
    return Metric("map@r", _average_precision_at_r, _chance_of_map_at_r, laws=_RANKING_LAWS)


def _average_precision_at_r(ranks: Ranks) -> NDArray[np.float64]:
    sizes, starts = ranks.positives, ranks.starts[:-1]
    place = 1 + np.arange(len(ranks.ranks)) - np.repeat(starts, sizes)
    precision = np.where(ranks.ranks <= np.repeat(sizes, sizes), place / ranks.ranks, 0.0)
    average: NDArray[np.float64] = np.add.reduceat(precision, starts) / sizes
    return average


def _chance_of_map_at_r(ranks: Ranks) -> float:
    total = ranks.gallery

    def one(positives: int) -> float:
        i = np.arange(1, positives + 1)
        also_hit = (i - 1) * (positives - 1) / max(total - 1, 1)  # i - 1 places ahead, hits as well
        return float(((1 + also_hit) / i).sum()) / total

    return _mean_over_sizes(ranks, one)


def _mean_over_sizes(ranks: Ranks, one: Callable[[int], float]) -> float:
    """The mean over queries of what depends only on a query's number of positives."""
    sizes, counts = np.unique(ranks.positives, return_counts=True)
    return float(np.average([one(int(size)) for size in sizes], weights=counts))


METRICS: Registry[Callable[[str], Metric]] = Registry(
    "metrics",
    {
        "recall": recall_at,
        "map": map_at,
    },
)


def find_metric(name: str) -> Metric:
    """The metric of a name: `recall@k` for any k of at least 1, `map@r`.

    >>> find_metric("recall@4").name
    'recall@4'
    """
    parsed = Name.parse(name)
    parsed.resolve({})
    metric = METRICS[parsed.key](parsed.argument)
    if metric.name != name:  # one metric, one spelling: names are keys of tables and files
        raise UnknownNameError(f"{name!r} is no metric; write {metric.name!r}.")
    return metric


def evaluate(
    vectors: ArrayLike,
    labels: ArrayLike,
    metrics: Sequence[str] = ("recall@1", "map@r"),
    **options: Any,
) -> dict[str, float]:
    """The metrics of `vectors` (n, d) with `labels` (n,), each image a query among all the others.

    `options` are those of `rank_positives`. Images without another of their class are no queries.

    >>> evaluate([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], ["a", "a", "b", "b"])
    {'recall@1': 1.0, 'map@r': 1.0}
    """
    found = [find_metric(name) for name in ([metrics] if isinstance(metrics, str) else metrics)]
    ranks = rank_positives(vectors, labels, **options)
    return {metric.name: float(metric.per_query(ranks).mean()) for metric in found}


def sum_by_class(
    values: NDArray[np.float64], ranks: Ranks
) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.int64]]:
    """The sorted classes with queries (c,), the sum of `values` (q,) over each, its queries (c,).

    A decomposable metric is `sums.sum() / counts.sum()`, and resampling classes needs nothing else.
    """
    if values.shape != ranks.labels.shape:
        raise ValueError(
            f"values have shape {values.shape}; expected {ranks.labels.shape}, one a query."
        )
    classes, counts = np.unique(ranks.labels, return_counts=True)
    # Queries are sorted by label; the exactly rounded sum is the same in any order of images.
    bounds = [0, *np.cumsum(counts).tolist()]
    sums = np.array([math.fsum(values[start:stop]) for start, stop in pairwise(bounds)])
    return classes, sums, counts
