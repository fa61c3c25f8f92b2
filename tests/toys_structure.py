"""Clustered vectors, and metrics by name, for tests of clustering and geometry."""

from __future__ import annotations

import numpy as np

from oodml.metrics.structure import parameters_of
from oodml.registry import Name


def blobs(seed, n, k, d, noise):
    """Rows of length 1 around k random centres, and the blob of each; none is empty."""
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.arange(n) % k)
    vectors = rng.normal(size=(k, d))[groups] + noise * rng.normal(size=(n, d))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), groups


def metric_of(factories, name):
    """The metric of a name, in whatever spelling, from a table of factories."""
    parsed = Name.parse(name)
    factory = factories[parsed.key]
    return factory(parsed.argument, **parsed.resolve(parameters_of(factory)))
