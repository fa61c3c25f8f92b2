"""How fast the parts are, as ratios in one run."""

from oodml.bench.curves import bench_curves
from oodml.bench.reading import bench_reading
from oodml.bench.retrieval import bench_retrieval
from oodml.bench.splits import bench_splits
from oodml.bench.timing import BenchRow

__all__ = ["BenchRow", "bench_curves", "bench_reading", "bench_retrieval", "bench_splits"]
