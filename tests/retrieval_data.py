"""Small sets of vectors with labels, for the tests of ranks and metrics."""

import numpy as np


def uneven_labels(rng):
    return rng.permutation(np.repeat(np.arange(8), [1, 1, 2, 3, 4, 5, 7, 9]))


def clear_data(seed):
    """Clustered vectors on which rounding decides nothing: no similarity is near a threshold."""
    rng = np.random.default_rng(seed)
    while True:
        labels = uneven_labels(rng)
        vectors = rng.normal(size=(8, 5))[labels] + rng.normal(size=(len(labels), 5))
        units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        gaps = np.abs((units @ units.T)[:, :, None] - (units @ units.T)[:, None, :])
        if not ((gaps > 1e-12) & (gaps < 3e-6)).any():
            return vectors, labels


def tied_data(seed):
    """Vectors of small integers: many are equal, and many more are equally far."""
    rng = np.random.default_rng(seed)
    labels = uneven_labels(rng)
    vectors = rng.integers(-1, 2, size=(len(labels), 3))
    vectors[~vectors.any(axis=1)] = 1
    return vectors, labels


def clustered(classes, each, d, noise=0.9, seed=5):
    """Vectors about as hard as real ones, in random order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(classes), each))
    vectors = rng.normal(size=(classes, d))[labels] + noise * rng.normal(size=(len(labels), d))
    return vectors.astype(np.float32), labels
