"""`SampleMoments`: count, mean and scatter of images, streamed and merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

from oodml.embed import EmbeddingSet
from oodml.store import frozen

Array = np.ndarray[Any, Any]

_ROWS_AT_ONCE = 4096
WORTH_TORCH = 512  # rows; below, its import takes longer than it saves
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True, eq=False)
class SampleMoments:
    """`count` images, their `mean` (d,) and `scatter` (d, d) = sum of (x - mean)(x - mean)^T.

    All in float64, about the mean and never about the origin, so that nothing cancels. `merge` puts
    two disjoint sets of images together, whichever machine or block they come from.
    """

    count: int
    mean: Array
    scatter: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", frozen(np.asarray(self.mean, dtype=np.float64)))
        object.__setattr__(self, "scatter", frozen(np.asarray(self.scatter, dtype=np.float64)))
        d = len(self.mean)
        if self.count < 1 or self.scatter.shape != (d, d):
            raise ValueError(
                f"Moments of {self.count} images, mean of shape {self.mean.shape}, scatter of "
                f"shape {self.scatter.shape}; expected at least one image, (d,) and (d, d)."
            )

    @classmethod
    def of(cls, vectors: Array) -> SampleMoments:
        """The moments of vectors `(n, d)` of any float type, read in blocks."""
        starts = range(0, max(1, len(vectors)), _ROWS_AT_ONCE)
        return add_moments([cls._of_block(vectors[s : s + _ROWS_AT_ONCE]) for s in starts])

    @classmethod
    def _of_block(cls, vectors: Array) -> SampleMoments:
        block = np.array(vectors, dtype=np.float64)
        mean = block.mean(axis=0) if len(block) else np.zeros(block.shape[1])
        block -= mean
        return cls(len(block), mean, block.T @ block)

    def merge(self, other: SampleMoments) -> SampleMoments:
        """The moments of both sets of images together."""
        return add_moments([self, other])

    def covariance(self) -> Array:
        """The sample covariance `(d, d)`; a single image has none."""
        if self.count < 2:
            raise ValueError("The covariance of 1 image; expected at least 2.")
        covariance: Array = self.scatter / (self.count - 1)
        return covariance


def add_moments(parts: Sequence[SampleMoments]) -> SampleMoments:
    """The moments of disjoint sets of images together: Chan's formula over all parts at once."""
    if len(parts) == 1:
        return parts[0]
    counts = np.array([part.count for part in parts])
    means = np.stack([part.mean for part in parts])
    mean = counts @ means / counts.sum()
    between = np.sqrt(counts)[:, None] * (means - mean)
    scatter = between.T @ between
    for part in parts:
        scatter += part.scatter
    return SampleMoments(int(counts.sum()), mean, scatter)


def class_images(embeddings: EmbeddingSet) -> list[Array]:
    """The image rows of each class."""
    order = np.argsort(embeddings.labels, kind="stable")
    counts = np.bincount(embeddings.labels, minlength=len(embeddings.classes))
    return np.split(order, np.cumsum(counts)[:-1])


def moments_distance(x: SampleMoments, y: SampleMoments) -> float:
    """The Fréchet distance between the Gaussians of two sets of images, at least 2 in each.

    Where `quick_moments_distance` would lose digits, tr (S_x S_y)^(1/2) is the nuclear norm of
    R_x^T R_y, with S = R R^T out of the eigenvectors of either side, singular or not.
    """
    found = quick_moments_distance(x, y)
    if found is not None:
        return found
    product = _factor(x.covariance()).T @ _factor(y.covariance())
    roots = float(scipy.linalg.svdvals(product).sum()) if product.size else 0.0
    return _combine(x, y, roots)


def quick_moments_distance(x: SampleMoments, y: SampleMoments) -> float | None:
    """The same out of one generalised eigenvalue problem; None where that may not give 9 digits.

    tr (S_x S_y)^(1/2) is the sum of the roots of the eigenvalues w of L^T S_y L, with S_x = L L^T.
    Rounding moves each w by about eps |S_x| |S_y| / d, so its root by that over 2 sqrt w; wherever
    the sum of this came near 1e-8 of the distance, it was at least 30 times the true error.
    """
    a, b = x.covariance(), y.covariance()
    rounding = _EPS * float(np.linalg.norm(a) * np.linalg.norm(b)) / len(a)
    try:
        low = scipy.linalg.cholesky(a.T, lower=True, overwrite_a=True, check_finite=False)
    except scipy.linalg.LinAlgError:
        return None
    # LAPACK's own reduction of the generalised problem can take ten times as long.
    product = between_factors(low, b)
    values = symmetric_eigenvalues(product)
    roots = np.sqrt(np.maximum(values, 0.0))
    if not rounding:
        return None
    lost = float(np.linalg.norm(rounding / np.maximum(roots, np.sqrt(rounding))))
    distance = _combine(x, y, float(roots.sum()))
    return distance if lost <= 1e-8 * distance else None


def symmetric_eigenvalues(a: Array) -> Array:
    """The eigenvalues `(d,)` of a symmetric matrix in float64, ascending; it may be overwritten.

    Large ones by torch, whose LAPACK takes half the time of SciPy's: the one place here that does
    not stay with NumPy, since nearly all of a distance in many dimensions is this step.
    """
    if len(a) < WORTH_TORCH:
        return np.asarray(scipy.linalg.eigvalsh(a, overwrite_a=True, check_finite=False))
    import torch

    whole = a if a.flags.c_contiguous else a.T
    return np.asarray(torch.linalg.eigvalsh(torch.from_numpy(whole)).numpy())


def between_factors(low: Array, b: Array) -> Array:
    """L^T B L for a lower triangle L and a symmetric B, in half the time of two full products.

    B is overwritten, so that nothing is copied.
    """
    left = scipy.linalg.blas.dtrmm(1.0, low, b.T, lower=1, trans_a=1, overwrite_b=1)
    product: Array = scipy.linalg.blas.dtrmm(1.0, low, left, side=1, lower=1, overwrite_b=1)
    return product


def _combine(x: SampleMoments, y: SampleMoments, roots: float) -> float:
    gap = x.mean - y.mean
    traces = sum(float(np.trace(side.scatter)) / (side.count - 1) for side in (x, y))
    distance = float(gap @ gap) + traces - 2 * roots
    return distance if distance > 1e-12 * traces else 0.0


def _factor(covariance: Array) -> Array:
    """R `(d, rank)` with R R^T the covariance, without the directions that are rounding errors."""
    values, vectors = scipy.linalg.eigh(covariance)
    kept = values > len(values) * _EPS * max(values[-1], 0.0)
    return np.asarray(vectors[:, kept] * np.sqrt(values[kept]))
