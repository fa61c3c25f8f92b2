"""Retrieval metrics: equal to the oracle, lawful for every registered member, safe at edges."""

from __future__ import annotations

import doctest
import subprocess
import sys

import numpy as np
import oracles
import pytest
import torch

import oodml.metrics
import oodml.metrics.retrieval
from oodml.errors import DataError, UnknownNameError
from oodml.metrics import (
    DEFAULT_METRICS,
    METRICS,
    Ranks,
    evaluate,
    find_metric,
    rank_positives,
    sum_by_class,
)
from oodml.registry import Name

# Every member of the registry by example, with what the oracle says of one query's ranks.
MEMBERS = {
    "recall": {
        "recall@1": lambda ranks: oracles.recall_at(ranks, 1),
        "recall@3": lambda ranks: oracles.recall_at(ranks, 3),
        "recall@1000": lambda ranks: oracles.recall_at(ranks, 1000),
    },
    "map": {"map@r": oracles.map_at_r},
}
ORACLES = {name: score for examples in MEMBERS.values() for name, score in examples.items()}
every_metric = pytest.mark.parametrize("name", ORACLES)
SEEDS = range(6)


# Data --------------------------------------------------------------------------------------------


def uneven_labels(rng):
    return rng.permutation(np.repeat(np.arange(8), [1, 1, 2, 3, 4, 5, 7, 9]))


def clear_data(seed):
    """Clustered vectors on which rounding decides nothing: no similarity is near a threshold."""
    rng = np.random.default_rng(seed)
    while True:
        labels = uneven_labels(rng)
        vectors = rng.normal(size=(8, 5))[labels] + rng.normal(size=(len(labels), 5))
        units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        gaps = np.abs((units @ units.T)[:, :, None] - (units @ units.T)[:, None, :])
        if not ((gaps > 1e-12) & (gaps < 3e-6)).any():
            return vectors, labels


def tied_data(seed):
    """Vectors of small integers: many are equal, and many more are equally far."""
    rng = np.random.default_rng(seed)
    labels = uneven_labels(rng)
    vectors = rng.integers(-1, 2, size=(len(labels), 3))
    vectors[~vectors.any(axis=1)] = 1
    return vectors, labels


def rotation(rng, d):
    return np.linalg.qr(rng.normal(size=(d, d)))[0]


def value(name, vectors, labels, **options):
    return evaluate(vectors, labels, [name], **options)[name]


# Oracles -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [clear_data, tied_data])
@pytest.mark.parametrize("seed", SEEDS)
def test_ranks_equal_the_oracle(make, seed):
    vectors, labels = make(seed)
    found = rank_positives(vectors, labels)
    scored = [i for i in np.argsort(labels, kind="stable") if (labels == labels[i]).sum() > 1]
    assert found.queries.tolist() == scored
    assert found.labels.tolist() == labels[scored].tolist()
    for place, query in enumerate(scored):
        row = found.ranks[found.starts[place] : found.starts[place + 1]]
        assert row.tolist() == oracles.ranks_of(vectors.tolist(), labels, query)
    assert found.excluded == 2
    assert found.gallery == len(labels) - 1
    assert found.tied == sum(oracles.is_tied(vectors.tolist(), labels, i) for i in scored)
    assert (found.tied > 0) == (make is tied_data)


@every_metric
@pytest.mark.parametrize("make", [clear_data, tied_data])
@pytest.mark.parametrize("seed", SEEDS)
def test_values_equal_the_oracle(name, make, seed):
    vectors, labels = make(seed)
    scored = [i for i in range(len(labels)) if (labels == labels[i]).sum() > 1]
    scores = [ORACLES[name](oracles.ranks_of(vectors.tolist(), labels, i)) for i in scored]
    assert value(name, vectors, labels) == pytest.approx(np.mean(scores), abs=1e-12)


@every_metric
def test_chance_equals_the_oracle(name):
    sizes = (1, 2, 3, 5)
    labels = np.repeat(sizes, sizes)
    ranks = rank_positives(np.random.default_rng(0).normal(size=(11, 3)), labels)
    scores = [oracles.expected(ORACLES[name], size - 1, gallery=10) for size in labels[1:]]
    assert find_metric(name).chance(ranks) == pytest.approx(np.mean(scores), abs=1e-12)


def test_medium_case_equals_brute_force_neighbours():
    from sklearn.neighbors import NearestNeighbors

    rng = np.random.default_rng(5)
    labels = rng.permutation(np.repeat(np.arange(100), 12))
    vectors = rng.normal(size=(100, 24))[labels] + 0.9 * rng.normal(size=(1200, 24))
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    others = NearestNeighbors(n_neighbors=11, algorithm="brute").fit(units).kneighbors()[1]
    hits = labels[others] == labels[:, None]
    precision = hits.cumsum(axis=1) / np.arange(1, 12)
    found = evaluate(vectors, labels, ["recall@1", "recall@8", "map@r"])
    assert 0.2 < found["map@r"] < 0.8
    assert found["recall@1"] == pytest.approx(hits[:, 0].mean(), abs=2e-3)  # one query: 8e-4
    assert found["recall@8"] == pytest.approx(hits[:, :8].any(axis=1).mean(), abs=2e-3)
    assert found["map@r"] == pytest.approx((precision * hits).sum(axis=1).mean() / 11, abs=1e-4)


# Laws that a metric declares ---------------------------------------------------------------------


def obeys_rotation(name, seed):
    vectors, labels = clear_data(seed)
    turned = vectors @ rotation(np.random.default_rng(seed), 5)
    assert value(name, turned, labels) == value(name, vectors, labels)


def obeys_row_scaling(name, seed):
    vectors, labels = clear_data(seed)
    scales = 10 ** np.random.default_rng(seed).uniform(-30, 30, size=(len(labels), 1))
    assert value(name, vectors * scales, labels) == value(name, vectors, labels)


def obeys_perfect_is_high(name, seed):
    rng = np.random.default_rng(seed)
    labels = uneven_labels(rng)
    assert value(name, rng.normal(size=(8, 20))[labels], labels) == find_metric(name).high


def obeys_all_equal_is_low(name, seed):
    labels = uneven_labels(np.random.default_rng(seed))
    labels = np.concatenate([labels, 100 + np.arange(1000)])  # enough negatives for any k here
    equal = np.tile(np.random.default_rng(seed).normal(size=7), (len(labels), 1))
    assert value(name, equal, labels) == find_metric(name).low


def obeys_grows_with_k(name, seed):
    vectors, labels = clear_data(seed)
    key, k = Name.parse(name).key, int(Name.parse(name).argument)
    assert value(f"{key}@{k}", vectors, labels) <= value(f"{key}@{k + 1}", vectors, labels)


LAWS = {
    "rotation": obeys_rotation,
    "row-scaling": obeys_row_scaling,
    "perfect-is-high": obeys_perfect_is_high,
    "all-equal-is-low": obeys_all_equal_is_low,
    "grows-with-k": obeys_grows_with_k,
}


def test_every_metric_has_an_example_and_states_its_laws():
    assert set(MEMBERS) == set(METRICS)
    stated = [find_metric(name).laws for name in (*ORACLES, *DEFAULT_METRICS)]
    assert all(stated)
    assert set().union(*stated) == set(LAWS)


@pytest.mark.parametrize(
    ("name", "law"), [(name, law) for name in ORACLES for law in sorted(find_metric(name).laws)]
)
@pytest.mark.parametrize("seed", SEEDS)
def test_declared_law(name, law, seed):
    LAWS[law](name, seed)


# Laws that every metric owes ---------------------------------------------------------------------


@every_metric
@pytest.mark.parametrize("make", [clear_data, tied_data])
@pytest.mark.parametrize("seed", SEEDS)
def test_order_of_images_changes_nothing(name, make, seed):
    vectors, labels = make(seed)
    order = np.random.default_rng(seed).permutation(len(labels))
    metric = find_metric(name)
    before, after = rank_positives(vectors, labels), rank_positives(vectors[order], labels[order])
    one, other = (sum_by_class(metric.per_query(ranks), ranks) for ranks in (before, after))
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)
    assert (before.excluded, before.tied) == (after.excluded, after.tied)
    assert metric.chance(before) == metric.chance(after)
    by_image = dict(zip(before.queries.tolist(), metric.per_query(before), strict=True))
    assert by_image == dict(
        zip(order[after.queries].tolist(), metric.per_query(after), strict=True)
    )


@every_metric
@pytest.mark.parametrize("seed", SEEDS)
def test_names_of_labels_change_nothing(name, seed):
    vectors, labels = clear_data(seed)
    expected = pytest.approx(value(name, vectors, labels), abs=1e-12)
    names = np.array([f"Klasse {chr(960 - label)}" for label in labels])
    assert value(name, vectors, names) == expected
    assert value(name, vectors, names.astype(object)) == expected
    assert value(name, vectors, names.tolist()) == expected
    assert value(name, vectors, labels * 2**55 - 2**54) == expected
    assert value(name, vectors, 2**24 + labels) == expected
    assert value(name, vectors, (2**63 + labels.astype(np.uint64))) == expected


@every_metric
@pytest.mark.parametrize("make", [clear_data, tied_data])
@pytest.mark.parametrize("seed", SEEDS)
def test_values_stay_within_the_range_and_add_up_over_classes(name, make, seed):
    vectors, labels = make(seed)
    metric, ranks = find_metric(name), rank_positives(vectors, labels)
    values = metric.per_query(ranks)
    assert values.shape == ranks.labels.shape
    assert values.dtype == np.float64
    assert ((metric.low <= values) & (values <= metric.high)).all()
    assert metric.low <= metric.chance(ranks) <= metric.high
    classes, sums, counts = sum_by_class(values, ranks)
    assert classes.tolist() == sorted({label for label in labels if (labels == label).sum() > 1})
    assert counts.tolist() == [(labels == label).sum() for label in classes]
    for label, total in zip(classes, sums, strict=True):
        assert total == pytest.approx(values[ranks.labels == label].sum(), abs=1e-12)
    assert sums.sum() / counts.sum() == pytest.approx(value(name, vectors, labels), abs=1e-12)


@every_metric
@pytest.mark.parametrize(("positives", "gallery"), [(1, 1), (1, 6), (2, 2), (3, 7), (5, 9)])
def test_chance_is_the_mean_over_all_orders(name, positives, gallery):
    def ranked(ranks):
        return Ranks(
            ranks=np.array(ranks), starts=np.array([0, positives]), labels=np.array([0]),
            queries=np.array([0]), gallery=gallery,
        )  # fmt: skip

    metric = find_metric(name)
    mean = oracles.expected(lambda ranks: metric.per_query(ranked(ranks))[0], positives, gallery)
    assert metric.chance(ranked(range(1, positives + 1))) == pytest.approx(mean, abs=1e-12)


@pytest.mark.parametrize("make", [clear_data, tied_data])
@pytest.mark.parametrize("budget_mb", [0, 1e-3, 3e-3, 1e-2])
def test_size_of_blocks_changes_nothing(make, budget_mb):
    vectors, labels = make(0)
    whole, blocks = (
        rank_positives(vectors, labels),
        rank_positives(vectors, labels, budget_mb=budget_mb),
    )
    for field in ("ranks", "starts", "labels", "queries"):
        np.testing.assert_array_equal(getattr(whole, field), getattr(blocks, field))
    assert whole.tied == blocks.tied


def test_recall_reaches_one_and_its_chance_too():
    vectors, labels = tied_data(1)
    ranks = rank_positives(vectors, labels)
    for k in (ranks.gallery, ranks.gallery + 1, 10**17):
        assert find_metric(f"recall@{k}").per_query(ranks).mean() == 1
        assert find_metric(f"recall@{k}").chance(ranks) == 1


def test_chance_of_recall_at_1_is_that_of_the_design():
    vectors, labels = clear_data(2)
    mates = np.array([(labels == label).sum() - 1 for label in labels])
    chance = (mates[mates > 0] / (len(labels) - 1)).mean()
    ranks = rank_positives(vectors, labels)
    assert find_metric("recall@1").chance(ranks) == pytest.approx(chance, abs=1e-15)


# Edges -------------------------------------------------------------------------------------------


def test_the_query_is_left_out_by_index():
    """Of three equal images, the two of one class find the third class's first: ties go against."""
    vectors = np.ones((3, 4))
    ranks = rank_positives(vectors, ["a", "a", "b"])
    assert ranks.ranks.tolist() == [2, 2]
    assert (ranks.tied, ranks.excluded, ranks.gallery) == (2, 1, 2)


def test_ties_end_at_a_millionth():
    def best_rank(gap):
        angle = np.arccos(1 - gap)
        vectors = [[1, 0], [1, 0], [np.cos(angle), np.sin(angle)]]
        ranks = rank_positives(vectors, [0, 0, 1])
        return ranks.ranks[0], ranks.tied

    assert best_rank(5e-7) == (2, 2)
    assert best_rank(2e-6) == (1, 0)


def test_one_class_only_is_perfect():
    vectors = np.random.default_rng(0).normal(size=(5, 3))
    ranks = rank_positives(vectors, np.zeros(5, dtype=int))
    assert ranks.ranks.reshape(5, 4).tolist() == [[1, 2, 3, 4]] * 5
    assert evaluate(vectors, [7] * 5) == {"recall@1": 1.0, "map@r": 1.0}
    assert [find_metric(name).chance(ranks) for name in DEFAULT_METRICS] == pytest.approx([1] * 5)


def test_two_images_of_one_class():
    assert evaluate([[1, 0], [-1, 0]], [3, 3]) == {"recall@1": 1.0, "map@r": 1.0}


def test_fewer_images_than_dimensions():
    rng = np.random.default_rng(0)
    labels = [0, 0, 1, 1, 2]
    vectors = rng.normal(size=(5, 300))
    found = rank_positives(vectors, labels)
    expected = [oracles.ranks_of(vectors.tolist(), labels, query) for query in range(4)]
    assert found.ranks.reshape(4, 1).tolist() == expected


@every_metric
def test_any_layout_and_type_of_number(name):
    vectors, labels = clear_data(3)
    wide = np.repeat(vectors, 2, axis=1)
    expected = value(name, vectors, labels)
    locked = vectors.astype(np.float32)
    locked.flags.writeable = False
    strided_labels = np.repeat(labels, 3)[::3]
    strided_labels.flags.writeable = False
    for same in (
        vectors.astype(np.float32), locked, wide[:, ::2], np.asfortranarray(vectors),
        vectors.astype(">f4"), vectors.tolist(), torch.from_numpy(vectors), vectors * 1e36,
    ):  # fmt: skip
        assert value(name, same, strided_labels) == expected
    halves = vectors.astype(np.float16)
    assert value(name, halves, labels) == value(name, halves.astype(np.float64), labels)


def test_inputs_are_unchanged_and_results_are_read_only():
    vectors, labels = clear_data(4)
    vectors = vectors.astype(np.float32)
    copies = vectors.copy(), labels.copy()
    ranks = rank_positives(vectors, labels)
    np.testing.assert_array_equal(vectors, copies[0])
    np.testing.assert_array_equal(labels, copies[1])
    for field in (ranks.ranks, ranks.starts, ranks.labels, ranks.queries):
        with pytest.raises(ValueError, match="read-only"):
            field[0] = 1


def test_precision_of_the_caller_changes_nothing():
    rng = np.random.default_rng(0)
    vectors, labels = rng.normal(size=(300, 64)), np.arange(300) // 5
    expected = rank_positives(vectors, labels).ranks
    products = torch.backends.mkldnn.matmul
    before = products.fp32_precision
    try:
        products.fp32_precision = "bf16"
        with torch.autocast("cpu", dtype=torch.bfloat16):
            np.testing.assert_array_equal(rank_positives(vectors, labels).ranks, expected)
            assert torch.is_autocast_enabled("cpu")
        assert products.fp32_precision == "bf16"
    finally:
        products.fp32_precision = before


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


def test_unknown_similarity_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="'dotty'; expected 'cosine'"):
        rank_positives(np.ones((2, 2)), [0, 0], similarity="dotty")


def test_values_that_are_not_of_these_queries_are_refused():
    ranks = rank_positives(np.ones((3, 2)), [0, 0, 1])
    with pytest.raises(ValueError, match=r"shape \(3,\); expected \(2,\)"):
        sum_by_class(np.ones(3), ranks)


# Names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("recal@1", "'recal' is not among the metrics; nearest: recall"),
        ("recall", r"recall@k with a whole k of at least 1"),
        ("recall@0", r"recall@k with a whole k of at least 1, such as recall@4"),
        ("recall@-1", "at least 1"),
        ("recall@1.5", "at least 1"),
        ("recall@04", "at least 1"),
        ("recall@ 4", "at least 1"),
        ("recall@k", "at least 1"),
        ("recall@" + "9" * 5000, "at least 1"),
        ("recall@٤", "at least 1"),
        ("recall:4", "'recall:4' is no metric; write 'recall@4'"),
        ("recall@4?k=1", "no parameter 'k'"),
        ("map@7", "'map@7' is no metric; expected map@r"),
        ("map@R", "expected map@r"),
        ("", "not a name"),
    ],
)
def test_unknown_names_say_what_is_possible(name, message):
    with pytest.raises(UnknownNameError, match=message):
        find_metric(name)


def test_names_are_checked_before_any_work():
    with pytest.raises(UnknownNameError):
        evaluate(None, None, ["map@r", "recall@x"])


@pytest.mark.parametrize("name", [*ORACLES, *DEFAULT_METRICS])
def test_a_metric_bears_the_name_it_is_found_by(name):
    assert find_metric(name).name == name


def test_one_name_will_do():
    assert evaluate(np.ones((2, 2)), [0, 0], "map@r") == {"map@r": 1.0}


# The module --------------------------------------------------------------------------------------


def test_public_names_are_sorted_and_there():
    names = oodml.metrics.__all__
    assert names == sorted(names)
    assert all(hasattr(oodml.metrics, name) for name in names)


def test_examples_in_docstrings():
    assert doctest.testmod(oodml.metrics.retrieval).failed == 0


def test_importing_the_metrics_loads_neither_torch_nor_sklearn():
    code = "import sys, oodml.metrics; print({'torch', 'sklearn', 'scipy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
