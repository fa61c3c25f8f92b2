"""Scores of all embeddings together, and what they are without some of the classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oodml.errors import DataError
from oodml.metrics.pool import check_images
from oodml.metrics.structure import SetMetric

Values = NDArray[np.float64]
GROUPS = 20


def score_set(
    vectors: ArrayLike, labels: ArrayLike, metrics: Mapping[str, SetMetric[Any]]
) -> dict[str, Values]:
    """The values (s,) of each metric under its s seeds; metrics share what they observe."""
    if not metrics:
        return {}
    given, tags = check_images(vectors, labels)
    groups = np.unique(tags, return_inverse=True)[1]
    observed = {m.observe: m.observe(given, groups) for m in metrics.values()}
    return {name: metric.value(observed[metric.observe]) for name, metric in metrics.items()}


def leave_groups_out(
    vectors: ArrayLike,
    labels: ArrayLike,
    metrics: Mapping[str, SetMetric[Any]],
    group_of: Mapping[Any, int],
) -> dict[str, Values]:
    """The jackknife replicates (g,) of each metric: its value without each group of classes.

    `group_of` gives the group of every label, 0 to g - 1. Without a group that has no class here,
    it is what it is; NaN where it is not defined of the classes that are left.
    """
    given, tags = check_images(vectors, labels)
    names, where = np.unique(tags, return_inverse=True)
    group = np.array([group_of[name] for name in names.tolist()])[where]
    count = max(group_of.values()) + 1
    whole = score_set(given, tags, metrics)
    found = {name: np.full(count, row.mean()) for name, row in whole.items()}
    for left_out in np.unique(group) if metrics else []:
        kept = group != left_out
        for name, row in _defined(given[kept], tags[kept], metrics).items():
            found[name][left_out] = row.mean()
    return found


def _defined(
    vectors: NDArray[Any], labels: NDArray[Any], metrics: Mapping[str, SetMetric[Any]]
) -> dict[str, Values]:
    """The values of each metric; NaN for one that is not defined of these images."""
    try:
        return score_set(vectors, labels, metrics)
    except DataError:
        if len(metrics) == 1:
            return {name: np.array([np.nan]) for name in metrics}
    parts = [_defined(vectors, labels, {name: metric}) for name, metric in metrics.items()]
    return {name: row for part in parts for name, row in part.items()}


def class_groups(classes: tuple[str, ...], *, groups: int = GROUPS) -> dict[str, int]:
    """A group for each class, in a seeded order of the names: as even as can be.

    At most one group a class.
    """
    order = np.random.default_rng(0).permutation(len(classes))
    names = sorted(classes)
    return {names[at]: place % min(groups, len(names)) for place, at in enumerate(order.tolist())}
