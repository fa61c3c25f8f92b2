"""The Fréchet distance between the class means of two sides: the paper's shift.

    FID(X, Y) = |mu_X - mu_Y|^2 + tr S_X + tr S_Y - 2 tr (S_X S_Y)^(1/2)

over the class means (rows of X and Y), with sample covariances S (Milbich et al., NeurIPS 2021).
With A = (X - mu_X) / sqrt(n - 1) and B likewise, tr (S_X S_Y)^(1/2) is the nuclear norm of A B^T,
an (n, m) matrix: exact also where there are fewer classes than dimensions, and without any d x d
matrix. The unit is that of a squared feature distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

from oodml.embed import EmbeddingSet
from oodml.shift.measure import Distance, Laws, Measure
from oodml.shift.moments import ClassMoments, class_moments
from oodml.shift.scatter import ClassScatters

Array = np.ndarray[Any, Any]


def frechet_distance(x: Array, y: Array) -> float:
    """The distance between two sets of class means, `(n, d)` and `(m, d)`, n and m at least 2.

    >>> round(frechet_distance(np.array([[0.0], [2.0]]), np.array([[3.0], [5.0]])), 12)
    9.0
    """
    _check(len(x), len(y))
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"Sides of shapes {x.shape} and {y.shape}; expected (n, d) and (m, d).")
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    a = _root(x - mean_x)
    b = _root(y - mean_y)
    gap = mean_x - mean_y
    return _combine(float(gap @ gap), float((a * a).sum() + (b * b).sum()), a @ b.T)


def _root(centred: Array) -> Array:
    """A with A^T A the covariance; the triangle of its QR where that is smaller."""
    a: Array = centred / np.sqrt(len(centred) - 1)
    if a.shape[0] <= a.shape[1]:
        return a
    triangle = scipy.linalg.qr(a, mode="r", check_finite=False)[0]
    return np.asarray(triangle, dtype=np.float64)[: a.shape[1]]


def _check(n: int, m: int) -> None:
    if min(n, m) < 2:
        raise ValueError(f"Sides of {n} and {m} classes; a covariance needs at least 2 on each.")


def _combine(gap: float, traces: float, product: Array) -> float:
    nuclear = float(scipy.linalg.svdvals(product, check_finite=False).sum())
    distance = gap + traces - 2 * nuclear
    # Rounding leaves about 1e-16 of the traces; equal sides are at distance 0, not just below it.
    return distance if distance > 1e-13 * traces else 0.0


def frechet_on(embeddings: EmbeddingSet) -> Distance:
    """The distance between two arrays of class rows of one embedding set.

    Where there are no more classes than dimensions, one Gram matrix of all class means serves every
    split: A B^T is a doubly centred block of it. Above `LARGEST` classes, see `ClassScatters`.
    """
    return frechet_on_means(class_moments(embeddings))


def frechet_on_means(moments: ClassMoments) -> Distance:
    """The same of class means that are at hand."""
    classes, dimensions = moments.means.shape
    if classes > max(dimensions, LARGEST):
        return ClassScatters(moments.means).distance
    if classes > dimensions:
        return lambda x, y: frechet_distance(moments.means[x], moments.means[y])
    gram = moments.gram()

    def distance(x: Array, y: Array) -> float:
        _check(len(x), len(y))
        xx, yy, xy = gram[np.ix_(x, x)], gram[np.ix_(y, y)], gram[np.ix_(x, y)]
        gap = xx.mean() + yy.mean() - 2 * xy.mean()
        traces = sum((np.trace(g) - g.sum() / len(g)) / (len(g) - 1) for g in (xx, yy))
        centred = xy - xy.mean(axis=0) - xy.mean(axis=1, keepdims=True) + xy.mean()
        scale = np.sqrt((len(x) - 1.0) * (len(y) - 1.0))
        return _combine(float(gap), float(traces), centred / scale)

    return distance


FRECHET = Measure(
    name="frechet",
    needs="means",
    laws=Laws(rotation="exact", translation=True, power=2),
    between=frechet_distance,
    on=frechet_on,
    on_means=frechet_on_means,
)


# Many splits of the same classes -----------------------------------------------------------------

# A block of more splits than this is measured in several pieces, to bound the memory.
_PIECE = 1 << 22
LARGEST, LEADING = 4096, 128
# Nodes of the integral below, in units of the mean singular value; the step 0.7 of log s leaves a
# relative error of about 1e-6, the ends about 1e-3 of a change.
_NODES = np.exp(np.arange(-8.4, 7.0, 0.7))


@dataclass(frozen=True, slots=True, eq=False)
class FrechetField:
    """The class means in their own span, `points` (c, r), where all distances are taken.

    r is at most c - 1, so nothing here is as large as the feature dimension. Above `LARGEST`
    classes only the leading `LEADING` components are kept, and distances are those of `scatters`.
    """

    points: Array
    gram: Array
    scatters: ClassScatters | None = None

    @property
    def exact(self) -> bool:
        """Whether the points have all that there is of the class means."""
        return self.scatters is None

    @classmethod
    def of(cls, means: Array) -> FrechetField:
        """The field of class means `(c, d)`; distances do not change under this rotation."""
        if len(means) > LARGEST:
            scatters = ClassScatters(means)
            return cls(scatters.leading(LEADING), np.empty((0, 0)), scatters)
        centred = means - means.mean(axis=0)
        if len(centred) <= centred.shape[1]:
            values, vectors = np.linalg.eigh(centred @ centred.T)
            kept = values > 1e-14 * max(values[-1], 0.0)
            points = (vectors[:, kept] * np.sqrt(values[kept]))[:, ::-1]
        else:
            points = centred @ np.linalg.eigh(centred.T @ centred)[1][:, ::-1]
        if points.shape[1] == 0:
            points = np.zeros((len(means), 1))
        points = np.ascontiguousarray(points)
        return cls(points, points @ points.T)

    def distances(self, train: Array, test: Array) -> Array:
        """The distances `(b,)` of b splits: class rows `(b, n)` against `(b, m)`."""
        n, m = train.shape[1], test.shape[1]
        _check(n, m)
        if self.scatters is not None:
            pairs = zip(train, test, strict=True)
            return np.array([self.scatters.distance(x, y) for x, y in pairs])
        step = max(1, _PIECE // max(n * n, m * m))
        # The smaller of the two forms of A B^T: by the classes, or by the dimensions.
        flat = self.points.shape[1] < min(n, m)
        pieces = [
            _root_distances(self.points, train[i : i + step], test[i : i + step])
            if flat
            else _block_distances(self.gram, train[i : i + step], test[i : i + step])
            for i in range(0, len(train), step)
        ]
        return np.concatenate(pieces)

    def around(self, train: Array, test: Array) -> FrechetChanges:
        """What exchanging classes would change at one split."""
        sides = (self.points[train], self.points[test])
        means = tuple(side.mean(axis=0) for side in sides)
        a, b = (_root(side - mean) for side, mean in zip(sides, means, strict=True))
        left, sigma, right = np.linalg.svd(a @ b.T)
        return FrechetChanges(
            points=self.points,
            sizes=(len(train), len(test)),
            means=(means[0], means[1]),
            rotated=(left.T @ a, right @ b),
            sigma=sigma,
            start=float(self.distances(train[None], test[None])[0]),
        )


def _block_distances(gram: Array, train: Array, test: Array) -> Array:
    n, m = train.shape[1], test.shape[1]
    xx, yy, xy = (
        gram[rows[:, :, None], columns[:, None, :]]
        for rows, columns in ((train, train), (test, test), (train, test))
    )
    sums = (xx.sum(axis=(1, 2)), yy.sum(axis=(1, 2)))
    gap = sums[0] / n**2 + sums[1] / m**2 - 2 * xy.mean(axis=(1, 2))
    traces = (np.trace(xx, axis1=1, axis2=2) - sums[0] / n) / (n - 1)
    traces += (np.trace(yy, axis1=1, axis2=2) - sums[1] / m) / (m - 1)
    centred = xy - xy.mean(axis=1, keepdims=True) - xy.mean(axis=2, keepdims=True)
    centred += xy.mean(axis=(1, 2), keepdims=True)
    nuclear = np.linalg.svd(centred, compute_uv=False).sum(axis=1)
    found = gap + traces - 2 * nuclear / np.sqrt((n - 1.0) * (m - 1.0))
    return np.asarray(np.where(found > 1e-13 * traces, found, 0.0))


def _root_distances(points: Array, train: Array, test: Array) -> Array:
    roots, means, traces = [], [], np.zeros(len(train))
    for rows in (train, test):
        side = points[rows]
        means.append(side.mean(axis=1))
        centred = (side - means[-1][:, None, :]) / np.sqrt(rows.shape[1] - 1)
        traces += (centred**2).sum(axis=(1, 2))
        roots.append(np.asarray(np.linalg.qr(centred, mode="r")))
    products = roots[0] @ roots[1].transpose(0, 2, 1)
    nuclear = np.linalg.svd(products, compute_uv=False).sum(axis=1)
    found = ((means[0] - means[1]) ** 2).sum(axis=1) + traces - 2 * nuclear
    return np.asarray(np.where(found > 1e-13 * traces, found, 0.0))


@dataclass(frozen=True, slots=True, eq=False)
class FrechetChanges:
    """The neighbourhood of one split: what the distance becomes when two classes change places.

    An exchange u -> v on a side of n classes moves its mean by (v - u) / n and its covariance by

        S' - S = [-(1 + 1/n) u u^T + (1 - 1/n) v v^T + (u v^T + v u^T) / n] / (n - 1),

    u and v taken from the side's mean. Gap and traces are exact for every pair. Of the nuclear
    norm, N = tr (S_X S_Y)^(1/2), the two classes' own terms are exact and the cross term is left
    out: with rho(t) = det(t + S_X' S_Y') / det(t + S_X S_Y), a determinant of 2 x 2,

        N' - N = 1/pi int_0^inf log rho(s^2) ds,

    so one singular value decomposition serves the exchanges of all classes.
    """

    points: Array
    sizes: tuple[int, int]
    means: tuple[Array, Array]
    rotated: tuple[Array, Array]
    sigma: Array
    start: float

    def exchanged(self, u: Array, v: Array, zones: tuple[int, int]) -> Array:
        """The estimated distance `(a, b)` once row u[i] and row v[j] have changed places.

        `zones` says where u and v are: 0 is the train side, 1 the test side, 2 neither.
        """
        forth = self._nuclear(u, zones[0], zones[1])
        back = self._nuclear(v, zones[1], zones[0])
        nuclear = forth[:, None] + back[None, :]
        between = _squared(self.points[u], self.points[v])
        gap = self.means[0] - self.means[1]
        weight, along, traces = 0.0, np.zeros((len(u), len(v))), np.zeros((len(u), len(v)))
        for side, sign in ((0, 1.0), (1, -1.0)):
            if side not in zones:
                continue
            n = self.sizes[side]
            leaves, enters = (u, v) if zones[0] == side else (v, u)
            order = 1 if zones[0] == side else -1
            out, into = (self.points[rows] - self.means[side] for rows in (leaves, enters))
            weight += 1 / n
            move = (into @ gap)[None, :] - (out @ gap)[:, None]
            own = (into**2).sum(axis=1)[None, :] - (out**2).sum(axis=1)[:, None]
            along += 2 * sign / n * (move if order == 1 else move.T)
            traces += ((own if order == 1 else own.T) - between / n) / (n - 1)
        return np.asarray(self.start + along + weight**2 * between + traces - 2 * nuclear)

    def _nuclear(self, rows: Array, leaves: int, enters: int) -> Array:
        """The change of N `(a,)` through each class's own terms."""
        forms, weights = [], []
        for side in (0, 1):
            n = self.sizes[side]
            forms.append(self.points[rows] - self.means[side])
            share = -(1 + 1 / n) if leaves == side else (1 - 1 / n) if enters == side else 0.0
            weights.append(share / (n - 1))
        p, q = forms
        near, far = q @ self.rotated[0].T, p @ self.rotated[1].T
        k = len(self.sigma)
        scale = self.sigma.mean() or 1.0
        s = scale * _NODES
        inverse = 1 / (s[None, :] ** 2 + self.sigma[:, None] ** 2)
        w11 = far[:, :k] ** 2 @ inverse + (far[:, k:] ** 2).sum(axis=1)[:, None] / s**2
        w22 = near[:, :k] ** 2 @ inverse + (near[:, k:] ** 2).sum(axis=1)[:, None] / s**2
        cross = (p * q).sum(axis=1)[:, None] - (near[:, :k] * far[:, :k] * self.sigma) @ inverse
        x, y = weights
        rho = (1 + x * w11) * (1 + y * w22) + x * y * cross**2 / s**2
        change = np.log(np.maximum(rho, 1e-12)) @ s
        return np.asarray(change * np.log(_NODES[1] / _NODES[0]) / np.pi)


def _squared(u: Array, v: Array) -> Array:
    """The squared distances `(a, b)` of two sets of points."""
    squares = (u**2).sum(axis=1)[:, None] + (v**2).sum(axis=1)[None, :] - 2 * u @ v.T
    return np.asarray(np.maximum(squares, 0.0))
