"""`oodml bench retrieval`: exact ranks and their metrics, beside the ways that others compute them.

All ways get the same unit vectors and must give the same metrics; the largest difference from ours
is printed. faiss and scikit-learn find neighbours, so recall@1000 needs 1,001 of them a query.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from oodml.bench.timing import BenchRow, peak_memory, timed
from oodml.metrics import evaluate

Array = np.ndarray[Any, Any]
Values = dict[str, float]
FAR = ("recall@1", "recall@10", "recall@100", "recall@1000", "map@r")
NEAR = ("recall@1", "recall@2", "recall@4", "recall@8", "map@r")


@dataclass(frozen=True, slots=True)
class Size:
    """So many images in classes of `each`; `noise` makes retrieval about as hard as on real data.

    Each of the sets of metrics is measured `repeats` times.
    """

    images: int
    each: int
    noise: float
    repeats: int
    d: int = 512
    metrics: tuple[tuple[str, ...], ...] = (NEAR, FAR)

    @property
    def text(self) -> str:
        return f"{self.images:,} x {self.d}, {self.each} a class"


PUBLISHED = (Size(5924, 60, 3.5, 3), Size(60502, 5, 2.2, 1, metrics=(FAR,)))
QUICK = (Size(1200, 6, 1.0, 1, d=24),)


def bench_retrieval(*, quick: bool = False) -> Iterator[BenchRow]:
    """A row as each is measured; of every task, ours comes first. `quick`: small sizes.

    Every way is run on a few images beforehand, so that loading and compiling do not count.
    """
    few = synthetic(Size(60, 5, 1.0, 1, d=8))
    list(_ways("", *few, NEAR, 1))
    for size in QUICK if quick else PUBLISHED:
        vectors, labels = synthetic(size)
        for metrics in size.metrics:
            task = f"{metrics[0]} to {metrics[-2]} and map@r, {size.text}"
            yield from _ways(task, vectors, labels, metrics, size.repeats)
        yield from _products(vectors, size)
        yield from _on_gpu(vectors, labels, size)


def synthetic(size: Size) -> tuple[Array, Array]:
    """Unit vectors around random class centres, in random order, and their labels."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(size.images) // size.each)
    centres = rng.standard_normal((int(labels.max()) + 1, size.d), np.float32)
    vectors = centres[labels]
    vectors += np.float32(size.noise) * rng.standard_normal(vectors.shape, np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, labels


def _ways(
    task: str, vectors: Array, labels: Array, metrics: tuple[str, ...], repeats: int
) -> Iterator[BenchRow]:
    first, ours = _row(task, "oodml", lambda: _ours(vectors, labels, metrics), None, repeats)
    yield first
    for engine in ("numba", "torch"):
        if engine == "numba" and importlib.util.find_spec("numba") is None:
            yield BenchRow(task, "oodml, counted by numba", None, note="not installed (extra fast)")
            continue
        call = _calling(_ours, vectors, labels, metrics, engine)
        yield _row(task, f"oodml, counted by {engine}", call, ours, repeats)[0]
    for way, peer in (
        ("faiss IndexFlat and numpy", _faiss),
        ("pytorch-metric-learning as it comes", _accuracy_calculator),
        ("pytorch-metric-learning with recall@k added", _extended_calculator),
        ("scikit-learn brute force and numpy", _scikit_learn),
    ):
        try:
            yield _row(task, way, _calling(peer, vectors, labels, metrics), ours, repeats)[0]
        except ImportError:
            yield BenchRow(task, way, None, note="not installed (extra peers)")


def _calling(function: Callable[..., Values], *args: Any) -> Callable[[], Values]:
    return lambda: function(*args)


def _row(
    task: str, way: str, call: Callable[[], Values], ours: Values | None, repeats: int
) -> tuple[BenchRow, Values]:
    with peak_memory() as peak:
        seconds, values = timed(call, repeats=repeats, warm=repeats > 1)
    notes = [] if peak.mib is None else [f"{peak.mib:,.0f} MiB beyond the input"]
    if ours is None:
        notes.append(", ".join(f"{name} {value:.4f}" for name, value in values.items()))
    else:
        missing = [name for name in ours if name not in values]
        away = max(abs(values[name] - ours[name]) for name in values)
        notes.append(f"values differ by up to {away:.1e}")
        if missing:
            notes.append(f"without {', '.join(missing)}")
    return BenchRow(task, way, seconds, note="; ".join(notes)), values


def _ours(vectors: Array, labels: Array, metrics: tuple[str, ...], engine: str = "auto") -> Values:
    return evaluate(vectors, labels, metrics, engine=engine)


# Others ------------------------------------------------------------------------------------------


def _faiss(vectors: Array, labels: Array, metrics: tuple[str, ...]) -> Values:
    faiss = importlib.import_module("faiss")
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    _, found = index.search(vectors, _neighbours(labels, metrics) + 1)
    return _from_neighbours(found, labels, metrics)


def _scikit_learn(vectors: Array, labels: Array, metrics: tuple[str, ...]) -> Values:
    from sklearn.neighbors import NearestNeighbors

    count = _neighbours(labels, metrics)
    found = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(vectors)
    return _from_neighbours(found.kneighbors()[1], labels, metrics, own=False)


def _neighbours(labels: Array, metrics: tuple[str, ...]) -> int:
    """How many neighbours the metrics look at."""
    most = int(np.bincount(labels).max()) - 1
    return max(most, *(int(name.split("@")[1]) for name in metrics if name.startswith("recall")))


def _from_neighbours(
    found: Array, labels: Array, metrics: tuple[str, ...], *, own: bool = True
) -> Values:
    """The metrics of sorted neighbours (n, k), the query among them where `own`."""
    if own:
        # The query is where its number is, or else, among equals, beyond the list.
        itself = found == np.arange(len(found))[:, None]
        itself[~itself.any(axis=1), -1] = True
        found = found[~itself].reshape(len(found), -1)
    hits = labels[found] == labels[:, None]
    positives = np.bincount(labels)[labels] - 1
    most = int(positives.max())
    near = hits[:, :most] & (np.arange(most) < positives[:, None])
    precision = near.cumsum(axis=1) / np.arange(1, most + 1)
    values = {"map@r": float(((precision * near).sum(axis=1) / positives).mean())}
    first = np.where(hits.any(axis=1), hits.argmax(axis=1), hits.shape[1])
    for name in metrics[:-1]:
        values[name] = float((first < int(name.split("@")[1])).mean())
    return {name: values[name] for name in metrics}


def _accuracy_calculator(vectors: Array, labels: Array, metrics: tuple[str, ...]) -> Values:
    """As it comes: recall@1 and map@r; it has no recall@k for other k."""
    calculator = _calculators().AccuracyCalculator
    names = {"recall@1": "precision_at_1", "map@r": "mean_average_precision_at_r"}
    found = calculator(include=tuple(names.values()), k="max_bin_count")
    wanted = {name: names[name] for name in metrics if name in names}
    return _calculated(found, vectors, labels, wanted)


def _extended_calculator(vectors: Array, labels: Array, metrics: tuple[str, ...]) -> Values:
    """With recall@k added as its manual says, by a method for each in a class of one's own."""
    base = _calculators().AccuracyCalculator
    names = {name: name.replace("@", "_at_") for name in metrics[:-1]}

    def recall(k: int) -> Callable[..., Any]:
        def calculate(_self: Any, knn_labels: Any, query_labels: Any, **_: Any) -> float:
            hits = knn_labels[:, :k] == query_labels[:, None]
            return float(hits.any(dim=1).double().mean())

        return calculate

    methods: dict[str, Any] = {
        f"calculate_{text}": recall(int(name.split("@")[1])) for name, text in names.items()
    }
    methods["requires_knn"] = lambda self: [*base.requires_knn(self), *names.values()]
    extended = type("Extended", (base,), methods)
    names["map@r"] = "mean_average_precision_at_r"
    found = extended(include=tuple(names.values()), k=_neighbours(labels, metrics))
    return _calculated(found, vectors, labels, names)


def _calculators() -> Any:
    return importlib.import_module("pytorch_metric_learning.utils.accuracy_calculator")


def _calculated(calculator: Any, vectors: Array, labels: Array, names: Mapping[str, str]) -> Values:
    import torch

    found = calculator.get_accuracy(torch.from_numpy(vectors), torch.from_numpy(labels))
    return {ours: float(found[theirs]) for ours, theirs in names.items()}


# Limits ------------------------------------------------------------------------------------------


def _products(vectors: Array, size: Size) -> Iterator[BenchRow]:
    """What the products of all pairs cost by themselves, which is the limit of a full search."""
    import torch

    rows = torch.from_numpy(vectors)

    def all_pairs() -> None:
        for start in range(0, len(rows), 2048):
            torch.mm(rows[start : start + 2048], rows.T)

    task = f"the products alone, {size.text}"
    seconds, _ = timed(all_pairs, repeats=size.repeats, warm=size.repeats > 1)
    rate = 2 * len(rows) ** 2 * size.d / seconds / 1e9
    yield BenchRow(task, "torch, all pairs in float32", seconds, note=f"{rate:,.0f} GFLOP/s")


def _on_gpu(vectors: Array, labels: Array, size: Size) -> Iterator[BenchRow]:
    """The same on a GPU, where there is one, as a share of what its products can do."""
    import torch

    if not torch.cuda.is_available():
        return
    square = torch.randn(8192, 8192, device="cuda")

    def product() -> None:
        torch.mm(square, square)
        torch.cuda.synchronize()

    peak = 2 * 8192**3 / timed(product)[0]
    seconds, _ = timed(lambda: evaluate(vectors, labels, FAR, device="cuda"), repeats=3)
    share = len(vectors) ** 2 * size.d / seconds / peak
    task = f"on {torch.cuda.get_device_name()}, {size.text}"
    yield BenchRow(task, "oodml", seconds, note=f"{100 * share:.0f} % of the peak of products")
