"""recall@k|m: what recall@k is expected to be in a gallery of m classes.

A query keeps its own class; the m - 1 others are drawn from the M other classes of the gallery. Its
best positive stays among the k nearest when the drawn classes have at most k - 1 images ahead of
it. With D classes that have any, of which D_j have exactly j, this has the probability

    sum over a of W_a C(M - D, m - 1 - a) / C(M, m - 1),

where W_a counts the ways of choosing a classes with at most k - 1 images ahead in all:
W_a = sum over (a_1, ..., a_(k-1)), sum a_j = a, sum j a_j <= k - 1, of prod C(D_j, a_j).
For k = 1 only W_0 = 1 is left. No subset needs to be drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oodml.errors import DataError
from oodml.metrics.ranks import Ranks

Values = NDArray[np.float64]
_CELLS = 1 << 21  # of the tables that are filled at a time
_DRAWS, _FEWER_DRAWS, _MANY_CLASSES = 1000, 200, 2000


def hits_among(ranks: Ranks, k: int, m: int) -> Values:
    """The probability (q,) that each query's best positive is among the k nearest."""
    others = _other_classes(ranks, k, m)
    if ranks.classes_ahead is None or ranks.classes_ahead.shape[1] < k:
        raise ValueError(f"recall@{k}|{m} needs ranks with classes_ahead; ask for depth={k}.")
    spreads, where = np.unique(ranks.classes_ahead[:, :k], axis=0, return_inverse=True)
    step = max(1, _CELLS // k**2)
    blocks = [spreads[low : low + step] for low in range(0, len(spreads), step)]
    found = np.concatenate([_hits(block, others, k, m) for block in blocks])
    return np.asarray(found[where.ravel()])


def _hits(spreads: NDArray[np.int32], others: int, k: int, m: int) -> Values:
    """The probability (u,) for each way (u, k) in which images ahead spread over classes."""
    ways = _ways(spreads[:, 1:], k)
    chosen = np.arange(k)
    rest = _log_choose(others - spreads[:, :1], m - 1 - chosen) - _log_choose(others, m - 1)
    with np.errstate(divide="ignore"):
        return np.asarray(np.clip(np.exp(np.log(ways) + rest).sum(axis=1), 0, 1))


def _ways(exactly: NDArray[np.int32], k: int) -> Values:
    """W_a (u, k): ways to choose a classes with at most k - 1 images, of `exactly` (u, k - 1)."""
    ways = np.zeros((len(exactly), k, k))  # by images, by classes
    ways[:, 0, 0] = 1
    for images in range(1, k):
        before, available = ways.copy(), exactly[:, images - 1].astype(np.float64)
        choose = np.ones(len(exactly))
        for taken in range(1, (k - 1) // images + 1):
            choose = choose * np.maximum(available - taken + 1, 0) / taken
            moved = before[:, : k - images * taken, : k - taken] * choose[:, None, None]
            ways[:, images * taken :, taken:] += moved
    return np.asarray(ways.sum(axis=1))


def _log_choose(n: ArrayLike, k: ArrayLike) -> Values:
    """log C(n, k), -inf where there is no way."""
    from scipy.special import gammaln

    n, k = np.broadcast_arrays(np.asarray(n, float), np.asarray(k, float))
    possible = (k >= 0) & (k <= n)
    safe_n, safe_k = np.where(possible, n, 0), np.where(possible, k, 0)
    logs = gammaln(safe_n + 1) - gammaln(safe_k + 1) - gammaln(safe_n - safe_k + 1)
    return np.where(possible, logs, -np.inf)


def _other_classes(ranks: Ranks, k: int, m: int) -> int:
    """How many classes of the gallery are not the query's own."""
    there = int((ranks.class_sizes > 0).sum())
    if m > there:
        raise DataError(
            f"recall@{k}|{m} asks for a gallery of {m} classes, but there are only {there}; "
            f"expected at most {there}."
        )
    return there - 1


def chance_among(ranks: Ranks, k: int, m: int) -> Values:
    """recall@k|m (q,) expected of a random order.

    The mean of 1 - C(N - R, k) / C(N, k) over galleries of N others. Exact where all classes are of
    one size, else over seeded subsets of classes.
    """
    _other_classes(ranks, k, m)
    sizes = ranks.class_sizes[ranks.class_sizes > 0]
    own = ranks.positives + sizes.sum() - ranks.gallery  # with the query itself, if it is in there
    kinds, where = np.unique(np.stack([ranks.positives, own], axis=1), axis=0, return_inverse=True)
    drawn = _Drawn.of(sizes, m)
    values = [_chance(r, r + drawn.without(size), k) for r, size in kinds.tolist()]
    return np.array(values)[where.ravel()]


def _chance(positives: int, others: NDArray[np.int64], k: int) -> float:
    """The mean over galleries of `others` (t,) images of 1 - C(N - R, k) / C(N, k)."""
    left = others[:, None] - np.arange(k)
    with np.errstate(divide="ignore", invalid="ignore"):
        missed = np.where(left > positives, 1 - positives / left, 0.0)
    return float(1 - missed.prod(axis=1).mean())


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """Classes in random orders, (t, c): the first m - 1 make a gallery, whichever is left out."""

    sizes: NDArray[np.int64]
    orders: NDArray[np.int64]
    count: int

    @classmethod
    def of(cls, sizes: NDArray[np.int64], m: int) -> _Drawn:
        classes = len(sizes)
        if (sizes == sizes[0]).all():
            return cls(sizes, np.arange(classes)[None], m - 1)
        draws = _DRAWS if classes <= _MANY_CLASSES else _FEWER_DRAWS
        rng = np.random.default_rng(0)
        return cls(sizes, np.stack([rng.permutation(classes) for _ in range(draws)]), m - 1)

    def without(self, size: int) -> NDArray[np.int64]:
        """The images (t,) of the first classes, one class of that size being left out."""
        left_out = int((self.sizes == size).argmax())
        place = (self.orders == left_out).argmax(axis=1)
        images = self.sizes[self.orders[:, : self.count]].sum(axis=1)
        if self.count < len(self.sizes):
            after = self.sizes[self.orders[:, self.count]]
            images = images + (place < self.count) * (after - size)
        return np.asarray(images)
