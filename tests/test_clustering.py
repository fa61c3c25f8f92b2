"""Clustering: scores equal to loops, k-means as good as its peers', lawful metrics, safe edges."""

from __future__ import annotations

import numpy as np
import oracles_structure as oracles
import pytest
from toys_structure import blobs, metric_of

from oodml.errors import DataError, UnknownNameError
from oodml.metrics.clustering import (
    CLUSTERING_METRICS,
    ami,
    cluster_scores,
    kmeans,
    nmi,
    pairwise_f1,
)
from oodml.metrics.lloyd import WAYS
from oodml.metrics.rows import unit_rows
from oodml.registry import Name

MEMBERS = [f"{key}{query}" for key in ("nmi", "ami", "f1") for query in ("", "?way=faiss&seeds=5")]
SCORES = {"nmi": (nmi, oracles.nmi), "ami": (ami, oracles.ami)}
SCORES["f1"] = (pairwise_f1, oracles.pairwise_f1)
every_metric = pytest.mark.parametrize("name", MEMBERS)
every_score = pytest.mark.parametrize("key", SCORES)
either_way = pytest.mark.parametrize("way", WAYS)
SEEDS = range(4)


def find(name):
    return metric_of(CLUSTERING_METRICS, name)


def values(name, vectors, groups):
    metric = find(name)
    vectors = np.asarray(vectors, np.float32)
    vectors.flags.writeable = False  # as a memory map comes in
    found = metric.value(metric.observe(vectors, np.asarray(groups)))
    assert found.dtype == np.float64
    assert (found >= metric.low).all()
    assert (found <= metric.high).all()
    return found


def clear_data(seed):
    """Blobs that no start of k-means++ misses; a sixth of the images bear the label of another."""
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.arange(96) % 6)
    vectors = np.eye(6)[groups] + 0.03 * rng.normal(size=(96, 6))
    other = rng.choice(96, size=16, replace=False)
    groups[other] = (groups[other] + rng.integers(1, 6, size=16)) % 6
    return vectors.astype(np.float32), groups


# Scores of given labels --------------------------------------------------------------------------


@every_score
@pytest.mark.parametrize("seed", range(12))
def test_scores_equal_the_oracle(key, seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 8))
    groups, clusters = rng.integers(4, size=n), rng.integers(3, size=n)
    ours, slow = SCORES[key]
    expected = slow(groups.tolist(), clusters.tolist())
    assert ours(groups, clusters) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("n", "k"), [(50, 5), (1000, 30), (3000, 800), (400, 399)])
def test_scores_equal_scikit_learn(n, k):
    from sklearn import metrics

    rng = np.random.default_rng(n)
    groups = rng.integers(k, size=n)
    clusters = np.where(rng.random(n) < 0.5, groups, rng.zipf(1.5, size=n) % k)
    expected = metrics.normalized_mutual_info_score(groups, clusters)
    assert nmi(groups, clusters) == pytest.approx(expected, abs=1e-12)
    expected = metrics.adjusted_mutual_info_score(groups, clusters)
    assert ami(groups, clusters) == pytest.approx(expected, abs=1e-10)  # of theirs: see below
    (_, wrong), (missed, both) = metrics.pair_confusion_matrix(groups, clusters).tolist()
    assert pairwise_f1(groups, clusters) == 2 * both / (2 * both + wrong + missed)


def test_the_expected_information_is_exact():
    """Against integers: of two even halves of 2m images, cell by cell, with exact fractions."""
    from fractions import Fraction
    from math import comb, log

    m = 500
    groups = np.arange(2 * m) % 2
    clusters = np.where(np.arange(2 * m) < 8, groups, (np.arange(2 * m) // 2) % 2)
    chances = [Fraction(comb(m, i) * comb(m, m - i), comb(2 * m, m)) for i in range(m + 1)]
    expected = 4 * sum(float(c) * i * log(2 * i / m) for i, c in enumerate(chances) if i) / (2 * m)
    most = log(2)
    found = (oracles.information(groups.tolist(), clusters.tolist()) - expected) / (most - expected)
    assert ami(groups, clusters) == pytest.approx(found, rel=1e-9)


@every_score
@pytest.mark.parametrize(
    ("groups", "clusters", "expected"),
    [
        ([0, 0, 0], [0, 0, 0], {"nmi": 1, "ami": 1, "f1": 1}),
        ([0, 1, 2], [2, 0, 1], {"nmi": 1, "ami": 1, "f1": 1}),  # no pair on either side
        ([0, 0, 1, 1], [5, 5, 3, 3], {"nmi": 1, "ami": 1, "f1": 1}),
        ([0, 0, 0], [0, 1, 2], {"nmi": 0, "ami": 0, "f1": 0}),
        ([0, 1, 2], [0, 0, 0], {"nmi": 0, "ami": 0, "f1": 0}),
        ([0, 0, 1, 1], [0, 1, 0, 1], {"nmi": 0, "ami": -0.5, "f1": 0}),
        ([0, 0, 1, 1], [0, 0, 0, 1], {"nmi": 0.3437110184854507, "ami": 0, "f1": 0.4}),
        ([0, 0, 1, 2], [0, 1, 2, 3], {"nmi": 6 / 7, "ami": 0, "f1": 0}),
    ],
)
def test_scores_of_small_partitions(key, groups, clusters, expected):
    found = SCORES[key][0](np.array(groups), np.array(clusters))
    assert type(found) is float
    assert found == pytest.approx(expected[key], abs=1e-12)


def test_large_tables_take_no_square_of_their_size():
    rng = np.random.default_rng(0)
    groups, clusters = rng.integers(11_316, size=60_502), rng.integers(11_316, size=60_502)
    assert nmi(groups, clusters) > 0.7  # small classes agree by chance
    assert abs(ami(groups, clusters)) < 0.01  # which this one takes away
    assert pairwise_f1(groups, clusters) < 0.01


# Laws that a metric declares ---------------------------------------------------------------------


def obeys_image_order(name, seed):
    vectors, groups = blobs(seed, 96, 6, 6, 1.0)  # mixed: starts matter
    order = np.random.default_rng(seed).permutation(96)
    moved = values(name, 3 * vectors[order], groups[order])
    np.testing.assert_allclose(moved, values(name, 3 * vectors, groups), rtol=1e-12)


def obeys_class_names(name, seed):
    vectors, groups = blobs(seed, 96, 6, 6, 1.0)
    renamed = np.random.default_rng(seed).permutation(6)[groups]
    found = values(name, vectors, renamed)
    np.testing.assert_allclose(found, values(name, vectors, groups), rtol=1e-12)


def obeys_rotation(name, seed):
    vectors, groups = clear_data(seed)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(6, 6)))[0]
    found = values(name, vectors @ turn, groups)
    np.testing.assert_allclose(found, values(name, vectors, groups), rtol=1e-12)
    assert (found < 0.9).all()


def obeys_row_scaling(name, seed):
    vectors, groups = clear_data(seed)
    scales = 10 ** np.random.default_rng(seed).uniform(-30, 30, size=(96, 1))
    found = values(name, vectors * scales, groups)
    np.testing.assert_allclose(found, values(name, vectors, groups), rtol=1e-12)


def obeys_perfect_is_high(name, seed):
    vectors, groups = blobs(seed, 200, 20, 16, 0.02)
    assert (values(name, vectors, groups) == find(name).high).all()
    shuffled = np.random.default_rng(seed).permutation(groups)
    assert (values(name, vectors, shuffled) < 0.6).all()


LAWS = {
    name.removeprefix("obeys_").replace("_", "-"): law
    for name, law in list(globals().items())
    if name.startswith("obeys_")
}


@every_metric
def test_every_metric_states_its_laws(name):
    assert {"image-order", "class-names"} <= find(name).laws <= LAWS.keys()


def test_every_member_has_an_example_and_every_law_a_metric():
    assert {Name.parse(name).key for name in MEMBERS} == CLUSTERING_METRICS.keys()
    assert set().union(*(find(name).laws for name in MEMBERS)) == LAWS.keys()


@every_metric
@pytest.mark.parametrize("seed", SEEDS)
def test_metrics_obey_their_laws(name, seed):
    for law in sorted(find(name).laws):
        LAWS[law](name, seed)


# The metrics -------------------------------------------------------------------------------------


@either_way
def test_scores_are_those_of_one_clustering_a_seed(way):
    vectors, groups = blobs(0, 150, 10, 8, 1.0)
    found = cluster_scores(5 * vectors, groups, seeds=4, way=way)
    for seed in range(4):
        clusters = kmeans(unit_rows(5 * vectors), 10, seed=seed, way=way)
        for key, (score, _) in SCORES.items():
            assert found[key][seed] == score(groups, clusters)
    assert {key: scores.shape for key, scores in found.items()} == dict.fromkeys(SCORES, (4,))
    assert found["nmi"].std() > 0


def test_metrics_share_their_clustering():
    for query in ("", "?way=faiss", "?seeds=5"):
        assert len({id(find(key + query).observe) for key in SCORES}) == 1
    assert find("nmi").observe is not find("nmi?seeds=5").observe
    vectors, groups = blobs(0, 60, 5, 8, 1.0)
    assert values("f1", vectors, groups).shape == (3,)
    assert values("f1?way=faiss&seeds=5", vectors, groups).shape == (5,)


@pytest.mark.parametrize(
    ("name", "spelt"),
    [
        ("nmi?way=k-means++&seeds=3", "nmi"),
        ("f1?seeds=5&way=faiss", "f1?way=faiss&seeds=5"),
        ("ami?seeds=1", "ami?seeds=1"),
    ],
)
def test_a_metric_has_one_name(name, spelt):
    assert find(name).name == spelt


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nmi@2", "'nmi@2' is no metric; expected nmi."),
        ("f1?way=lloyd", "way is 'lloyd'; expected one of"),
        ("ami?seeds=0", "seeds is 0; expected at least 1"),
        ("ami?seeds=x", "parameter seeds is 'x'; expected a int"),
        ("nmi?k=4", "it takes: seeds, way"),
    ],
)
def test_wrong_names_are_refused(name, message):
    with pytest.raises(UnknownNameError, match=message):
        find(name)


@every_metric
def test_one_class_and_single_images_tell_nothing(name):
    vectors, _ = blobs(0, 12, 3, 4, 1.0)
    for labels in (np.zeros(12, int), np.arange(12)):
        with pytest.raises(DataError, match=f"12 images in {labels.max() + 1} classes"):
            values(name, vectors, labels)


@every_metric
def test_all_equal_vectors_say_nothing(name):
    assert (values(name, np.ones((12, 3)), np.arange(12) % 3) < 0.5).all()


@every_metric
def test_zero_vectors_are_refused(name):
    vectors, groups = blobs(0, 12, 3, 4, 1.0)
    vectors[4] = 0
    with pytest.raises(DataError, match=r"1 of 12 vectors are zero.*\(rows 4\)"):
        values(name, vectors, groups)
