"""`METRICS`: every metric by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from oodml.errors import UnknownNameError
from oodml.metrics.clustering import CLUSTERING_METRICS
from oodml.metrics.geometry import GEOMETRY_METRICS
from oodml.metrics.retrieval import (
    RankMetric,
    map_at,
    mrr,
    official_map_at,
    precision_at,
    r_precision,
    recall_at,
)
from oodml.metrics.structure import SetMetric, parameters_of
from oodml.registry import Name, Registry

METRIC_VERSION = 2  # part of every run's identity: raise it when any value could change
DEFAULT_METRICS = ("recall@1", "recall@2", "recall@4", "recall@8", "map@r")

Metric = RankMetric | SetMetric[Any]
METRICS: Registry[Callable[..., Metric]] = Registry(
    "metrics",
    {
        "recall": recall_at,
        "precision": precision_at,
        "r-precision": r_precision,
        "map": map_at,
        "mrr": mrr,
        "official-map": official_map_at,
        **CLUSTERING_METRICS,
        **GEOMETRY_METRICS,
    },
)


def find_metric(name: str) -> Metric:
    """The metric of a name, such as `recall@k` for any k of at least 1, `map@r`, `nmi?seeds=5`.

    >>> find_metric("recall@4").name
    'recall@4'
    """
    parsed = Name.parse(name)
    factory = METRICS[parsed.key]
    metric = factory(parsed.argument, **parsed.resolve(parameters_of(factory)))
    if metric.name != name:  # one metric, one spelling: names are keys of tables and files
        raise UnknownNameError(f"{name!r} is no metric; write {metric.name!r}.")
    return metric


def by_kind(metrics: Iterable[str]) -> tuple[dict[str, RankMetric], dict[str, SetMetric[Any]]]:
    """The metrics of those names: means over queries, and scores of a whole set."""
    found = {name: find_metric(name) for name in metrics}
    ranked = {name: metric for name, metric in found.items() if isinstance(metric, RankMetric)}
    return ranked, {name: m for name, m in found.items() if isinstance(m, SetMetric)}
