"""How fast the parts are, as ratios in one run."""

from oodml.bench.curves import bench_curves
from oodml.bench.embed import bench_embed
from oodml.bench.large import bench_large
from oodml.bench.reading import bench_reading
from oodml.bench.retrieval import bench_retrieval
from oodml.bench.splits import bench_splits
from oodml.bench.timing import BenchRow
from oodml.bench.train import bench_train

__all__ = [
    "BenchRow",
    "bench_curves",
    "bench_embed",
    "bench_large",
    "bench_reading",
    "bench_retrieval",
    "bench_splits",
    "bench_train",
]
