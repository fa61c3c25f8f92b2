"""The ranks of the positives: equal to the oracle however they are computed, safe at edges."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from importlib import import_module
from itertools import zip_longest

import numpy as np
import oracles
import pytest
import torch
from retrieval_data import clear_data, clustered, tied_data, uneven_labels

import oodml.metrics.ranks
from oodml.errors import DataError, UnknownNameError
from oodml.metrics import Ranks, evaluate, rank_positives, rank_shard, rank_stream
from oodml.metrics.pool import SIMILARITIES

SEEDS = range(6)
NUMBA = importlib.util.find_spec("numba") is not None
needs_numba = pytest.mark.skipif(not NUMBA, reason="numba (extra fast) is not installed")
FIELDS = ("ranks", "starts", "labels", "queries", "gallery", "tied", "class_sizes")

# Every way through the code: tiles of several sizes, counted by either engine, and whole rows.
WAYS = {
    "one tile": {},
    "small tiles": {"EDGE": 5},
    "whole rows": {"MANY_POSITIVES": -1},
    "whole rows, one by one": {"MANY_POSITIVES": -1, "budget_mb": 1e-4},
    "numba": {"EDGE": 5, "engine": "numba"},
}


@pytest.fixture(params=WAYS)
def rank(request, monkeypatch):
    """`rank_positives` in one of the ways."""
    way = dict(WAYS[request.param])
    if way.get("engine") == "numba" and not NUMBA:
        pytest.skip("numba (extra fast) is not installed")
    for name in ("EDGE", "MANY_POSITIVES"):
        if name in way:
            monkeypatch.setattr(oodml.metrics.ranks, name, way.pop(name))
    return lambda *args, **options: rank_positives(*args, **{**way, **options})


def rows_of(ranks):
    """The ranks of each query, by its row in the input."""
    bounds = zip(ranks.starts[:-1], ranks.starts[1:], strict=True)
    lists = [ranks.ranks[start:stop].tolist() for start, stop in bounds]
    return dict(zip(ranks.queries.tolist(), lists, strict=True))


def assert_same(one, other):
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field), err_msg=field)
    assert one.excluded == other.excluded


# Equal to the oracle -----------------------------------------------------------------------------


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("make", [clear_data, tied_data])
@pytest.mark.parametrize("seed", SEEDS)
def test_ranks_equal_the_oracle(rank, make, seed, similarity):
    vectors, labels = make(seed)
    found = rank(vectors, labels, similarity=similarity)
    scored = [i for i in np.argsort(labels, kind="stable") if (labels == labels[i]).sum() > 1]
    assert found.queries.tolist() == scored
    assert found.labels.tolist() == labels[scored].tolist()
    rows = vectors.tolist()
    assert rows_of(found) == {i: oracles.ranks_of(rows, labels, i, similarity) for i in scored}
    assert found.tied.tolist() == [oracles.is_tied(rows, labels, i, similarity) for i in scored]
    assert found.excluded == 2
    assert found.gallery.tolist() == [len(labels) - 1] * len(scored)
    assert found.class_sizes.tolist() == [1, 1, 2, 3, 4, 5, 7, 9]


def test_there_are_ties_and_clear_cases():
    assert rank_positives(*tied_data(0)).tied.any()
    assert not rank_positives(*clear_data(0)).tied.any()


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("seed", SEEDS)
def test_queries_and_gallery_equal_the_oracle(rank, seed, similarity):
    """Some images only ask, some are only found, some do both, some neither."""
    vectors, labels = clear_data(seed)
    role = np.random.default_rng(seed).integers(4, size=len(labels))
    asks, in_gallery = role % 2 == 0, role < 2
    found = rank(vectors, labels, queries=asks, gallery=in_gallery, similarity=similarity)
    used = asks | in_gallery
    # Whoever takes no part does not even move the centre of the Euclidean distances.
    rows, tags, gallery = vectors[used].tolist(), labels[used], in_gallery[used]
    expected, gallery_sizes = {}, {}
    for place, row in enumerate(np.flatnonzero(used)):
        others = oracles.others_of(rows, tags, place, similarity, gallery)
        if asks[row] and any(label == labels[row] for *_, label in others):
            expected[row] = oracles.ranks_of(rows, tags, place, similarity, gallery)
            gallery_sizes[row] = len(others)
    assert rows_of(found) == expected
    assert dict(zip(found.queries.tolist(), found.gallery.tolist(), strict=True)) == gallery_sizes
    assert found.excluded == asks.sum() - len(expected)


def test_in_shop_queries_never_find_each_other():
    vectors = np.eye(3)[[0, 0, 1, 1, 0]]
    labels = ["a", "a", "b", "b", "c"]
    asks = np.array([True, True, False, False, False])
    with pytest.raises(DataError, match="None of the 1 classes has two images"):
        rank_positives(vectors, labels, queries=asks, gallery=~asks)
    found = rank_positives(vectors, ["a", "b", "a", "b", "c"], queries=asks, gallery=~asks)
    assert rows_of(found) == {0: [3], 1: [3]}
    assert found.gallery.tolist() == [3, 3]


def test_distractors_only_stand_in_the_way():
    vectors, labels = clear_data(0)
    strangers = np.random.default_rng(1).normal(size=(40, 5))
    asks = np.arange(len(labels) + 40) < len(labels)
    tags = np.concatenate([labels, np.full(40, 99)])
    alone = rank_positives(vectors, labels)
    among = rank_positives(np.concatenate([vectors, strangers]), tags, queries=asks)
    assert among.queries.tolist() == alone.queries.tolist()
    assert (among.ranks >= alone.ranks).all()
    assert (among.ranks > alone.ranks).any()


@pytest.mark.parametrize("make", [clear_data, tied_data])
@pytest.mark.parametrize("depth", [1, 3])
def test_classes_ahead_equal_the_oracle(rank, make, depth):
    vectors, labels = make(1)
    found = rank(vectors, labels, depth=depth)
    assert found.classes_ahead.shape == (len(found.queries), depth)
    for query, spread in zip(found.queries, found.classes_ahead.tolist(), strict=True):
        counts = list(oracles.classes_ahead(vectors.tolist(), labels, query).values())
        exactly = [counts.count(images) for images in range(1, depth)]
        assert spread == [sum(count > 0 for count in counts), *exactly]


def test_every_way_agrees_on_more_images_than_a_tile(monkeypatch):
    vectors, labels = clustered(300, 8, 24)
    expected = rank_positives(vectors, labels)  # tiles of 1024, the last one of 352
    assert len(labels) > 2 * oodml.metrics.ranks.EDGE
    monkeypatch.setattr(oodml.metrics.ranks, "MANY_POSITIVES", -1)
    assert_same(rank_positives(vectors, labels), expected)
    assert [len(block.queries) for block in rank_stream(vectors, labels)][:2] == [256, 256]


@needs_numba
@pytest.mark.parametrize("each", [3, 8, 20])
def test_engines_agree(each):
    """With few positives numba counts down the columns, with more along the rows of a copy."""
    vectors, labels = clustered(2200 // each, each, 16)
    one, other = (rank_positives(vectors, labels, engine=e) for e in ("torch", "numba"))
    assert_same(one, other)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_nothing(threads):
    vectors, labels = clustered(260, 9, 16)
    before = torch.get_num_threads()
    expected = rank_positives(vectors, labels)
    try:
        torch.set_num_threads(threads)
        assert_same(rank_positives(vectors, labels), expected)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("each", [4, 40])
def test_devices_agree(each):
    vectors, labels = clustered(2400 // each, each, 64)
    one, other = (rank_positives(vectors, labels, device=d) for d in ("cpu", "cuda"))
    # Where two similarities are a millionth apart, rounding may decide either way.
    assert np.mean(one.ranks != other.ranks) < 1e-3
    assert np.abs(one.ranks - other.ranks).max() <= 2


# Shards ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_shards_add_up_to_the_single_pass(monkeypatch, count):
    monkeypatch.setattr(oodml.metrics.ranks, "EDGE", 64)
    vectors, labels = clustered(60, 6, 8)
    asks = np.random.default_rng(0).random(len(labels)) < 0.8
    parts = [rank_shard(vectors, labels, (i, count), queries=asks) for i in range(count)]
    assert_same(Ranks.merge(parts[::-1]), rank_positives(vectors, labels, queries=asks))


def test_shards_are_merged_once_each_and_of_the_same_images():
    vectors, labels = clustered(6, 4, 8)
    parts = [rank_shard(vectors, labels, (i, 3)) for i in range(3)]
    for wrong in (parts[:2], [*parts, parts[0]], [parts[0], parts[0], parts[1]]):
        with pytest.raises(DataError, match="of 3 were given; expected each once"):
            Ranks.merge(wrong)
    others = [
        rank_shard(*clustered(6, 5, 8), (2, 3)),
        rank_shard(*clustered(6, 4, 8, noise=0.5), (2, 3)),
        rank_shard(vectors, np.roll(labels, 1), (2, 3)),
        rank_shard(vectors, labels, (2, 3), similarity="dot"),
        replace(parts[2], edge=8192),
    ]
    for other in others:
        with pytest.raises(DataError, match="all of the same images, vectors, similarity"):
            Ranks.merge([*parts[:2], other])
    with pytest.raises(ValueError, match="no shards to be merged"):
        Ranks.merge([])
    for shard in ((3, 3), (-1, 3), (0, 0)):
        with pytest.raises(ValueError, match="expected \\(i, n\\)"):
            rank_shard(vectors, labels, shard)


def test_shards_that_do_not_fit_the_budget_say_so():
    with pytest.raises(DataError, match="380 positives do not fit 0"):
        rank_shard(*clustered(1, 20, 4), (0, 1), budget_mb=0.001)


def test_vectors_on_disk_are_read_block_by_block(tmp_path):
    vectors, labels = clustered(300, 8, 24)
    expected = rank_positives(vectors, labels)
    np.save(tmp_path / "vectors.npy", vectors)
    on_disk = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    assert_same(rank_positives(on_disk, labels), expected)
    # 0.1 MB hold no copy of them, nor all ranks.
    blocks = list(rank_stream(on_disk, labels, budget_mb=0.1))
    assert len(blocks) > 5
    np.testing.assert_array_equal(np.concatenate([b.ranks for b in blocks]), expected.ranks)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_tiles_prepared_when_they_are_read_are_the_same(monkeypatch, similarity):
    monkeypatch.setattr(oodml.metrics.ranks, "EDGE", 16)
    vectors, labels = clustered(40, 3, 400)
    expected = rank_positives(vectors, labels, similarity=similarity)
    small = {"similarity": similarity, "budget_mb": 0.1}  # the vectors are 0.18 MB, the ranks 0.01
    assert_same(rank_positives(vectors, labels, **small), expected)
    assert len(list(rank_stream(vectors, labels, **small))) == 1


# Ties --------------------------------------------------------------------------------------------


def test_the_query_is_left_out_by_index():
    """Of three equal images, the two of one class find the third class's first: ties go against."""
    ranks = rank_positives(np.ones((3, 4)), ["a", "a", "b"])
    assert ranks.ranks.tolist() == [2, 2]
    assert ranks.tied.all()
    assert (ranks.excluded, ranks.gallery.tolist()) == (1, [2, 2])


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("d", [3, 512, 5000])
def test_equal_images_are_ties_whatever_the_shape_of_the_product(rank, similarity, d):
    """Products of two shapes differ in their last bits; a positive must not count itself."""
    rng = np.random.default_rng(d)
    vectors = np.tile(rng.random(d) * 100, (23, 1))
    labels = uneven_labels(rng)[:23]
    found = rank(vectors, labels, similarity=similarity)
    negatives = np.array([(labels != label).sum() for label in found.labels])
    np.testing.assert_array_equal(found.ranks[found.starts[:-1]], negatives + 1)
    assert found.tied.all()


@pytest.mark.parametrize("scale", [1.0, 1e-15, 1e15])
def test_ties_end_at_a_millionth(scale):
    def best_rank(gap, similarity):
        angle = np.arccos(1 - gap)
        vectors = scale * np.array([[1, 0], [1, 0], [np.cos(angle), np.sin(angle)]])
        ranks = rank_positives(vectors, [0, 0, 1], similarity=similarity)
        return ranks.ranks[0], bool(ranks.tied[0])

    for similarity in ("cosine", "dot"):
        assert best_rank(5e-7, similarity) == (2, True)
        assert best_rank(2e-6, similarity) == (1, False)


def test_euclidean_is_right_far_from_the_origin():
    vectors, labels = clear_data(2)
    near, far = (
        rank_positives(vectors + shift, labels, similarity="euclidean") for shift in (0, 1e4)
    )
    assert_same(near, far)


@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
def test_an_outlier_does_not_blur_the_others(similarity):
    """Ties are relative to the vectors compared, not to the longest of all."""
    vectors, labels = clear_data(3)
    vectors, labels = np.concatenate([vectors, [[1e7] * 5]]), np.append(labels, 50)
    found = rank_positives(vectors, labels, similarity=similarity)
    for row, ranks in rows_of(found).items():
        assert ranks == oracles.ranks_of(vectors.tolist(), labels, row, similarity)
    assert not found.tied.any()
    vectors[-1] = 1e30
    with pytest.raises(DataError, match="more than float32 can compare"):
        rank_positives(vectors, labels, similarity=similarity)


# Edges -------------------------------------------------------------------------------------------


def test_one_class_only_is_perfect(rank):
    vectors = np.random.default_rng(0).normal(size=(5, 3))
    ranks = rank(vectors, np.zeros(5, dtype=int))
    assert ranks.ranks.reshape(5, 4).tolist() == [[1, 2, 3, 4]] * 5


def test_fewer_images_than_dimensions(rank):
    labels = [0, 0, 1, 1, 2]
    vectors = np.random.default_rng(0).normal(size=(5, 300))
    expected = {i: oracles.ranks_of(vectors.tolist(), labels, i) for i in range(4)}
    assert rows_of(rank(vectors, labels)) == expected


def test_inputs_are_unchanged_and_results_are_read_only():
    vectors, labels = clear_data(4)
    vectors = vectors.astype(np.float32)
    copies = vectors.copy(), labels.copy()
    ranks = rank_positives(vectors, labels)
    np.testing.assert_array_equal(vectors, copies[0])
    np.testing.assert_array_equal(labels, copies[1])
    for field in FIELDS:
        with pytest.raises(ValueError, match="read-only"):
            getattr(ranks, field)[0] = 1


def test_settings_of_the_caller_change_nothing_and_stay():
    vectors, labels = clustered(300, 5, 64)
    expected = rank_positives(vectors, labels).ranks
    products = torch.backends.mkldnn.matmul
    before = products.fp32_precision
    try:
        products.fp32_precision = "bf16"
        with torch.autocast("cpu", dtype=torch.bfloat16):
            streams = [
                rank_stream(vectors, labels, depth=1, budget_mb=mb) for mb in (512, 0.1, 0.1)
            ]
            steps = []
            for blocks in zip_longest(*streams):  # a block of each in turn
                steps.append(blocks)
                assert torch.is_autocast_enabled("cpu")
                assert not torch.is_inference_mode_enabled()
        assert len(steps) > 3
        for blocks in zip(*steps, strict=True):
            ranks = np.concatenate([block.ranks for block in blocks if block])
            np.testing.assert_array_equal(ranks, expected)
        assert products.fp32_precision == "bf16"
    finally:
        products.fp32_precision = before


def test_progress_ends_at_the_total(rank):
    seen = []
    rank(*clear_data(0), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, len(seen)) for done in range(1, len(seen) + 1)]


def broken(rows, what):
    vectors = np.ones((20, 3))
    vectors[rows] = what
    return vectors


@pytest.mark.parametrize(
    ("vectors", "labels", "message"),
    [
        (np.ones((3, 2)), [0, 0], r"3 vectors but labels of shape \(2,\)"),
        (np.ones((2, 2)), [[0, 0]], r"2 vectors but labels of shape \(1, 2\)"),
        (np.ones(4), [0] * 4, r"of shape \(4,\); expected numbers of shape \(images, dimensions\)"),
        (np.ones((2, 2), dtype=complex), [0, 0], "Vectors are complex128"),
        ([["1"], ["2"]], [0, 0], "Vectors are <U1"),
        (np.ones((1, 2)), [0], "at least 2 images; there are 1"),
        (np.ones((0, 2)), np.zeros(0, dtype=int), "at least 2 images; there are 0"),
        (np.ones((3, 2)), ["a", "b", "c"], "None of the 3 classes has two images"),
        (np.ones((2, 2)), [0.0, 0.0], "Labels are of type float64; expected integers or strings"),
        (np.ones((2, 2)), np.array(["a", None], dtype=object), "Labels are of type object"),
        (broken([3, 11], np.nan), [0] * 20, r"2 of 20 vectors hold NaN or Inf .*\(rows 3, 11\)"),
        (broken([0, 1, 5, 6, 7, 9], -np.inf), [0] * 20, r"6 of 20 .*rows 0, 1, 5, 6, 7, \.\.\."),
        (broken([4], 1e39), [0] * 20, r"1 of 20 vectors hold NaN or Inf in float32 \(rows 4\)"),
        (broken([2, 13], 0), list("ab" * 10), r"2 of 20 vectors are zero.*\(rows 2, 13\)"),
        (np.ones((2, 0)), [0, 0], "2 of 2 vectors are zero"),
    ],
)  # fmt: skip
def test_unusable_data_says_why(vectors, labels, message):
    with pytest.raises(DataError, match=message):
        rank_positives(vectors, labels)


def test_zero_vectors_are_fine_where_they_have_a_similarity():
    for similarity in ("dot", "euclidean"):
        assert evaluate(np.zeros((4, 2)), [0, 0, 1, 1], similarity=similarity)["recall@1"] == 0


@pytest.mark.parametrize("mask", [[True], [1, 0, 1], np.ones(4)])
def test_masks_are_booleans_of_the_right_length(mask):
    with pytest.raises(DataError, match="expected 3 booleans"):
        rank_positives(np.ones((3, 2)), [0, 0, 1], gallery=mask)


def test_nobody_asks():
    with pytest.raises(DataError, match="no queries or no gallery"):
        rank_positives(np.ones((3, 2)), [0, 0, 1], queries=np.zeros(3, bool))


def test_unknown_settings_are_mistakes_of_the_caller():
    vectors, labels = np.ones((2, 2)), [0, 0]
    with pytest.raises(ValueError, match="'dotty'; expected one of"):
        rank_positives(vectors, labels, similarity="dotty")
    with pytest.raises(ValueError, match="engine is 'abacus'; expected"):
        rank_positives(vectors, labels, engine="abacus")
    with pytest.raises(TypeError, match="similarty"):
        rank_positives(vectors, labels, similarty="dot")
    with pytest.raises(ValueError, match="budget_mb is nan; expected a number of at least 0"):
        rank_positives(vectors, labels, budget_mb=float("nan"))
    for device in ("gpu", "meta", "privateuseone"):
        with pytest.raises(UnknownNameError, match=f"Device '{device}' cannot be used here"):
            rank_positives(vectors, labels, device=device)
    assert rank_positives(vectors, labels, device=torch.device("cpu")).ranks.tolist() == [1, 1]


def test_options_count_for_every_kind_of_metric():
    vectors, labels = clear_data(0)
    with pytest.raises(ValueError, match="'dotty'; expected one of"):
        evaluate(vectors, labels, "intra", similarity="dotty")
    with pytest.raises(DataError, match="expected 3 booleans"):
        evaluate([[1, 0], [1, 1], [0, 1]], [0, 0, 1], "intra", queries=[True])


def test_the_command_line_knows_the_similarities():
    assert import_module("oodml.cli.score").SIMILARITIES == SIMILARITIES
