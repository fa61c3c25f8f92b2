"""Clustered vectors for tests of clustering."""

from __future__ import annotations

import numpy as np


def blobs(seed, n, k, d, noise):
    """Rows of length 1 around k random centres, and the blob of each; none is empty."""
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.arange(n) % k)
    vectors = rng.normal(size=(k, d))[groups] + noise * rng.normal(size=(n, d))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), groups
