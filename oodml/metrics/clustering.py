"""How well clusters of the vectors agree with the classes: NMI, AMI, and F1 over pairs of images.

The vectors are divided by their lengths and clustered by k-means, with as many clusters as there
are classes among them. The starts are drawn, and move the scores more than any choice of library
does: a score is the mean over several seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oodml.errors import DataError, UnknownNameError
from oodml.metrics.lloyd import WAYS, kmeans
from oodml.metrics.rows import unit_rows
from oodml.metrics.structure import Groups, SetMetric, Vectors, spelling

Scores = Mapping[str, NDArray[np.float64]]
SEEDS = 3


def cluster_scores(
    vectors: Vectors, groups: Groups, *, seeds: int = SEEDS, way: str = "k-means++"
) -> Scores:
    """`nmi`, `ami` and `f1`, each (seeds,): one clustering for each of the seeds 0, 1, ...

    `vectors` (n, d) are divided by their lengths; a zero vector is a `DataError`. k is the number
    of classes in `groups` (n,); with one class, or one image a class, there is nothing to be found,
    and any clustering would score 1: a `DataError`.
    """
    rows = unit_rows(vectors)
    k = int(groups.max()) + 1
    if k in (1, len(rows)):
        raise DataError(
            f"Clusters tell nothing of {len(rows)} images in {k} classes; expected at least 2 "
            "classes, and one of them with 2 images."
        )
    found = [kmeans(rows, k, seed=seed, way=way) for seed in range(seeds)]
    return {
        name: np.array([score(groups, clusters) for clusters in found])
        for name, score in (("nmi", nmi), ("ami", ami), ("f1", pairwise_f1))
    }


# Scores of a clustering --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Which classes meet which clusters: the non-empty cells of their contingency table.

    `cells` (m,) images are of class `rows` (m,) and in cluster `columns` (m,); `classes` (r,) and
    `clusters` (c,) are the sums. All integers.
    """

    cells: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    classes: NDArray[np.int64]
    clusters: NDArray[np.int64]

    @property
    def total(self) -> int:
        return int(self.cells.sum())

    @property
    def same(self) -> bool:
        """Whether the classes are the clusters, under other names."""
        return len(self.cells) == len(self.classes) == len(self.clusters)


def _table_of(groups: NDArray[np.int64], clusters: NDArray[np.int64]) -> _Table:
    _, first, classes = np.unique(groups, return_inverse=True, return_counts=True)
    others, second, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    met, cells = np.unique(first * len(others) + second, return_counts=True)
    return _Table(cells, met // len(others), met % len(others), classes, sizes)


def nmi(groups: NDArray[np.int64], clusters: NDArray[np.int64]) -> float:
    """Normalised mutual information of two partitions (n,), 2 I / (H_groups + H_clusters).

    1 where they are the same under other names; 0 where either is one single class.
    Strehl and Ghosh, JMLR 2002, with the arithmetic mean of the entropies, as the field has it.

    >>> nmi(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0]))
    1.0
    """
    table = _table_of(groups, clusters)
    if table.same:
        return 1.0
    return _clip(_information(table) / _mean_entropy(table), low=0.0)


def ami(groups: NDArray[np.int64], clusters: NDArray[np.int64]) -> float:
    """Adjusted mutual information of two partitions (n,), (I - E) / ((H_g + H_c) / 2 - E).

    E is the expected I of partitions with the same sizes drawn at random: 0 is chance, and less is
    possible. 1 where they are the same under other names; else 0 where either is one single class
    or has every image alone. Vinh, Epps and Bailey, JMLR 2010, with the entropies' arithmetic mean.

    >>> round(ami(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])), 6)
    -0.5
    """
    table = _table_of(groups, clusters)
    if table.same:
        return 1.0
    if {len(table.classes), len(table.clusters)} & {1, table.total}:
        return 0.0  # all in one, or each alone: I is the same whoever is where
    expected = _expected_information(table)
    adjusted = (_information(table) - expected) / (_mean_entropy(table) - expected)
    return _clip(adjusted, low=-1.0)


def pairwise_f1(groups: NDArray[np.int64], clusters: NDArray[np.int64]) -> float:
    """F1 over pairs of images: of those in one cluster, which are of one class, and the reverse.

        2 TP / (pairs of one class + pairs in one cluster), TP = pairs of one class in one cluster,

    which is the harmonic mean of precision and recall, in exact integers. 1 where there is no pair
    on either side: every image is alone in both. As evaluated on Stanford Online Products, Song et
    al., CVPR 2016.

    >>> pairwise_f1(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1]))
    0.4
    """
    table = _table_of(groups, clusters)
    both, first, second = map(_pairs, (table.cells, table.classes, table.clusters))
    return 2 * both / (first + second) if first + second else 1.0


def _pairs(sizes: NDArray[np.int64]) -> int:
    return int((sizes * (sizes - 1) // 2).sum())


def _clip(value: float, *, low: float) -> float:
    """What rounding put outside, put back."""
    return min(max(float(value), low), 1.0)


def _information(table: _Table) -> float:
    """I = sum of n_ij / n ln(n n_ij / (a_i b_j)) over the cells, in nats."""
    chance = table.classes[table.rows].astype(np.float64) * table.clusters[table.columns]
    ratio = table.cells * float(table.total) / chance
    return float((table.cells * np.log(ratio)).sum()) / table.total


def _mean_entropy(table: _Table) -> float:
    def entropy(sizes: NDArray[np.int64]) -> float:
        shares = sizes / table.total
        return -float((shares * np.log(shares)).sum())

    return (entropy(table.classes) + entropy(table.clusters)) / 2


def _expected_information(table: _Table) -> float:
    """The mean I over all partitions of these sizes: cells are hypergeometric.

    Sizes repeat, so that what counts is how many different ones there are: of 11,316 classes
    and clusters some ten on either side. The weights of a cell's values sum to 1, which spares
    their constant, and its rounding.
    """
    from scipy.special import gammaln

    n = table.total
    firsts, how_many = np.unique(table.classes, return_counts=True)
    seconds, how_often = np.unique(table.clusters, return_counts=True)
    logs = gammaln(np.arange(n + 1) + 1.0)  # ln 0! to ln n!
    expected = 0.0
    for a, times in zip(firsts.tolist(), how_many.tolist(), strict=True):
        for b, often in zip(seconds.tolist(), how_often.tolist(), strict=True):
            low, high = max(0, a + b - n), min(a, b)
            values = np.arange(low, high + 1)
            chances = -(
                logs[low : high + 1]
                + logs[a - high : a - low + 1][::-1]
                + logs[b - high : b - low + 1][::-1]
                + logs[n - a - b + low : n - a - b + high + 1]
            )
            chances = np.exp(chances - chances.max())
            held = values > 0
            terms = values[held] * np.log(values[held] * (n / (a * b)))
            expected += times * often * float(chances[held] @ terms) / (n * float(chances.sum()))
    return expected


# Metrics -----------------------------------------------------------------------------------------

# Random starts can miss clusters however clear they are, and a rotation draws other starts; those
# of k-means++ find clear clusters, and so the same ones.
_LAWS = {
    "k-means++": frozenset(
        {"image-order", "class-names", "rotation", "row-scaling", "perfect-is-high"}
    ),
    "faiss": frozenset({"image-order", "class-names"}),
}


@cache
def observe_clusters(way: str, seeds: int) -> Callable[[Vectors, Groups], Scores]:
    """`cluster_scores` of these options: one object, so that the metrics share a clustering."""
    return partial(cluster_scores, seeds=seeds, way=way)


def nmi_metric(argument: str, *, way: str = "k-means++", seeds: int = SEEDS) -> SetMetric[Scores]:
    """`nmi[?way=faiss][&seeds=5]`: `nmi` of clusters and classes, from 0 to 1."""
    return _metric("nmi", 0.0, argument, way=way, seeds=seeds)


def ami_metric(argument: str, *, way: str = "k-means++", seeds: int = SEEDS) -> SetMetric[Scores]:
    """`ami[?way=faiss][&seeds=5]`: `ami` of clusters and classes, 0 by chance, 1 at most.

    Of all pairs of partitions of up to 6 images, the least is -0.54.
    """
    return _metric("ami", -1.0, argument, way=way, seeds=seeds)


def f1_metric(argument: str, *, way: str = "k-means++", seeds: int = SEEDS) -> SetMetric[Scores]:
    """`f1[?way=faiss][&seeds=5]`: `pairwise_f1` of clusters and classes, from 0 to 1."""
    return _metric("f1", 0.0, argument, way=way, seeds=seeds)


def _metric(key: str, low: float, argument: str, *, way: str, seeds: int) -> SetMetric[Scores]:
    name = spelling(
        key, argument, {"way": way, "seeds": seeds}, {"way": "k-means++", "seeds": SEEDS}
    )
    if way not in WAYS:
        raise UnknownNameError(f"{name!r}: way is {way!r}; expected one of {', '.join(WAYS)}.")
    if seeds < 1:
        raise UnknownNameError(f"{name!r}: seeds is {seeds}; expected at least 1.")
    return SetMetric(
        name,
        observe_clusters(way, seeds),
        lambda scores: scores[key],
        laws=_LAWS[way],
        low=low,
        high=1.0,
        higher_is_better=True,
    )


CLUSTERING_METRICS: dict[str, Callable[..., SetMetric[Any]]] = {
    "nmi": nmi_metric,
    "ami": ami_metric,
    "f1": f1_metric,
}
