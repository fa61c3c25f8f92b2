"""Distances between two sets of classes the slow and literal way: the oracle of `oodml.shift`.

Each takes an embedding set and the class rows of either side.
"""

from __future__ import annotations

from itertools import permutations

import mpmath
import numpy as np
import scipy.linalg


def class_vectors(embeddings, row):
    return np.asarray(embeddings.vectors[embeddings.labels == row], dtype=np.float64)


def means(embeddings, rows):
    return np.stack([class_vectors(embeddings, row).mean(axis=0) for row in rows])


def samples(embeddings, rows):
    return np.concatenate([class_vectors(embeddings, row) for row in rows])


def covariance(x):
    return np.atleast_2d(np.cov(x, rowvar=False))


# Fréchet -----------------------------------------------------------------------------------------


def gaussian_distance(x, y):
    """The textbook formula, S of full rank or not, with the symmetric root of S_x."""
    a, b = covariance(x), covariance(y)
    return _gap(x, y) + np.trace(a) + np.trace(b) - 2 * _fidelity(a, b)


def sqrtm_distance(x, y):
    """With the matrix root of the product, as the paper's code has it, but without its eps."""
    a, b = covariance(x), covariance(y)
    return _gap(x, y) + np.trace(a) + np.trace(b) - 2 * np.trace(scipy.linalg.sqrtm(a @ b).real)


def _gap(x, y):
    return ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum()


def _fidelity(a, b):
    """tr (A^(1/2) B A^(1/2))^(1/2)."""
    values, vectors = np.linalg.eigh(a)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    return np.sqrt(np.maximum(np.linalg.eigvalsh(root @ b @ root), 0)).sum()


def exact_gaussian_distance(x, y):
    """The textbook formula in 60 digits."""
    with mpmath.workdps(60):
        (gap_x, a), (gap_y, b) = _exact_moments(x), _exact_moments(y)
        values, vectors = mpmath.eigsy(a)
        root = vectors * mpmath.diag([mpmath.sqrt(max(v, 0)) for v in values]) * vectors.T
        fidelity = sum(mpmath.sqrt(max(v, 0)) for v in mpmath.eigsy(root * b * root)[0])
        gap = sum((p - q) ** 2 for p, q in zip(gap_x, gap_y, strict=True))
        traces = sum(a[i, i] + b[i, i] for i in range(a.rows))
        return float(gap + traces - 2 * fidelity)


def _exact_moments(x):
    rows = mpmath.matrix(x.tolist())
    n, d = rows.rows, rows.cols
    mean = [sum(rows[i, k] for i in range(n)) / n for k in range(d)]
    centred = mpmath.matrix(n, d)
    for i in range(n):
        for k in range(d):
            centred[i, k] = rows[i, k] - mean[k]
    return mean, centred.T * centred / (n - 1)


def frechet(embeddings, x, y):
    return gaussian_distance(means(embeddings, x), means(embeddings, y))


def frechet_samples(embeddings, x, y):
    return gaussian_distance(samples(embeddings, x), samples(embeddings, y))


def frechet_pca(components):
    def distance(embeddings, x, y):
        every = means(embeddings, range(len(embeddings.classes)))
        centre = every.mean(axis=0)
        k = min(components, len(every) - 1, every.shape[1])
        basis = np.linalg.svd(every - centre)[2][:k].T
        x, y = ((means(embeddings, rows) - centre) @ basis for rows in (x, y))
        return gaussian_distance(x, y)

    return distance


# Transport ---------------------------------------------------------------------------------------


def transport(embeddings, x, y):
    return _transport(embeddings, x, y, lambda covariance: covariance)


def transport_diagonal(embeddings, x, y):
    return _transport(embeddings, x, y, lambda covariance: np.diag(np.diag(covariance)))


def _transport(embeddings, x, y, kept):
    import ot

    costs = np.empty((len(x), len(y)))
    for i, row in enumerate(x):
        for j, other in enumerate(y):
            p, q = class_vectors(embeddings, row), class_vectors(embeddings, other)
            a, b = kept(_covariance(p)), kept(_covariance(q))
            costs[i, j] = _gap(p, q) + np.trace(a) + np.trace(b) - 2 * _fidelity(a, b)
    return ot.emd2(np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y)), costs)


def _covariance(x):
    return covariance(x) if len(x) > 1 else np.zeros((x.shape[1], x.shape[1]))


def best_assignment(costs):
    n = len(costs)
    every = permutations(range(n))
    return min(sum(costs[i][j] for i, j in enumerate(order)) for order in every) / n


# Slices, kernels, distances ----------------------------------------------------------------------


def sliced_wasserstein(projections, seed):
    def distance(embeddings, x, y):
        import ot

        x, y = means(embeddings, x), means(embeddings, y)
        directions = np.random.default_rng(seed).standard_normal((projections, x.shape[1]))
        total = 0.0
        for direction in directions:
            unit = direction / np.sqrt((direction**2).sum())
            total += ot.wasserstein_1d(x @ unit, y @ unit, p=2)
        return total / projections

    return distance


def mmd(embeddings, x, y):
    every = means(embeddings, range(len(embeddings.classes)))
    apart = [np.linalg.norm(p - q) for i, p in enumerate(every) for q in every[:i]]
    bandwidth = np.median([distance for distance in apart if distance > 1e-9])
    return _mmd(embeddings, x, y, lambda p, q: np.exp(-((p - q) ** 2).sum() / 2 / bandwidth**2))


def mmd_polynomial(embeddings, x, y):
    return _mmd(embeddings, x, y, lambda p, q: (p @ q / len(p) + 1) ** 3)


def _mmd(embeddings, x, y, kernel):
    x, y = means(embeddings, x), means(embeddings, y)
    return _mean(kernel, x, x) + _mean(kernel, y, y) - 2 * _mean(kernel, x, y)


def energy(embeddings, x, y):
    def distance(p, q):
        return np.sqrt(((p - q) ** 2).sum())

    x, y = means(embeddings, x), means(embeddings, y)
    return 2 * _mean(distance, x, y) - _mean(distance, x, x) - _mean(distance, y, y)


def _mean(function, x, y):
    return sum(function(p, q) for p in x for q in y) / len(x) / len(y)
