"""Ranks are counted as far as the metrics reach: less work, the same scores to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from retrieval_data import clustered

import oodml.metrics.ranks
from oodml.metrics import evaluate, find_metric, rank_positives, rank_stream
from oodml.metrics.evaluation import score_vectors
from oodml.metrics.tiles import Tally

METRICS = (
    *("recall@1", "recall@8", "precision@5", "r-precision", "mrr"),
    *("map@r", "map@3", "map@20", "official-map@c", "official-map@12"),
)


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many tiles, so that most values are settled before the last one; small blocks of ranks."""
    monkeypatch.setattr(oodml.metrics.ranks, "EDGE", 24)
    monkeypatch.setattr(oodml.metrics.ranks, "_BLOCK", 500)


@pytest.fixture
def data():
    return clustered(40, 12, 6)


@pytest.mark.parametrize("engine", ["torch", "numba"])
@pytest.mark.parametrize("metric", [*METRICS, "map", METRICS])
@pytest.mark.parametrize("masked", [False, True])
def test_scores_are_those_of_all_ranks(data, metric, engine, masked):
    if engine == "numba":
        pytest.importorskip("numba")
    vectors, labels = data
    names = [metric] if isinstance(metric, str) else list(metric)
    masks = {}
    if masked:
        drawn = np.random.default_rng(0).random((2, len(labels))) < 0.7
        masks = {"queries": drawn[0], "gallery": drawn[1]}
    whole = rank_positives(vectors, labels, **masks)
    scores = score_vectors(vectors, labels, names, engine=engine, **masks)
    assert scores.tied == whole.tied.sum()
    np.testing.assert_array_equal(scores.queries, whole.queries)
    for name in names:
        expected = find_metric(name).per_query(whole)
        np.testing.assert_array_equal(scores.per_query[name], expected, err_msg=name)
        assert 0.02 < expected.mean() < 0.99, "a test on easy or hopeless data would say nothing"


def test_ranks_within_reach_and_the_best_are_exact(data):
    vectors, labels = data
    whole = rank_positives(vectors, labels)
    blocks = list(rank_stream(vectors, labels, reach=lambda r, _: r // 2))
    assert len(blocks) > 5
    found = np.concatenate([block.ranks for block in blocks])
    limits = np.repeat(whole.positives // 2, whole.positives)
    limits[whole.starts[:-1]] = 10**9
    others = np.repeat(whole.gallery, whole.positives)
    np.testing.assert_array_equal(found, np.where(whole.ranks > limits, others, whole.ranks))
    assert (whole.ranks > limits).mean() > 0.5


def test_most_values_are_counted_in_few_tiles(data, monkeypatch):
    counted = []
    add = Tally._close

    def close(self, choice):
        counted.append(int(choice.starts[-1]))
        add(self, choice)

    monkeypatch.setattr(Tally, "_close", close)
    vectors, labels = data
    evaluate(vectors, labels, "recall@1")
    assert counted[0] > 3 * counted[-1]
    assert counted[-1] >= 2 * 24 * 0.5


def test_counts_that_fit_though_ranks_do_not_are_made_block_by_block(data, monkeypatch):
    vectors, labels = data
    positives = len(labels) * 11
    budget = positives * 16 / 2**20  # of 8 bytes each, not of 32
    monkeypatch.setattr(oodml.metrics.ranks.wide, "compare", None)  # whole rows
    blocks = list(rank_stream(vectors, labels, budget_mb=budget))
    assert len(blocks) > 5
    np.testing.assert_array_equal(
        np.concatenate([block.ranks for block in blocks]), rank_positives(vectors, labels).ranks
    )
