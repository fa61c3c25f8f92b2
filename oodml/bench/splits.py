"""`oodml bench splits`: the distance and the searches, beside the ways that others compute them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from oodml.bench.timing import BenchRow, timed
from oodml.embed import EmbeddingSet
from oodml.shift import MEASURES
from oodml.split import build_splits
from oodml.split.build import make_problem
from oodml.split.paper import walk_oodml

Array = np.ndarray[Any, Any]
PeerDistance = Callable[[Array, Array, Array, Array], float]
DISTANCE = "one distance, 100 + 100 classes x 2048"
PROCEDURE = "the paper's search, 200 classes x 2048"
OPTIMAL = "optimal search, 200 classes x 2048, 9 levels"


def bench_splits(*, seed: int = 0) -> Iterator[BenchRow]:
    """A row as each is measured; of every task, ours comes first."""
    x, y, truth = known_distance(100, 2048, seed=seed)
    yield from _distances(x, y, truth)
    yield from _searches(x, y)


def known_distance(n: int, d: int, *, seed: int) -> tuple[Array, Array, float]:
    """Two sides of n class means in d dimensions whose distance is known in closed form.

    With orthonormal V, and Q, R orthonormal and orthogonal to the vector of ones, the centred sides
    A = Q diag(s) V^T and B = R diag(t) V^T have commuting covariances, and the distance is
    |gap|^2 + sum (s - t)^2.
    """
    rng = np.random.default_rng(seed)
    rank = n - 1
    basis = np.linalg.qr(rng.standard_normal((d, rank)))[0]
    s, t = (rng.permutation(np.arange(1.0, n)) ** -0.5 * 5 for _ in range(2))
    gap = 0.1 * rng.standard_normal(d)
    sides = []
    for spectrum in (s, t):
        frame = np.linalg.qr(np.column_stack([np.ones(n), rng.standard_normal((n, rank))]))[0][
            :, 1:
        ]
        sides.append(frame * spectrum @ basis.T * np.sqrt(rank))
    return sides[0], sides[1] + gap, float(gap @ gap + ((s - t) ** 2).sum())


def as_embeddings(x: Array, y: Array) -> EmbeddingSet:
    """Class means as an embedding set of one image a class, the sides one after the other."""
    vectors = np.concatenate([x, y])
    names = tuple(f"{row:05}" for row in range(len(vectors)))
    labels = np.arange(len(vectors))
    return EmbeddingSet("synthetic", names, labels, names, vectors, "synthetic")


# Distances ---------------------------------------------------------------------------------------


def _distances(x: Array, y: Array, truth: float) -> Iterator[BenchRow]:
    rows = np.arange(len(x)), np.arange(len(x), len(x) + len(y))
    on = MEASURES["frechet"].on(as_embeddings(x, y))
    ways: list[tuple[str, Callable[[], float], int]] = [
        ("oodml, Gram matrix of all classes at hand", lambda: on(*rows), 20),
        ("oodml, from class means alone", lambda: MEASURES["frechet"](x, y), 10),
        ("eigenvalues of S1 S2 in float64", lambda: _by_eigenvalues(x, y), 1),
        ("published code: scipy.linalg.sqrtm, eps 1e-8", lambda: _by_sqrtm(x, y), 1),
    ]
    for way, call, repeats in ways:
        seconds, value = timed(call, repeats=repeats, warm=repeats > 1)
        yield BenchRow(DISTANCE, way, seconds, abs(value - truth) / truth)
    for way, peer in (
        ("pytorch-fid", _pytorch_fid),
        ("torchmetrics", _torchmetrics),
        ("POT", _pot),
    ):
        yield _peer(way, peer, (x, y), truth)


def _moments(x: Array) -> tuple[Array, Array]:
    return x.mean(axis=0), np.cov(x, rowvar=False)


def _by_sqrtm(x: Array, y: Array) -> float:
    import warnings

    import scipy.linalg

    (mx, sx), (my, sy) = _moments(x), _moments(y)
    offset = 1e-8 * np.eye(len(mx))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own warnings about singular products
        root = scipy.linalg.sqrtm((sx + offset) @ (sy + offset))
    root = np.asarray(root).real
    return float(((mx - my) ** 2).sum() + np.trace(sx) + np.trace(sy) - 2 * np.trace(root))


def _by_eigenvalues(x: Array, y: Array) -> float:
    (mx, sx), (my, sy) = _moments(x), _moments(y)
    values = np.linalg.eigvals(sx @ sy).real.clip(min=0)
    return float(((mx - my) ** 2).sum() + np.trace(sx) + np.trace(sy) - 2 * np.sqrt(values).sum())


def _peer(
    way: str, load: Callable[[], PeerDistance], sides: tuple[Array, Array], truth: float
) -> BenchRow:
    """Another package's function on the same moments, where it is installed and works."""
    (mx, sx), (my, sy) = (_moments(side) for side in sides)
    try:
        distance = load()
        with np.errstate(invalid="ignore"):
            seconds, value = timed(lambda: distance(mx, sx, my, sy), repeats=1, warm=False)
    except ImportError:
        return BenchRow(DISTANCE, way, None, note="not installed (extra peers)")
    except (TypeError, ValueError) as error:  # made for an older SciPy, or refuses its own result
        return BenchRow(DISTANCE, way, None, note=f"fails: {error}"[:60])
    if not np.isfinite(value):
        return BenchRow(DISTANCE, way, seconds, note="gives NaN")
    return BenchRow(DISTANCE, way, seconds, abs(value - truth) / truth)


def _pytorch_fid() -> PeerDistance:
    module = importlib.import_module("pytorch_fid.fid_score")
    return module.calculate_frechet_distance  # type: ignore[no-any-return]


def _torchmetrics() -> PeerDistance:
    import torch

    compute = importlib.import_module("torchmetrics.image.fid")._compute_fid
    return lambda *moments: float(compute(*map(torch.from_numpy, moments)))


def _pot() -> PeerDistance:
    gaussian = importlib.import_module("ot.gaussian")

    def distance(mx: Array, sx: Array, my: Array, sy: Array) -> float:
        return float(gaussian.bures_wasserstein_distance(mx, my, sx, sy)) ** 2

    return distance


# Searches ----------------------------------------------------------------------------------------


def _searches(x: Array, y: Array) -> Iterator[BenchRow]:
    embeddings = as_embeddings(x, y)
    states = 0

    def walk() -> int:
        return len(walk_oodml(make_problem(embeddings, "frechet"), 2))

    seconds, states = timed(walk, repeats=1, warm=False)
    yield BenchRow(PROCEDURE, "oodml", seconds, note=f"{states} states")
    one, _ = timed(lambda: _by_sqrtm(x, y), repeats=1, warm=False)
    note = "110 times one measured distance"
    yield BenchRow(PROCEDURE, "published code, distances alone", 110 * one, note=note)
    seconds, sequence = timed(
        lambda: build_splits(embeddings, search="optimal", partitions=0, controls=0),
        repeats=1,
        warm=False,
    )
    low, high = sequence.splits[0].shift, sequence.splits[-1].shift
    note = f"{len(sequence.splits)} levels, shift {low:.4g} to {high:.4g}"
    yield BenchRow(OPTIMAL, "oodml", seconds, note=note)
