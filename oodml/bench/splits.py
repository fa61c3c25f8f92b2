"""`oodml bench splits`: the distance and the searches, beside the ways that others compute them."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from oodml.bench.timing import BenchRow, timed
from oodml.embed import EmbeddingSet
from oodml.shift import MEASURES, SampleMoments
from oodml.shift.sample_moments import moments_distance
from oodml.split import build_splits
from oodml.split.build import make_problem
from oodml.split.paper import walk_harder, walk_oodml

Array = np.ndarray[Any, Any]
PeerDistance = Callable[[Array, Array, Array, Array], float]
Moments = tuple[Array, Array, Array, Array]  # mean and covariance of one side, then of the other


@dataclass(frozen=True, slots=True)
class Sizes:
    """Classes a side, dimensions, images a side; and classes, swaps a step and steps of the paper's
    search among many.
    """

    classes: int = 100
    dimension: int = 2048
    images: int = 5894
    many: int = 22634
    swaps: int = 1000
    steps: int = 20


PUBLISHED = Sizes()
QUICK = Sizes(classes=20, dimension=64, images=300, many=5000, swaps=50, steps=4)


def bench_splits(*, seed: int = 0, quick: bool = False) -> Iterator[BenchRow]:
    """A row as each is measured; of every task, ours comes first. `quick`: small sizes."""
    sizes = QUICK if quick else PUBLISHED
    x, y, truth = known_distance(sizes.classes, sizes.dimension, seed=seed)
    yield from _distances(x, y, truth)
    yield from _sample_distances(sizes, seed)
    yield from _searches(x, y)
    yield from _many_classes(sizes, seed)


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
    task = f"one distance, {len(x)} + {len(y)} classes x {x.shape[1]}"
    ways: list[tuple[str, Callable[[], float], int]] = [
        ("oodml, Gram matrix of all classes at hand", lambda: on(*rows), 20),
        ("oodml, from class means alone", lambda: MEASURES["frechet"](x, y), 10),
        ("eigenvalues of S1 S2 in float64", lambda: _by_eigenvalues(x, y), 1),
        ("published code: scipy.linalg.sqrtm, eps 1e-8", lambda: _by_sqrtm(x, y), 1),
    ]
    for way, call, repeats in ways:
        seconds, value = timed(call, repeats=repeats, warm=repeats > 1)
        yield BenchRow(task, way, seconds, abs(value - truth) / truth)
    yield from _peers(task, (*_moments(x), *_moments(y)), truth)


def _sample_distances(sizes: Sizes, seed: int) -> Iterator[BenchRow]:
    """The distance between two sets of images whose means and covariances are at hand."""
    rng = np.random.default_rng(seed)
    spread = np.arange(1, sizes.dimension + 1) ** -0.5
    shape = (sizes.images, sizes.dimension)
    x = rng.standard_normal(shape) * spread
    y = rng.standard_normal(shape) * rng.permutation(spread) + 0.01
    sides = SampleMoments.of(x), SampleMoments.of(y)
    del x, y
    given = tuple(part for side in sides for part in (side.mean, side.covariance()))
    task = f"one distance, {sizes.images:,} + {sizes.images:,} images x {sizes.dimension}"
    truth = _by_root(*given)
    note = "moments given; errors against the root by eigh in float64"
    for threads, name in ((None, task), (1, f"{task}, one thread")):
        with _threads(threads):
            seconds, value = timed(lambda: moments_distance(*sides), repeats=3)
            yield BenchRow(name, "oodml", seconds, abs(value - truth) / truth, note)
            yield from _peers(name, (given[0], given[1], given[2], given[3]), truth)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """All linear algebra on so many threads; None: as many as it takes by itself."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        with threadpool_limits(count, "blas"):
            yield
    finally:
        torch.set_num_threads(before)


def _by_root(mx: Array, sx: Array, my: Array, sy: Array) -> float:
    """The formula with S_x^(1/2) from the eigenvectors of S_x."""
    values, vectors = np.linalg.eigh(sx)
    root = vectors * np.sqrt(values.clip(min=0)) @ vectors.T
    roots = np.sqrt(np.linalg.eigvalsh(root @ sy @ root).clip(min=0)).sum()
    return float(((mx - my) ** 2).sum() + np.trace(sx) + np.trace(sy) - 2 * roots)


def _moments(x: Array) -> tuple[Array, Array]:
    return x.mean(axis=0), np.cov(x, rowvar=False)


def _by_sqrtm(x: Array, y: Array) -> float:
    return _sqrtm_of((*_moments(x), *_moments(y)), offset=1e-8)


def _sqrtm_of(moments: Moments, *, offset: float) -> float:
    import scipy.linalg

    mx, sx, my, sy = moments
    eye = offset * np.eye(len(mx))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own warnings about singular products
        root = scipy.linalg.sqrtm((sx + eye) @ (sy + eye))
    root = np.asarray(root).real
    return float(((mx - my) ** 2).sum() + np.trace(sx) + np.trace(sy) - 2 * np.trace(root))


def _by_eigenvalues(x: Array, y: Array) -> float:
    (mx, sx), (my, sy) = _moments(x), _moments(y)
    values = np.linalg.eigvals(sx @ sy).real.clip(min=0)
    return float(((mx - my) ** 2).sum() + np.trace(sx) + np.trace(sy) - 2 * np.sqrt(values).sum())


def _peers(task: str, moments: Moments, truth: float) -> Iterator[BenchRow]:
    for way, load in (
        ("pytorch-fid", _pytorch_fid),
        ("torchmetrics", _torchmetrics),
        ("POT", _pot),
    ):
        row = _peer(task, way, load, moments, truth)
        yield row
        if "disp" in row.note:  # an argument that scipy.linalg.sqrtm no longer has
            way = f"{way}'s formula with scipy.linalg.sqrtm"
            yield _peer(task, way, _sqrtm_peer, moments, truth)


def _peer(
    task: str, way: str, load: Callable[[], PeerDistance], moments: Moments, truth: float
) -> BenchRow:
    """Another package's function on the same moments, where it is installed and works."""
    try:
        distance = load()
        with np.errstate(invalid="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the next SciPy will not have
            seconds, value = timed(lambda: distance(*moments), repeats=1, warm=False)
    except ImportError:
        return BenchRow(task, way, None, note="not installed (extra peers)")
    except (TypeError, ValueError) as error:  # made for an older SciPy, or refuses its own result
        return BenchRow(task, way, None, note=f"fails: {error}"[:80])
    if not np.isfinite(value):
        return BenchRow(task, way, seconds, note="gives NaN")
    return BenchRow(task, way, seconds, abs(value - truth) / truth)


def _sqrtm_peer() -> PeerDistance:
    return lambda *moments: _sqrtm_of(moments, offset=0.0)


def _pytorch_fid() -> PeerDistance:
    module = importlib.import_module("pytorch_fid.fid_score")
    return module.calculate_frechet_distance  # type: ignore[no-any-return]


def _torchmetrics() -> PeerDistance:
    import torch

    compute = importlib.import_module("torchmetrics.image.fid")._compute_fid
    return lambda *moments: float(compute(*map(torch.tensor, moments)))


def _pot() -> PeerDistance:
    gaussian = importlib.import_module("ot.gaussian")

    def distance(mx: Array, sx: Array, my: Array, sy: Array) -> float:
        return float(gaussian.bures_wasserstein_distance(mx, my, sx, sy)) ** 2

    return distance


# Searches ----------------------------------------------------------------------------------------


def _searches(x: Array, y: Array) -> Iterator[BenchRow]:
    embeddings = as_embeddings(x, y)
    size = f"{len(x) + len(y)} classes x {x.shape[1]}"

    def walk() -> int:
        return len(walk_oodml(make_problem(embeddings, "frechet"), 2))

    seconds, states = timed(walk, repeats=1, warm=False)
    task = f"the paper's search, {size}"
    yield BenchRow(task, "oodml", seconds, note=f"{states} states")
    one, _ = timed(lambda: _by_sqrtm(x, y), repeats=1, warm=False)
    note = "110 times one measured distance"
    yield BenchRow(task, "published code, distances alone", 110 * one, note=note)
    seconds, sequence = timed(
        lambda: build_splits(embeddings, search="optimal", partitions=0, controls=0),
        repeats=1,
        warm=False,
    )
    low, high = sequence.splits[0].shift, sequence.splits[-1].shift
    note = f"{len(sequence.splits)} levels, shift {low:.4g} to {high:.4g}"
    yield BenchRow(f"optimal search, {size}, 9 levels", "oodml", seconds, note=note)


def _many_classes(sizes: Sizes, seed: int) -> Iterator[BenchRow]:
    """The paper's search among as many classes as Stanford Online Products has."""
    means = clustered_means(sizes.many, sizes.dimension, seed=seed)
    half = len(means) // 2
    problem = make_problem(as_embeddings(means[:half], means[half:]), "frechet")
    task = (
        f"the paper's search, {sizes.many:,} classes x {sizes.dimension}, "
        f"{sizes.steps} steps of {sizes.swaps:,} swaps"
    )
    seconds, states = timed(
        lambda: walk_harder(problem, sizes.swaps, sizes.steps), repeats=1, warm=False
    )
    low, high = (f"{state.shift:.4g}" for state in (states[0], states[-1]))
    yield BenchRow(task, "oodml", seconds, note=f"shift {low} to {high}")

    def published_step() -> float:
        return _by_sqrtm(means[:half], means[half:])

    one, _ = timed(published_step, repeats=1, warm=False)
    note = f"{sizes.steps} times one measured distance"
    yield BenchRow(task, "published code, distances alone", sizes.steps * one, note=note)


def clustered_means(classes: int, d: int, *, seed: int) -> Array:
    """Class means `(classes, d)` around twelve superclasses, of power-law spread."""
    rng = np.random.default_rng(seed)
    spread = np.arange(1, d + 1) ** -0.6
    centres = rng.standard_normal((12, d)) * spread
    means = rng.standard_normal((classes, d)) * spread
    means += centres[rng.integers(12, size=classes)]
    return means
