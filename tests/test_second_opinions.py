"""faiss and pytorch-metric-learning beside our metrics (extra `peers`), and where they differ."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from retrieval_data import clear_data, clustered

from oodml.metrics import evaluate

NAMES = {
    "recall@1": "precision_at_1",
    "map@r": "mean_average_precision_at_r",
    "r-precision": "r_precision",
    "map": "mean_average_precision",
    "mrr": "mean_reciprocal_rank",
}


def calculated(vectors, labels, names=NAMES):
    """The same metrics by AccuracyCalculator, of unit vectors."""
    module = pytest.importorskip("pytorch_metric_learning.utils.accuracy_calculator")
    units = torch.nn.functional.normalize(torch.from_numpy(np.asarray(vectors, np.float32)))
    calculator = module.AccuracyCalculator(include=tuple(names.values()))
    found = calculator.get_accuracy(units, torch.from_numpy(labels))
    return {ours: float(found[theirs]) for ours, theirs in names.items()}


def test_metrics_equal_those_of_pytorch_metric_learning():
    vectors, labels = clustered(40, 7, 16)
    assert evaluate(vectors, labels, list(NAMES)) == pytest.approx(calculated(vectors, labels))


def test_both_leave_out_queries_without_another_image_of_their_class():
    vectors, labels = clear_data(0)
    assert (np.bincount(labels) == 1).sum() == 2
    assert evaluate(vectors, labels, list(NAMES)) == pytest.approx(calculated(vectors, labels))


def test_they_differ_on_ties():
    """Vectors that are all equal: theirs find whoever is listed first, ours find nobody."""
    labels = np.repeat(np.arange(5), 4)
    vectors = np.ones((20, 3))
    names = {"recall@1": "precision_at_1"}
    assert evaluate(vectors, labels, ["recall@1"])["recall@1"] == 0
    assert calculated(vectors, labels, names)["recall@1"] > 0


def test_neighbours_of_faiss_with_a_duplicate():
    """Dropping the first neighbour, as is common, drops a duplicate instead of the query."""
    faiss = pytest.importorskip("faiss")
    vectors = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 2]]
    labels = np.array([0, 1, 2, 2, 0])
    index = faiss.IndexFlatIP(3)
    index.add(vectors)
    nearest = index.search(vectors, 2)[1]
    by_column = (labels[nearest[:, 1]] == labels)[:2]
    # Image 1 has image 0 for its neighbour; the column says it is image 1 itself, of its class.
    assert by_column.any()
    found = evaluate(vectors, labels, ["recall@1"])["recall@1"]
    assert found == pytest.approx(2 / 4)
