"""How fast the parts are, as ratios in one run."""

from oodml.bench.splits import PUBLISHED, QUICK, bench_splits
from oodml.bench.timing import BenchRow

__all__ = ["PUBLISHED", "QUICK", "BenchRow", "bench_splits"]
