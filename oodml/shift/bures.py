"""Squared Bures-Wasserstein distances between the Gaussians of all pairs of classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from oodml.embed import EmbeddingSet
from oodml.errors import SplitError
from oodml.shift.moments import class_moments
from oodml.shift.pairs import centred, squared_distances
from oodml.shift.sample_moments import class_images

Array = np.ndarray[Any, Any]

_TILE_ROWS = 1024
_BUDGET = 4 << 30


def bures_costs(embeddings: EmbeddingSet) -> Array:
    """|m_i - m_j|^2 + |A_i|^2 + |A_j|^2 - 2 |A_i A_j^T|_* for all pairs of classes, `(c, c)`.

    A_i (n_i, d) holds the centred images of class i over sqrt(n_i - 1), or a triangle of as many
    rows as dimensions. Classes of about one size are padded with zero rows and go in tiles: one
    product and one batch of small singular value decompositions for each pair of tiles.
    """
    images = class_images(embeddings)
    sizes = np.minimum([max(1, len(rows)) for rows in images], embeddings.vectors.shape[1])
    _check_memory(embeddings, sizes)
    tiles = _tiles(sizes)
    factors = [_factors(embeddings.vectors, [images[i] for i in tile]) for tile in tiles]
    spread = np.empty(len(images))
    nuclear = np.empty((len(images), len(images)))
    for at, (tile, a) in enumerate(zip(tiles, factors, strict=True)):
        spread[tile] = np.einsum("krd,krd->k", a, a)
        for other, b in zip(tiles[: at + 1], factors[: at + 1], strict=True):
            norms = _nuclear_norms(a, b)
            nuclear[np.ix_(tile, other)] = norms
            nuclear[np.ix_(other, tile)] = norms.T
    spreads = spread[:, None] + spread
    bures = spreads - 2 * nuclear
    bures[bures <= 1e-13 * spreads] = 0.0
    means = centred(class_moments(embeddings).means)
    costs: Array = bures + squared_distances(means, means)
    np.fill_diagonal(costs, 0.0)
    return costs


def class_deviations(embeddings: EmbeddingSet) -> Array:
    """The standard deviation of every class in every dimension, `(c, d)`; 0 for a single image."""
    deviations = np.zeros((len(embeddings.classes), embeddings.vectors.shape[1]))
    for row, images in enumerate(class_images(embeddings)):
        if len(images) > 1:
            deviations[row] = embeddings.vectors[images].std(axis=0, ddof=1, dtype=np.float64)
    return deviations


def _check_memory(embeddings: EmbeddingSet, sizes: Array) -> None:
    needed = int(sizes.sum()) * embeddings.vectors.shape[1] * 8
    if needed > _BUDGET:
        raise SplitError(
            f"The covariances of the classes of {embeddings.dataset!r} take {needed / 2**30:.1f} "
            f"GiB; transport takes at most {_BUDGET >> 30}: use transport?diagonal=1."
        )


def _tiles(sizes: Array) -> list[Array]:
    """Classes in order of their size, as many together as padding keeps to a tile's rows."""
    tiles: list[list[int]] = [[]]
    for row in np.argsort(sizes, kind="stable").tolist():
        if tiles[-1] and (len(tiles[-1]) + 1) * sizes[row] > _TILE_ROWS:
            tiles.append([])
        tiles[-1].append(row)
    return [np.array(tile) for tile in tiles]


def _factors(vectors: Array, classes: list[Array]) -> Array:
    """A of each class, `(k, rows, d)`, padded with zero rows."""
    parts = [_factor(vectors[images].astype(np.float64)) for images in classes]
    factors = np.zeros((len(parts), max(map(len, parts)), vectors.shape[1]))
    for factor, part in zip(factors, parts, strict=True):
        factor[: len(part)] = part
    return factors


def _factor(images: Array) -> Array:
    if len(images) < 2:
        return np.zeros((1, images.shape[1]))
    a: Array = (images - images.mean(axis=0)) / np.sqrt(len(images) - 1)
    return a if len(a) <= a.shape[1] else np.asarray(np.linalg.qr(a, mode="r"))


def _nuclear_norms(a: Array, b: Array) -> Array:
    """|A_i A_j^T|_* for the factors `(k, r, d)` and `(l, s, d)` of two tiles, `(k, l)`."""
    d = a.shape[2]
    products = (a.reshape(-1, d) @ b.reshape(-1, d).T).reshape(*a.shape[:2], *b.shape[:2])
    values = np.linalg.svd(products.transpose(0, 2, 1, 3), compute_uv=False)
    norms: Array = values.sum(axis=-1)
    return norms
