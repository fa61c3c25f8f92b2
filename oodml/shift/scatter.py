"""The Fréchet distance of many classes: more of them than dimensions, and from split to split a few
thousand that change sides.

The covariances of both sides are kept as sums over classes, in float64, about the mean of all
classes. A side that changes by s classes is updated by their two products of rank s; it is summed
anew where more than half of it changed, and after `REFRESH` updates, so that rounding cannot add
up. Where the sides are all classes, one side's sums are those of all classes less the other's. What
is left is one eigenvalue problem of d x d a split.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

from oodml.shift.measure import check_sides
from oodml.shift.moments import in_blocks, mean_of_rows
from oodml.shift.sample_moments import SampleMoments, between_factors, quick_moments_distance
from oodml.store import frozen

Array = np.ndarray[Any, Any]

REFRESH = 32
# Directions with less than this share of the largest variance are no directions of the data.
_NULL = 1e-14
# What is added to a covariance's eigenvalues, as a share of their mean, before slopes are taken.
_RIDGE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """`count` rows, their `total` (d,), and their `scatter` (d, d) about the origin."""

    count: int
    total: Array
    scatter: Array

    def plus(self, other: _Sums, sign: int) -> _Sums:
        return _Sums(
            self.count + sign * other.count,
            self.total + sign * other.total,
            self.scatter + sign * other.scatter,
        )

    def moments(self) -> SampleMoments:
        mean = self.total / self.count
        return SampleMoments(self.count, mean, self.scatter - np.outer(self.total, mean))


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """A side whose sums are at hand: how often each class is in it, and updates since summed."""

    times: Array
    sums: _Sums
    age: int


@dataclass(frozen=True, slots=True, eq=False)
class Slope:
    """x -> x^T `form` x + `along` x for the class mean x about the mean of all classes.

    The first-order change of the distance when x joins a side, up to a constant of that side.
    """

    form: Array
    along: Array

    def less(self, other: Slope) -> Slope:
        return Slope(self.form - other.form, self.along - other.along)


class ClassScatters:
    """Distances and slopes between sets of rows of class means `(c, d)` of any float type.

    It remembers the sides of the last call, which makes the next one fast and does not change it
    beyond rounding. Calls from several threads wait for each other.
    """

    def __init__(self, means: Array) -> None:
        self._means = means
        self._centre = mean_of_rows(means, self._everything())
        self._basis: Array | None = None
        self._all = self._summed(self._everything())
        values, vectors = scipy.linalg.eigh(self._all.scatter, driver="evd", check_finite=False)
        kept = values > _NULL * max(values[-1], 0.0)
        kept[-1] = True
        if not kept.all():
            self._basis = frozen(vectors[:, kept])
            self._all = self._summed(self._everything())
        self._known: list[_Known | None] = [None, None]
        self._lock = threading.Lock()

    @property
    def rank(self) -> int:
        """The dimensions in which the class means differ."""
        return len(self._all.total)

    def leading(self, count: int) -> Array:
        """The class means `(c, count)` along their leading components, about their mean."""
        vectors = scipy.linalg.eigh(self._all.scatter, driver="evd", check_finite=False)[1]
        chosen = vectors[:, ::-1][:, :count]
        return np.concatenate([block @ chosen for block in self._blocks(self._everything())])

    def distance(self, x: Array, y: Array) -> float:
        """The distance of two sides, arrays of class rows."""
        check_sides(x, y)
        if min(len(x), len(y)) > self.rank:
            quick = quick_moments_distance(*self._moments(x, y))
            if quick is not None:
                return quick
        return self.distance_of_roots(x, y)

    def distance_of_roots(self, x: Array, y: Array) -> float:
        """The same without covariances, from triangles of both sides: where those are singular.

        It keeps all digits of the traces, and takes about four times as long.
        """
        means = [mean_of_rows(self._means, rows) for rows in (x, y)]
        a, b = (self._root(rows, mean) for rows, mean in zip((x, y), means, strict=True))
        gap = means[0] - means[1]
        traces = float((a * a).sum() + (b * b).sum())
        nuclear = float(scipy.linalg.svdvals(a @ b.T, check_finite=False).sum())
        distance = float(gap @ gap) + traces - 2 * nuclear
        return distance if distance > 1e-13 * traces else 0.0

    def slopes(self, x: Array, y: Array) -> tuple[Slope, Slope]:
        """How the distance changes, to first order, when a class joins either side.

        With S = S_x and S' = S_y, d tr (S S')^(1/2) / dS = T / 2, where T is the map that carries
        one Gaussian into the other (Olkin and Pukelsheim, 1982; Takatsu, 2011),

            T = S^(-1/2) (S^(1/2) S' S^(1/2))^(1/2) S^(-1/2),

        here from S = L L^T and the eigenvectors of L^T S' L. The other side's is its inverse.
        """
        one, other = self._moments(x, y)
        a, b = (_ridged(side.covariance()) for side in (one, other))
        low = scipy.linalg.cholesky(a, lower=True, check_finite=False)
        values, vectors = scipy.linalg.eigh(
            between_factors(low, b), driver="evd", overwrite_a=True, check_finite=False
        )
        least = _RIDGE**2 * np.trace(a) * np.trace(b) / len(a) ** 2
        roots = np.sqrt(np.maximum(values, least))
        forth = scipy.linalg.solve_triangular(low, vectors, lower=True, trans="T") * roots**0.5
        back = low @ vectors / roots**0.5
        gap = one.mean - other.mean
        return (
            _slope(forth @ forth.T, one, gap),
            _slope(back @ back.T, other, -gap),
        )

    def heights(self, slope: Slope) -> Array:
        """The value of a slope at every class `(c,)`, in float32: it ranks classes."""
        form = slope.form.astype(np.float32)
        along = slope.along.astype(np.float32)
        parts = []
        for block in self._blocks(self._everything()):
            points = block.astype(np.float32)
            parts.append(np.einsum("ij,ij->i", points @ form, points) + points @ along)
        return np.concatenate(parts)

    # Sums ---------------------------------------------------------------------------------------

    def _moments(self, x: Array, y: Array) -> tuple[SampleMoments, SampleMoments]:
        times = [np.bincount(rows, minlength=len(self._means)) for rows in (x, y)]
        with self._lock:
            if not (times[0] + times[1] == 1).all():
                sums = [self._sums(side, times[side]) for side in (0, 1)]
            else:
                # The larger side from the smaller one, so that no digits cancel.
                side = int(2 * len(y) < len(x))
                sums = [self._sums(side, times[side])]
                sums.insert(1 - side, self._all.plus(sums[0], -1))
        return sums[0].moments(), sums[1].moments()

    def _everything(self) -> Array:
        return np.arange(len(self._means))

    def _sums(self, side: int, times: Array) -> _Sums:
        known = self._known[side]
        if known is not None and known.age < REFRESH:
            change = times - known.times
            if 2 * np.abs(change).sum() <= times.sum():
                sums, age = known.sums, known.age + bool(change.any())
                for sign in (1, -1):
                    rows = np.repeat(np.arange(len(times)), np.maximum(sign * change, 0))
                    sums = sums.plus(self._summed(rows), sign) if len(rows) else sums
                self._known[side] = _Known(times, sums, age)
                return sums
        sums = self._summed(np.repeat(np.arange(len(times)), times))
        self._known[side] = _Known(times, sums, 0)
        return sums

    def _summed(self, rows: Array) -> _Sums:
        d = len(self._centre) if self._basis is None else self._basis.shape[1]
        total, scatter = np.zeros(d), np.zeros((d, d))
        for block in self._blocks(rows):
            total += block.sum(axis=0)
            scatter += block.T @ block
        return _Sums(len(rows), total, scatter)

    def _blocks(self, rows: Array) -> Iterator[Array]:
        """Class means in float64 about the mean of all, in the directions of the data."""
        for some in in_blocks(rows):
            block: Array = self._means[some] - self._centre
            yield block if self._basis is None else block @ self._basis

    def _root(self, rows: Array, mean: Array) -> Array:
        """A with A^T A the covariance of some rows; the triangle of its QR where that is smaller.

        Triangles of blocks are stacked and turned into the next triangle.
        """
        scale = np.sqrt(len(rows) - 1)
        if len(rows) <= len(mean):
            root: Array = (self._means[rows] - mean) / scale
            return root
        triangle = np.empty((0, len(mean)))
        for some in in_blocks(rows):
            stacked = np.concatenate([triangle, (self._means[some] - mean) / scale])
            triangle = scipy.linalg.qr(stacked, mode="r", check_finite=False, overwrite_a=True)[0]
            triangle = triangle[: len(mean)]
        return triangle


def _ridged(covariance: Array) -> Array:
    covariance[np.diag_indices_from(covariance)] += _RIDGE * np.trace(covariance) / len(covariance)
    return covariance


def _slope(carry: Array, side: SampleMoments, gap: Array) -> Slope:
    """|gap|^2 + tr S - 2 tr (S S')^(1/2) by the weight of a class in a side."""
    form = (np.eye(len(gap)) - carry) / (side.count - 1)
    return Slope(form, 2 * gap / side.count - 2 * form @ side.mean)
