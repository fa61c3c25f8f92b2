"""Retrieval metrics as functions of `Ranks`, each with its expectation under random order."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from oodml.errors import UnknownNameError
from oodml.metrics.ranks import Ranks
from oodml.metrics.subgallery import chance_among, hits_among

Values = NDArray[np.float64]
Whole = NDArray[np.int64]
Cut = Callable[[Whole, Whole], Whole]
_WHOLE = re.compile(r"[1-9][0-9]{0,17}")
DEEPEST = 64  # of recall@k|m, whose cost grows with k^3


def _all(_: Whole, others: Whole) -> Whole:
    return others


def _best(positives: Whole, _: Whole) -> Whole:
    return np.ones_like(positives)


@dataclass(frozen=True, slots=True)
class RankMetric:
    """A score of a ranking: the mean of `per_query` (q,) over queries.

    `chance_per_query` (q,) is what each query is expected to score when its gallery is in random
    order. `laws` names the laws that hold, which the test suite checks; what every metric owes (no
    effect of the order of images or of the names of labels) is not repeated there. `reach(R, N)`
    (q,) is the largest rank that matters of queries with R positives among N others, beside that of
    the best positive; ranks beyond need not be counted to the end. `depth` is that of
    `Ranks.classes_ahead`, for metrics that need it.
    """

    name: str
    per_query: Callable[[Ranks], Values]
    chance_per_query: Callable[[Ranks], Values]
    laws: frozenset[str]
    low: float = 0.0
    high: float = 1.0
    higher_is_better: bool = True
    reach: Cut = _all
    depth: int = 0
    decomposable: ClassVar[bool] = True

    def chance(self, ranks: Ranks) -> float:
        """The score expected of a random order."""
        return float(self.chance_per_query(ranks).mean())


_RANKING = frozenset({"rotation", "row-scaling", "all-equal-is-low"})
_RANKING_TO_ONE = _RANKING | {"perfect-is-high"}


# Whether and where the first positive is ----------------------------------------------------------


def recall_at(argument: str) -> RankMetric:
    """recall@k, the field's: 1 where the best positive is among the k nearest others, else 0.

    Chance, with R positives among N others: 1 - C(N - R, k) / C(N, k).
    """
    left, bar, right = argument.partition("|")
    if bar:
        return _recall_among(left, right)
    k = _whole("recall", argument, "k")

    def chance(positives: int, others: int) -> float:
        left = others - np.arange(min(k, others))
        return 1 - float(np.prod(np.clip(1 - positives / left, 0, None)))

    return RankMetric(
        f"recall@{k}",
        lambda ranks: (_first(ranks) <= k).astype(np.float64),
        lambda ranks: by_sizes(ranks, chance),
        laws=_RANKING_TO_ONE | {"grows-with-k"},
        reach=_best,
    )


def _recall_among(k_text: str, m_text: str) -> RankMetric:
    """recall@k|m: recall@k expected in a gallery of m classes, the query's and m - 1 random others.

    Makes galleries of different size comparable. Exact: a subset decides only through how many of
    the classes that have images ahead of the best positive it holds, and how many images
    (`oodml.metrics.subgallery`).
    """
    k, m = _whole("recall", k_text, "k|m"), _whole("recall", m_text, "k|m")
    if k > DEEPEST:
        raise UnknownNameError(f"recall@{k}|{m} asks for k = {k}; expected k up to {DEEPEST}.")
    return RankMetric(
        f"recall@{k}|{m}",
        lambda ranks: hits_among(ranks, k, m),
        lambda ranks: chance_among(ranks, k, m),
        laws=_RANKING_TO_ONE | {"falls-with-m", "grows-with-k", "whole-gallery"},
        reach=_best,
        depth=k,
    )


def mrr(argument: str) -> RankMetric:
    """mrr, the mean reciprocal rank of the best positive: 1 / rank_1.

    Chance: sum over r of C(N - r, R - 1) / C(N, R) / r.
    """
    _no_argument("mrr", argument)

    def chance(positives: int, others: int) -> float:
        rank = np.arange(1, others - positives + 2)
        # P(best rank > r) = P(best rank > r - 1) (N - R - r + 1) / (N - r + 1)
        missed = np.cumprod((others - positives - rank + 1) / (others - rank + 1))
        first = np.concatenate([[1.0], missed[:-1]]) - missed
        return float((first / rank).sum())

    return RankMetric(
        "mrr",
        lambda ranks: 1 / _first(ranks),
        lambda ranks: by_sizes(ranks, chance),
        laws=_RANKING_TO_ONE - {"all-equal-is-low"} | {"all-equal-is-last"},
        reach=_best,
    )


def _first(ranks: Ranks) -> NDArray[np.int64]:
    return ranks.ranks[ranks.starts[:-1]]


# How many positives are near ----------------------------------------------------------------------


def precision_at(argument: str) -> RankMetric:
    """precision@k: the share of positives among the k nearest others.

    At most R / k, so that a perfect ranking need not score 1; places beyond the gallery count as
    misses. Chance: R min(k, N) / (N k).
    """
    k = _whole("precision", argument, "k")
    return RankMetric(
        f"precision@{k}",
        lambda ranks: _within(ranks, np.full(len(ranks.positives), k)) / k,
        lambda ranks: by_sizes(ranks, lambda r, n: r / n * min(k, n) / k),
        laws=_RANKING | {"perfect-is-ideal"},
        reach=lambda positives, _: np.full_like(positives, k),
    )


def r_precision(argument: str) -> RankMetric:
    """r-precision: the share of positives among the R nearest others; R, the query's positives.

    Chance: R / N. Manning, Raghavan, Schuetze: "Introduction to Information Retrieval", 2008, 8.4.
    """
    _no_argument("r-precision", argument)
    return RankMetric(
        "r-precision",
        lambda ranks: _within(ranks, ranks.positives) / ranks.positives,
        lambda ranks: by_sizes(ranks, lambda r, n: r / n),
        laws=_RANKING_TO_ONE,
        reach=lambda positives, _: positives,
    )


def _within(ranks: Ranks, cutoff: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many positives of each query have a rank up to its cutoff, (q,)."""
    near = ranks.ranks <= np.repeat(cutoff, ranks.positives)
    return np.asarray(np.add.reduceat(near, ranks.starts[:-1], dtype=np.int64))


# Average precision --------------------------------------------------------------------------------


def map_at(argument: str) -> RankMetric:
    """map, map@k and map@r: the mean average precision.

        (1 / D) sum over the positives j = 1..R with rank_j <= K of j / rank_j

    with cutoff K and divisor D: `map` has K = N, D = R; `map@k` has K = k, D = min(k, R); `map@r`
    has K = D = R (Musgrave, Belongie, Lim: "A Metric Learning Reality Check", ECCV 2020).
    Chance: (1 / D) (R / N) (H + (R - 1) / (N - 1) (K - H)), with H = 1 + 1/2 + ... + 1/K and K at
    most N.
    """
    if argument == "r":
        return _average_precision("map@r", lambda r, _: r, lambda r: r)
    if argument == "":
        found = _average_precision("map", lambda _, n: n, lambda r: r)
        # Some precision is left at the very end of the list.
        laws = found.laws - {"all-equal-is-low"} | {"all-equal-is-last"}
        return replace(found, laws=laws)
    k = _whole("map", argument, "k or map@r")
    return _average_precision(f"map@{k}", lambda r, _: 0 * r + k, lambda r: np.minimum(k, r))


def official_map_at(argument: str) -> RankMetric:
    """official-map@c and official-map@1000: as the code published with ooDML computes them.

    Average precision with cutoff K = R + 1, the size of the class (`c`), or a number, divided by
    R + 1: the query, which is no positive, is counted in the size of its class, so that a perfect
    ranking scores R / (R + 1). For comparison with published numbers only.
    """
    if argument == "c":
        found = _average_precision("official-map@c", lambda r, _: r + 1, lambda r: r + 1)
    else:
        k = _whole("official-map", argument, "k or official-map@c")
        name = f"official-map@{k}"
        found = _average_precision(name, lambda r, _: 0 * r + k, lambda r: r + 1)
    laws = found.laws - {"perfect-is-high"} | {"perfect-is-ideal"}
    return replace(found, laws=laws)


def _average_precision(
    name: str, cut: Cut, divide: Callable[[NDArray[np.int64]], NDArray[np.int64]]
) -> RankMetric:
    """Average precision with the cutoff `cut(R, N)` and the divisor `divide(R)`."""

    def per_query(ranks: Ranks) -> Values:
        sizes, starts = ranks.positives, ranks.starts[:-1]
        place = 1 + np.arange(len(ranks.ranks)) - np.repeat(starts, sizes)
        near = ranks.ranks <= np.repeat(cut(sizes, ranks.gallery), sizes)
        total = np.add.reduceat(np.where(near, place / ranks.ranks, 0.0), starts)
        return np.asarray(total / divide(sizes))

    def chance(positives: int, others: int) -> float:
        r, n = np.array(positives), np.array(others)
        last = min(int(cut(r, n)), others)
        harmonic = float((1 / np.arange(1, last + 1)).sum())
        also_hit = (positives - 1) / max(others - 1, 1)  # that one place ahead is a hit as well
        expected = positives / others * (harmonic + also_hit * (last - harmonic))
        return expected / float(divide(r))

    return RankMetric(
        name,
        per_query,
        lambda ranks: by_sizes(ranks, chance),
        laws=_RANKING_TO_ONE,
        reach=cut,
    )


# Common to all ------------------------------------------------------------------------------------


def by_sizes(ranks: Ranks, one: Callable[[int, int], float]) -> Values:
    """What depends only on a query's numbers of positives and of others, computed once for each."""
    most = int(ranks.gallery.max()) + 1
    keys, where = np.unique(ranks.positives * most + ranks.gallery, return_inverse=True)
    values = [one(*divmod(key, most)) for key in keys.tolist()]
    return np.array(values)[where]


def _whole(metric: str, text: str, form: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise UnknownNameError(
            f"'{metric}{'@' * bool(text)}{text}' is no metric; expected {metric}@{form} with a "
            f"whole k of at least 1, such as {metric}@4."
        )
    return int(text)


def _no_argument(metric: str, argument: str) -> None:
    if argument:
        raise UnknownNameError(f"'{metric}@{argument}' is no metric; expected {metric}.")
