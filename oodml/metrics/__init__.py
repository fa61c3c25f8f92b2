"""Metrics, exact: the ranks of the positives, and all that follows from them."""

from oodml.metrics.evaluation import Scores as Scores
from oodml.metrics.evaluation import evaluate as evaluate
from oodml.metrics.evaluation import score_vectors as score_vectors
from oodml.metrics.evaluation import sum_by_class as sum_by_class
from oodml.metrics.ranks import PartialRanks as PartialRanks
from oodml.metrics.ranks import Ranks as Ranks
from oodml.metrics.ranks import rank_positives as rank_positives
from oodml.metrics.ranks import rank_shard as rank_shard
from oodml.metrics.ranks import rank_stream as rank_stream
from oodml.metrics.registry import DEFAULT_METRICS as DEFAULT_METRICS
from oodml.metrics.registry import METRIC_VERSION as METRIC_VERSION
from oodml.metrics.registry import METRICS as METRICS
from oodml.metrics.registry import by_kind as by_kind
from oodml.metrics.registry import find_metric as find_metric
from oodml.metrics.retrieval import RankMetric as RankMetric
from oodml.metrics.sets import class_groups as class_groups
from oodml.metrics.sets import leave_groups_out as leave_groups_out
from oodml.metrics.sets import score_set as score_set
from oodml.metrics.structure import SetMetric as SetMetric

__all__ = [
    "DEFAULT_METRICS",
    "METRICS",
    "METRIC_VERSION",
    "PartialRanks",
    "RankMetric",
    "Ranks",
    "Scores",
    "SetMetric",
    "by_kind",
    "class_groups",
    "evaluate",
    "find_metric",
    "leave_groups_out",
    "rank_positives",
    "rank_shard",
    "rank_stream",
    "score_set",
    "score_vectors",
    "sum_by_class",
]
