"""How fast the parts are, as ratios in one run."""

from oodml.bench.splits import bench_splits
from oodml.bench.timing import BenchRow

__all__ = ["BenchRow", "bench_splits"]
