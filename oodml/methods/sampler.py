"""Class-balanced batches; batch t is a pure function of (seed, t)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from oodml.errors import DataError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class BalancedSampler:
    """`batch // per_class` classes a batch, `per_class` images of each.

    Classes are drawn without replacement (all of them where there are fewer), images too where a
    class has enough; or both with `replacement`, as ooDML's code does, so that a class or an image
    can come twice. `rows[c]` are the image rows of class c.
    """

    rows: tuple[Array, ...]
    batch: int
    per_class: int
    seed: int
    replacement: bool = False

    @classmethod
    def of(
        cls, labels: Array, *, batch: int, per_class: int, seed: int, replacement: bool = False
    ) -> BalancedSampler:
        order = np.argsort(labels, kind="stable")
        counts = np.bincount(labels)
        rows = tuple(np.split(order, np.cumsum(counts)[:-1]))
        if len(rows) < 2 or counts.max() < 2:
            raise DataError(
                f"{len(rows)} train classes of at most {counts.max()} images; "
                "training needs two classes, and one with two images."
            )
        return cls(rows, batch, per_class, seed, replacement)

    def draw(self, step: int) -> Array:
        """The image rows of batch `step`."""
        rng = np.random.default_rng([self.seed, step])
        several = max(2, self.batch // self.per_class)
        if self.replacement:
            classes = rng.integers(len(self.rows), size=several)
        else:
            classes = rng.permutation(len(self.rows))[:several]
        counts = np.array([len(self.rows[c]) for c in classes])
        uniform = rng.random((len(classes), self.per_class))
        if self.replacement:
            places = (uniform * counts[:, None]).astype(np.int64)
        else:
            places = _distinct(uniform, counts)
        return np.concatenate([self.rows[c][own] for c, own in zip(classes, places, strict=True)])


def _distinct(uniform: Array, counts: Array) -> Array:
    """Numbers below `counts` (c,) from uniform ones (c, k): distinct in each row that has enough.

    The j-th is drawn among those left, and counted past the ones that are taken.
    """
    places = np.empty(uniform.shape, dtype=np.int64)
    enough = counts >= uniform.shape[1]
    for j in range(uniform.shape[1]):
        left = np.where(enough, counts - j, counts)
        drawn = (uniform[:, j] * left).astype(np.int64)
        for taken in np.sort(places[:, :j], axis=1).T:
            drawn += enough & (drawn >= taken)
        places[:, j] = drawn
    return places
