"""Small labelled vectors for tests."""

from __future__ import annotations

import numpy as np

from oodml.embed import EmbeddingSet


def toy_embeddings(
    classes: int = 24, per_class: int = 6, d: int = 12, *, seed: int = 0, noise: float = 1.0
) -> EmbeddingSet:
    """Gaussian classes whose means spread most along the first axes."""
    rng = np.random.default_rng(seed)
    means = rng.standard_normal((classes, d)) * np.linspace(4, 0.5, d)
    labels = np.repeat(np.arange(classes), per_class)
    vectors = means[labels] + noise * rng.standard_normal((len(labels), d))
    names = tuple(f"class {c:03}" for c in range(classes))
    ids = tuple(f"{names[label]}/{i}" for i, label in enumerate(labels))
    return EmbeddingSet("toy", names, labels, ids, vectors.astype(np.float32), f"toy-{seed}")
