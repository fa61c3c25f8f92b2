"""Retrieval metrics, exact: the ranks of the positives, and all that follows from them."""

from oodml.metrics.ranks import Ranks as Ranks
from oodml.metrics.ranks import rank_positives as rank_positives
from oodml.metrics.retrieval import DEFAULT_METRICS as DEFAULT_METRICS
from oodml.metrics.retrieval import METRIC_VERSION as METRIC_VERSION
from oodml.metrics.retrieval import METRICS as METRICS
from oodml.metrics.retrieval import Metric as Metric
from oodml.metrics.retrieval import evaluate as evaluate
from oodml.metrics.retrieval import find_metric as find_metric
from oodml.metrics.retrieval import sum_by_class as sum_by_class

__all__ = [
    "DEFAULT_METRICS",
    "METRICS",
    "METRIC_VERSION",
    "Metric",
    "Ranks",
    "evaluate",
    "find_metric",
    "rank_positives",
    "sum_by_class",
]
