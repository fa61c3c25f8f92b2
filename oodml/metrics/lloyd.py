"""k-means: exact assignments by products in float32, from starts drawn as k-means++ or as faiss."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from oodml.metrics.device import exact_arithmetic

if TYPE_CHECKING:
    import torch

WAYS = ("k-means++", "faiss")
MOST_ITERATIONS = 100  # of k-means++; real sets of 10,000 images settle in 20 to 50
FAISS_ITERATIONS = 20  # what the field's evaluation code asks of faiss
FAISS_SAMPLE = 256  # faiss draws no more points a centre than these to find the centres
FAISS_NUDGE = 1 / 1024  # how far apart faiss sets the halves of a cluster
BLOCK_BYTES = 64 << 20  # of similarities held at a time
NOISE = 8 * float(np.finfo(np.float32).eps)  # of a squared distance, relative to the squared norms

# What is done about clusters without a row: (points, centres, sizes, scores), in place.
Fill = Callable[["torch.Tensor", "torch.Tensor", NDArray[np.int64], NDArray[np.float32]], None]


def kmeans(
    rows: NDArray[np.float32], k: int, *, seed: int, way: str = "k-means++"
) -> NDArray[np.int64]:
    """The cluster (n,) of each of the `rows` (n, d), numbers below `k`, by Euclidean k-means.

    `k-means++` draws its starts by squared distance, each the best of 2 + ln k candidates (Arthur
    and Vassilvitskii, SODA 2007), and goes on until no label changes, 100 iterations at most; a
    cluster without rows starts anew from a row drawn in the same way. `faiss` does as that library:
    k random rows, 20 iterations, centres found from at most 256 k rows, and a cluster without rows
    takes half of a large one. Its random numbers are others, so that single results are too.

    Many candidates pay: with one, inertia is up to a quarter more on clear clusters. Drawing the
    starts costs as much as 2 + ln k iterations over all rows, or some more where d is small.

    Where there are at most k distinct rows, each of them is a cluster, and fewer than k are used.
    The result depends on the seed, the rows and torch's number of threads, and not on the order of
    the rows. Beside two copies of the rows, the work takes some 100 MiB, or what 64 rows against
    all centres, or 2 (2 + ln k) starts against all rows, take.
    """
    if way not in WAYS:
        raise ValueError(f"way is {way!r}; expected one of {', '.join(WAYS)}.")
    if not 1 <= k <= len(rows):
        raise ValueError(f"k is {k}; expected 1 to {len(rows)}, the number of rows.")
    import torch

    order = _order_of(rows)
    points = rows[order]  # a copy
    clusters = np.concatenate([[0], (points[1:] != points[:-1]).any(axis=1).cumsum()])
    if clusters[-1] >= k:  # more distinct rows than clusters
        rng = np.random.default_rng(seed)
        with exact_arithmetic("cpu"):
            find = _like_faiss if way == "faiss" else _plus_plus
            clusters = find(torch.from_numpy(points), k, rng)
    found = np.empty(len(rows), np.int64)
    found[order] = clusters
    return found


def _order_of(rows: NDArray[np.float32]) -> NDArray[np.int64]:
    """An order of the rows that their bytes decide, so that the order of images has no effect."""
    plain = np.add(rows, np.float32(0), order="C")  # -0 becomes 0, as they compare equal
    return np.argsort(plain.view(f"V{plain.itemsize * plain.shape[1]}").ravel(), kind="stable")


def _plus_plus(points: torch.Tensor, k: int, rng: np.random.Generator) -> NDArray[np.int64]:
    # About their mean, distances lose the fewest digits, and a collapsed set keeps its structure.
    points -= points.double().mean(dim=0).float()
    starts = _draw_starts(points, k, rng)
    fill = partial(_fill_with_far, rng=rng)
    return _settle(points, points[_tensor(starts)], MOST_ITERATIONS, fill)[0]


def _like_faiss(points: torch.Tensor, k: int, rng: np.random.Generator) -> NDArray[np.int64]:
    sample = points
    if len(points) > FAISS_SAMPLE * k:
        sample = points[_tensor(rng.permutation(len(points))[: FAISS_SAMPLE * k])]
    starts = sample[_tensor(rng.permutation(len(sample))[:k])]
    fill = partial(_fill_by_halving, rng=rng)
    clusters, centres = _settle(sample, starts, FAISS_ITERATIONS, fill)
    return clusters if sample is points else _nearest(points, centres)[0]


# Starts ------------------------------------------------------------------------------------------


def _draw_starts(points: torch.Tensor, k: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """k rows (k,): each drawn by the squared distance to those before it, the best of a few.

    Candidates are drawn many at a time, so that their distances to all rows are one product, and
    each is kept with the ratio of its squared distance now to that when it was drawn. As distances
    only shrink, what is kept is distributed exactly as if drawn one at a time.
    """
    trials = 2 + int(math.log(k))
    widest = max(2 * trials, BLOCK_BYTES // (4 * len(points)))
    squares = points.square().sum(dim=1)
    chosen = [int(rng.integers(len(points)))]
    near = _distances(points, squares, np.array(chosen))[0]
    while len(chosen) < k:
        summed = near.cumsum(dtype=np.float64)
        if summed[-1] == 0:  # what is left differs from a start by rounding only
            rest = np.setdiff1d(np.arange(len(points)), chosen)
            return np.concatenate([chosen, rng.permutation(rest)[: k - len(chosen)]])
        # Few are refused while a third more starts are found.
        width = min(widest, trials * max(2, min(len(chosen) // 3, 2 * (k - len(chosen)))))
        pool = np.searchsorted(summed, rng.random(width) * summed[-1], side="right")
        pool = np.minimum(pool, len(points) - 1)
        bars = rng.random(width) * near[pool]
        more, near = _choose_best(_distances(points, squares, pool), pool, bars, near, trials)
        chosen += more[: k - len(chosen)]
    return np.array(chosen)


def _choose_best(
    distances: NDArray[np.float32],
    pool: NDArray[np.int64],
    bars: NDArray[np.float64],
    near: NDArray[np.float32],
    trials: int,
) -> tuple[list[int], NDArray[np.float32]]:
    """Starts of the candidates in `pool` (m,), the best of `trials` each, until too few are left.

    `distances` (m, n) are those of the candidates, `near` (n,) those to the nearest start so far;
    a candidate counts while its own is above its bar. Gives the starts and the new `near`.
    """
    chosen: list[int] = []
    first = 0
    while True:
        kept = first + np.flatnonzero(bars[first:] < near[pool[first:]])[:trials]
        if len(kept) < trials:
            return chosen, near
        left = np.minimum(distances[kept], near)
        best = int(left.sum(axis=1).argmin())
        near = left[best]
        chosen.append(int(pool[kept[best]]))
        first = int(kept[-1]) + 1


def _distances(
    points: torch.Tensor, squares: torch.Tensor, picked: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Squared distances (m, n) of the picked rows to all; those within rounding of 0 are 0."""
    import torch

    less = squares * (1 - NOISE)
    picked_rows = _tensor(picked)
    products = torch.addmm(less, points[picked_rows], points.T, alpha=-2)
    distances: NDArray[np.float32] = products.add_(less[picked_rows, None]).clamp_(min=0).numpy()
    return distances


# Iterations --------------------------------------------------------------------------------------


def _settle(
    points: torch.Tensor, centres: torch.Tensor, most: int, fill: Fill
) -> tuple[NDArray[np.int64], torch.Tensor]:
    """The clusters (n,) and the centres (k, d) once no centre moves, or after `most` iterations."""
    clusters, scores = _nearest(points, centres)
    for _ in range(most):
        means, sizes = _means(points, clusters, centres)
        if not sizes.all():
            fill(points, means, sizes, scores)
        moved = (means != centres).any(dim=1).numpy()
        if not moved.any():
            break
        centres = means
        clusters, scores = _reassign(points, centres, moved, clusters, scores)
    return clusters, centres


def _means(
    points: torch.Tensor, clusters: NDArray[np.int64], centres: torch.Tensor
) -> tuple[torch.Tensor, NDArray[np.int64]]:
    """The means (k, d) and sizes (k,) of the clusters; without rows, a centre stays as it is."""
    import torch

    sizes = np.bincount(clusters, minlength=len(centres))
    sums = torch.zeros_like(centres).index_add_(0, _tensor(clusters), points)
    counts = _tensor(sizes)[:, None]
    return torch.where(counts > 0, sums / counts.clamp(min=1), centres), sizes


def _reassign(
    points: torch.Tensor,
    centres: torch.Tensor,
    moved: NDArray[np.bool_],
    clusters: NDArray[np.int64],
    scores: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The nearest of the centres and its score for each row, after some centres `moved` (k,).

    A row whose own centre stayed need only be compared with those that did not: late iterations
    cost next to nothing, with the same result.
    """
    if moved.mean() > 0.7:
        return _nearest(points, centres)
    lost = moved[clusters]
    loose, settled, movers = np.flatnonzero(lost), np.flatnonzero(~lost), np.flatnonzero(moved)
    clusters, scores = clusters.copy(), scores.copy()
    clusters[loose], scores[loose] = _nearest(points, centres, loose)
    rivals, higher = _nearest(points, centres[_tensor(movers)], settled)
    better = higher > scores[settled]
    clusters[settled[better]], scores[settled[better]] = movers[rivals[better]], higher[better]
    return clusters, scores


def _nearest(
    points: torch.Tensor, centres: torch.Tensor, picked: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The nearest centre of each row, or of each picked one, and its score x.c - |c|^2 / 2."""
    import torch

    total = len(points) if picked is None else len(picked)
    height = max(64, min(2048, BLOCK_BYTES // (4 * len(centres))))
    clusters, scores = np.empty(total, np.int64), np.empty(total, np.float32)
    halves = centres.square().sum(dim=1) / -2
    space = torch.empty(min(height, total), len(centres))
    for start in range(0, total, height):
        at = slice(start, min(start + height, total))
        rows = points[at] if picked is None else points[_tensor(picked[at])]
        block = torch.addmm(halves, rows, centres.T, out=space[: len(rows)]).numpy()
        clusters[at] = block.argmax(axis=1)  # ten times as fast as torch's
        scores[at] = block[np.arange(len(block)), clusters[at]]
    return clusters, scores


# Clusters without rows ---------------------------------------------------------------------------


def _fill_with_far(
    points: torch.Tensor,
    centres: torch.Tensor,
    sizes: NDArray[np.int64],
    scores: NDArray[np.float32],
    *,
    rng: np.random.Generator,
) -> None:
    """Put the centres of empty clusters on rows drawn by the squared distance to their own."""
    squares = points.square().sum(dim=1).double().numpy()
    distances = np.maximum(squares * (1 - NOISE) - 2 * scores, 0)
    empty = np.flatnonzero(sizes == 0)[: np.count_nonzero(distances)]
    if len(empty):
        drawn = rng.choice(len(points), len(empty), replace=False, p=distances / distances.sum())
        centres[_tensor(empty)] = points[_tensor(drawn)]


def _fill_by_halving(
    points: torch.Tensor,
    centres: torch.Tensor,
    sizes: NDArray[np.int64],
    _scores: NDArray[np.float32],
    *,
    rng: np.random.Generator,
) -> None:
    """Give each empty cluster half of another, drawn with (size - 1) / (n - k), as faiss does."""
    import torch

    left = sizes.astype(np.float64)
    signs = torch.ones(centres.shape[1])
    signs[1::2] = -1
    for empty in np.flatnonzero(sizes == 0):
        drawn = np.empty(0, np.int64)
        while not len(drawn):  # faiss goes round the clusters until one is taken
            drawn = np.flatnonzero(rng.random(len(left)) < (left - 1) / (len(points) - len(left)))
        large = drawn[0]
        centres[empty] = centres[large] * (1 + FAISS_NUDGE * signs)
        centres[large] *= 1 - FAISS_NUDGE * signs
        left[[empty, large]] = left[large] / 2


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(array))
