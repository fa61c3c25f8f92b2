"""`METRICS`: every metric by name."""

from __future__ import annotations

from collections.abc import Callable

from oodml.errors import UnknownNameError
from oodml.metrics.retrieval import (
    RankMetric,
    map_at,
    mrr,
    official_map_at,
    precision_at,
    r_precision,
    recall_at,
)
from oodml.registry import Name, Registry

METRIC_VERSION = 2  # part of every run's identity: raise it when any value could change
DEFAULT_METRICS = ("recall@1", "recall@2", "recall@4", "recall@8", "map@r")

METRICS: Registry[Callable[[str], RankMetric]] = Registry(
    "metrics",
    {
        "recall": recall_at,
        "precision": precision_at,
        "r-precision": r_precision,
        "map": map_at,
        "mrr": mrr,
        "official-map": official_map_at,
    },
)


def find_metric(name: str) -> RankMetric:
    """The metric of a name, such as `recall@k` for any k of at least 1, or `map@r`.

    >>> find_metric("recall@4").name
    'recall@4'
    """
    parsed = Name.parse(name)
    parsed.resolve({})
    metric = METRICS[parsed.key](parsed.argument)
    if metric.name != name:  # one metric, one spelling: names are keys of tables and files
        raise UnknownNameError(f"{name!r} is no metric; write {metric.name!r}.")
    return metric
