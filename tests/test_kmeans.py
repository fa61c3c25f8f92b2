"""k-means: a step equals loops, results are as good as its peers', edges are safe."""

from __future__ import annotations

from collections import Counter

import numpy as np
import oracles_structure as oracles
import pytest
from toys_structure import blobs

from oodml.metrics import lloyd as module
from oodml.metrics.clustering import kmeans, nmi
from oodml.metrics.lloyd import WAYS

either_way = pytest.mark.parametrize("way", WAYS)
SEEDS = range(4)


def inertia(rows, clusters):
    rows = rows.astype(np.float64)
    sizes = np.bincount(clusters)
    centres = np.zeros((len(sizes), rows.shape[1]))
    np.add.at(centres, clusters, rows)
    return float(((rows - (centres / np.maximum(sizes, 1)[:, None])[clusters]) ** 2).sum())


@pytest.mark.parametrize("seed", SEEDS)
def test_no_row_is_nearer_to_another_mean(seed):
    rows, _ = blobs(seed, 60, 5, 4, 0.8)
    clusters = kmeans(rows, 5, seed=seed).tolist()
    centres = oracles.centres_of(rows.tolist(), clusters)
    assert len(centres) == 5
    for row, own in zip(rows.tolist(), clusters, strict=True):
        distances = {at: oracles.squared_distance(row, centre) for at, centre in centres.items()}
        assert distances[own] <= min(distances.values()) + 1e-6


@either_way
def test_one_iteration_equals_the_oracle(way, monkeypatch):
    """What one step of means and assignments makes of the assignment to the starts."""
    rows, _ = blobs(7, 50, 4, 3, 1.0)
    name = "MOST_ITERATIONS" if way == "k-means++" else "FAISS_ITERATIONS"
    monkeypatch.setattr(module, name, 0)
    before = kmeans(rows, 4, seed=0, way=way).tolist()
    monkeypatch.setattr(module, name, 1)
    centres = oracles.centres_of(rows.tolist(), before)
    expected = [
        min(centres, key=lambda at, row=row: oracles.squared_distance(row, centres[at]))
        for row in rows.tolist()
    ]
    assert expected != before
    assert kmeans(rows, 4, seed=0, way=way).tolist() == expected


def test_rows_whose_centre_stayed_are_compared_with_those_that_moved(monkeypatch):
    rows, _ = blobs(2, 3000, 60, 16, 0.9)
    partial = kmeans(rows, 60, seed=1)
    calls = []
    nearest = module._nearest

    def counted(points, centres, picked=None):
        calls.append(len(points) if picked is None else len(picked))
        return nearest(points, centres, picked)

    monkeypatch.setattr(module, "_nearest", counted)
    assert (kmeans(rows, 60, seed=1) == partial).all()
    assert min(calls) < 300 < max(calls)
    monkeypatch.setattr(module, "_reassign", lambda points, centres, *_: nearest(points, centres))
    assert (kmeans(rows, 60, seed=1) == partial).all()


def test_starts_are_drawn_by_squared_distance(monkeypatch):
    """Pairs of starts among five rows, with one candidate each, against their exact chances."""
    rows = np.array([[0.0], [1.0], [1.5], [3.0], [7.0]], np.float32)
    monkeypatch.setattr(module.math, "log", lambda _: -1.0)  # one trial
    points = module._tensor(rows)
    draws = 6_000
    rng = np.random.default_rng(0)
    counts = Counter(tuple(module._draw_starts(points, 3, rng).tolist()) for _ in range(draws))
    squares = (rows - rows.T).astype(np.float64) ** 2
    for first in range(5):
        chances = squares[first] / squares[first].sum()
        for second in set(range(5)) - {first}:
            near = np.minimum(squares[first], squares[second])
            for third in set(range(5)) - {first, second}:
                p = chances[second] * near[third] / near.sum() / 5
                found = counts[first, second, third] / draws
                assert abs(found - p) < 5 * np.sqrt(p / draws) + 2 / draws


@pytest.mark.parametrize(("n", "k", "d", "noise"), [(1500, 40, 16, 0.7), (1500, 40, 16, 2.0)])
def test_inertia_is_that_of_scikit_learn(n, k, d, noise):
    from sklearn.cluster import KMeans

    rows, _ = blobs(0, n, k, d, noise)
    ours = [inertia(rows, kmeans(rows, k, seed=seed)) for seed in range(5)]
    theirs = [
        KMeans(k, init="k-means++", n_init=1, random_state=seed).fit(rows).inertia_
        for seed in range(5)
    ]
    assert np.mean(ours) == pytest.approx(np.mean(theirs), rel=0.03)


@pytest.mark.parametrize(
    ("n", "k", "d", "noise"),
    [(1500, 40, 16, 0.7), (1500, 40, 16, 2.0), (4000, 10, 8, 1.0)],
    ids=["clear", "mixed", "sampled"],
)
def test_inertia_is_that_of_faiss(n, k, d, noise):
    faiss = pytest.importorskip("faiss")
    rows, groups = blobs(0, n, k, d, noise)
    ours, theirs = [], []
    for seed in range(20):
        clusters = kmeans(rows, k, seed=seed, way="faiss")
        ours.append((inertia(rows, clusters), nmi(groups, clusters)))
        peer = faiss.Kmeans(d, k, niter=20, seed=7 + 1000 * seed, min_points_per_centroid=1)
        peer.train(rows)
        clusters = peer.index.search(rows, 1)[1].ravel()
        theirs.append((inertia(rows, clusters), nmi(groups, clusters)))
    error = np.hypot(np.std(ours, axis=0), np.std(theirs, axis=0)) / np.sqrt(20)
    gap = np.abs(np.mean(ours, axis=0) - np.mean(theirs, axis=0))
    assert (gap < 4 * error).all()
    assert (gap < 0.05 * np.mean(theirs, axis=0)).all()


@either_way
def test_a_seed_gives_the_same_clusters_and_others_others(way):
    rows, _ = blobs(1, 400, 20, 8, 1.5)
    first = kmeans(rows, 20, seed=3, way=way)
    assert first.dtype == np.int64
    assert (kmeans(rows, 20, seed=3, way=way) == first).all()
    assert (kmeans(rows, 20, seed=4, way=way) != first).any()


@either_way
def test_the_order_of_rows_has_no_effect(way):
    rows, _ = blobs(1, 400, 20, 8, 1.5)
    order = np.random.default_rng(0).permutation(400)
    moved = kmeans(rows[order], 20, seed=3, way=way)
    assert (moved == kmeans(rows, 20, seed=3, way=way)[order]).all()


@either_way
def test_blocks_have_no_effect(way, monkeypatch):
    rows, groups = blobs(1, 700, 20, 8, 0.2)
    whole = kmeans(rows, 20, seed=3, way=way)
    monkeypatch.setattr(module, "BLOCK_BYTES", 1)  # 64 rows, few candidates
    assert nmi(kmeans(rows, 20, seed=3, way=way), groups) == pytest.approx(
        nmi(whole, groups), abs=0 if way == "faiss" else 0.05
    )


@either_way
def test_a_training_loop_of_half_precision_has_no_effect(way):
    import torch

    rows, _ = blobs(1, 400, 20, 8, 1.5)
    plain = kmeans(rows, 20, seed=3, way=way)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (kmeans(rows, 20, seed=3, way=way) == plain).all()


# Edges of k-means --------------------------------------------------------------------------------


@either_way
def test_one_cluster(way):
    rows, _ = blobs(0, 30, 3, 4, 1.0)
    assert (kmeans(rows, 1, seed=0, way=way) == 0).all()


@either_way
def test_as_many_clusters_as_rows(way):
    rows, _ = blobs(0, 30, 3, 4, 1.0)
    assert sorted(kmeans(rows, 30, seed=0, way=way)) == list(range(30))


@either_way
@pytest.mark.parametrize("k", [5, 6, 20])
def test_fewer_distinct_rows_than_clusters(way, k):
    rows = np.eye(5, dtype=np.float32)[np.random.default_rng(0).permutation(np.arange(40) % 5)]
    rows[rows == 0] = [0.0, -0.0] * 80  # equal, though their bytes differ
    clusters = kmeans(rows, k, seed=0, way=way)
    assert nmi(clusters, rows.argmax(axis=1)) == 1
    assert clusters.max() == 4


@either_way
def test_hardly_distinct_rows(way):
    """More distinct rows than clusters, but float32 products cannot tell most of them apart."""
    rng = np.random.default_rng(0)
    rows = np.eye(3, dtype=np.float32)[np.arange(60) % 3]
    rows += 1e-7 * rng.random(rows.shape, np.float32)
    clusters = kmeans(rows, 12, seed=0, way=way)
    assert clusters.min() >= 0
    assert clusters.max() < 12
    assert inertia(rows, clusters) < (1e-9 if way == "k-means++" else 40)


def test_a_collapsed_set_keeps_its_structure():
    rows, groups = blobs(0, 200, 5, 8, 0.05)
    collapsed = np.float32(1) + np.float32(1e-4) * rows
    assert nmi(kmeans(collapsed, 5, seed=0), groups) == 1


def test_clusters_that_lose_their_rows_start_anew(monkeypatch):
    rows, _ = blobs(0, 300, 12, 6, 0.05)
    same = np.zeros(12, np.int64)  # all starts on one row: eleven of them get no row at first
    monkeypatch.setattr(module, "_draw_starts", lambda *_: same)
    clusters = kmeans(rows, 12, seed=0)
    assert len({*clusters.tolist()}) == 12
    assert inertia(rows, clusters) < 0.5 * inertia(rows, np.zeros(300, np.int64))


def test_faiss_halves_large_clusters():
    import torch

    centres = torch.ones(4, 3)
    sizes = np.array([0, 1, 9, 0])
    points = torch.zeros(10, 3)
    module._fill_by_halving(points, centres, sizes, None, rng=np.random.default_rng(0))
    moved = np.round((centres.numpy() - 1) * 1024, 2)
    assert (moved[1] == 0).all()  # a cluster of one is never halved
    # The second half is of the large cluster or of the first half, whichever was drawn.
    up, down, none = [1, -1, 1], [-1, 1, -1], [0, 0, 0]
    halves = sorted(moved[[0, 2, 3]].tolist())
    assert halves in (sorted([up, [-2, 2, -2], none]), sorted([down, [2, -2, 2], none]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k is 0; expected 1 to 30"),
        ({"k": 31}, "k is 31; expected 1 to 30"),
        ({"k": 3, "way": "lloyd"}, "expected one of"),
    ],
)
def test_wrong_calls_of_kmeans_are_refused(options, message):
    rows, _ = blobs(0, 30, 3, 4, 1.0)
    with pytest.raises(ValueError, match=message):
        kmeans(rows, **{"seed": 0, **options})
