"""recall@k|m: equal to trying all subsets of classes, and what it is good for."""

from __future__ import annotations

import itertools

import numpy as np
import oracles
import pytest
from retrieval_data import clear_data, clustered, tied_data

from oodml.errors import DataError
from oodml.metrics import evaluate, find_metric, rank_positives


@pytest.mark.parametrize("make", [clear_data, tied_data])
@pytest.mark.parametrize("k", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("m", [1, 2, 4, 7, 8])
def test_value_is_the_mean_over_all_subsets(make, k, m):
    vectors, labels = make(0)
    ranks = rank_positives(vectors, labels, depth=k)
    values = find_metric(f"recall@{k}|{m}").per_query(ranks)
    for query, found in zip(ranks.queries, values, strict=True):
        ahead = oracles.classes_ahead(vectors.tolist(), labels, query)
        assert found == pytest.approx(oracles.recall_among(ahead, k, m), abs=1e-10)


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("m", [1, 2, 3, 4])
@pytest.mark.parametrize("sizes", [(2, 2, 2, 2), (3, 3, 3, 3)])
def test_chance_is_exact_for_classes_of_one_size(k, m, sizes):
    labels = np.repeat(range(len(sizes)), sizes)
    ranks = rank_positives(np.random.default_rng(0).normal(size=(len(labels), 3)), labels, depth=k)
    positives = sizes[0] - 1
    others = positives + (m - 1) * sizes[0]
    score = oracles.expected(lambda places: oracles.recall_at(places, k), positives, others)
    assert find_metric(f"recall@{k}|{m}").chance(ranks) == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize("m", [1, 3, 5])
@pytest.mark.parametrize("sizes", [(2, 3, 4, 6, 9), (2, 2, 2, 20, 20), (30, 3, 3, 3, 30)])
def test_chance_of_uneven_classes_is_near_the_mean_over_all_subsets(sizes, m):
    labels = np.repeat(range(len(sizes)), sizes)
    ranks = rank_positives(np.random.default_rng(0).normal(size=(len(labels), 3)), labels, depth=1)
    expected = []
    for own, size in enumerate(sizes):
        rest = sizes[:own] + sizes[own + 1 :]
        totals = [size - 1 + sum(chosen) for chosen in itertools.combinations(rest, m - 1)]
        expected += [np.mean([(size - 1) / total for total in totals])] * size
    # 1,000 drawn subsets; exact where there is only one.
    tolerance = 1e-12 if m in (1, 5) else 0.03
    found = find_metric(f"recall@1|{m}").chance(ranks)
    assert found == pytest.approx(np.mean(expected), rel=tolerance)


def test_galleries_of_different_size_become_comparable():
    """The same classes, all or a third of them: recall@1 differs, recall@1|m does not."""
    vectors, labels = clustered(60, 6, 12, noise=1.6)
    chosen = [labels < 20, (labels >= 20) & (labels < 40), labels >= 40]
    thirds = [evaluate(vectors[c], labels[c], ["recall@1", "recall@1|20"]) for c in chosen]
    whole = evaluate(vectors, labels, ["recall@1", "recall@1|20"])
    assert all(third["recall@1"] == pytest.approx(third["recall@1|20"]) for third in thirds)
    mean = np.mean([third["recall@1"] for third in thirds])
    assert mean - whole["recall@1"] > 0.1
    assert mean == pytest.approx(whole["recall@1|20"], abs=0.03)


def test_queries_that_are_not_in_the_gallery():
    """A class has one image less to be drawn with than where the query stands among them."""
    labels = np.repeat(range(4), 3)
    asks = np.tile([True, False, False], 4)
    vectors = np.random.default_rng(0).normal(size=(12, 3))
    ranks = rank_positives(vectors, labels, queries=asks, gallery=~asks, depth=1)
    metric = find_metric("recall@1|2")
    assert metric.chance(ranks) == pytest.approx(2 / 4)
    for query, found in zip(ranks.queries, metric.per_query(ranks), strict=True):
        ahead = oracles.classes_ahead(vectors.tolist(), labels, query, ~asks)
        assert found == pytest.approx(oracles.recall_among(ahead, 1, 2))


@pytest.mark.slow
def test_many_classes_stay_exact():
    """Binomials of thousands of classes do not overflow: k = 64 of 1,500 classes."""
    vectors, labels = clustered(1500, 2, 16)
    found = evaluate(vectors, labels, ["recall@64", "recall@64|1500", "recall@64|100"])
    assert found["recall@64|1500"] == pytest.approx(found["recall@64"], abs=1e-9)
    assert found["recall@64"] < found["recall@64|100"] <= 1


def test_more_classes_than_there_are():
    with pytest.raises(DataError, match="a gallery of 9 classes, but there are only 8"):
        evaluate(*clear_data(0), ["recall@1|9"])


def test_ranks_without_the_classes():
    with pytest.raises(ValueError, match="ask for depth=3"):
        find_metric("recall@3|2").per_query(rank_positives(*clear_data(0), depth=2))
