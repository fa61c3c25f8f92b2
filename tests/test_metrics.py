"""Metrics of ranks: equal to the oracle, lawful for every registered member, safe at edges."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import oracles
import pytest
import torch
from retrieval_data import clear_data, tied_data, uneven_labels

import oodml.metrics
from oodml.errors import UnknownNameError
from oodml.metrics import (
    DEFAULT_METRICS,
    METRICS,
    Ranks,
    evaluate,
    find_metric,
    rank_positives,
    score_vectors,
    sum_by_class,
)
from oodml.metrics.clustering import CLUSTERING_METRICS
from oodml.metrics.geometry import GEOMETRY_METRICS
from oodml.registry import Name

# Every member of the registry by example, with what the oracle says of one query's ranks among n
# others; None for what ranks alone do not tell (tests/test_subgallery.py).
MEMBERS = {
    "recall": {
        "recall@1": lambda ranks, _: oracles.recall_at(ranks, 1),
        "recall@3": lambda ranks, _: oracles.recall_at(ranks, 3),
        "recall@1000": lambda ranks, _: oracles.recall_at(ranks, 1000),
        "recall@1|4": None,
        "recall@3|4": None,
    },
    "precision": {
        "precision@1": lambda ranks, _: oracles.precision_at(ranks, 1),
        "precision@5": lambda ranks, _: oracles.precision_at(ranks, 5),
        "precision@1000": lambda ranks, _: oracles.precision_at(ranks, 1000),
    },
    "r-precision": {"r-precision": lambda ranks, _: oracles.precision_at(ranks, len(ranks))},
    "map": {
        "map@r": lambda ranks, _: oracles.average_precision(ranks, len(ranks), len(ranks)),
        "map@1": lambda ranks, _: oracles.average_precision(ranks, 1, 1),
        "map@4": lambda ranks, _: oracles.average_precision(ranks, 4, min(4, len(ranks))),
        "map@1000": lambda ranks, _: oracles.average_precision(ranks, 1000, len(ranks)),
        "map": lambda ranks, n: oracles.average_precision(ranks, n, len(ranks)),
    },
    "mrr": {"mrr": lambda ranks, _: 1 / min(ranks)},
    "official-map": {
        "official-map@c": lambda ranks, _: oracles.average_precision(
            ranks, len(ranks) + 1, len(ranks) + 1
        ),
        "official-map@1000": lambda ranks, _: oracles.average_precision(
            ranks, 1000, len(ranks) + 1
        ),
    },
}
NAMES = [name for examples in MEMBERS.values() for name in examples]
ORACLES = {name: score for e in MEMBERS.values() for name, score in e.items() if score}
every_metric = pytest.mark.parametrize("name", NAMES)
from_ranks = pytest.mark.parametrize("name", ORACLES)
SEEDS = range(6)


def rotation(rng, d):
    return np.linalg.qr(rng.normal(size=(d, d)))[0]


def value(name, vectors, labels, **options):
    return evaluate(vectors, labels, [name], **options)[name]


def ranks_for(name, vectors, labels):
    return rank_positives(vectors, labels, depth=find_metric(name).depth)


# Oracles -----------------------------------------------------------------------------------------


@from_ranks
@pytest.mark.parametrize("make", [clear_data, tied_data])
@pytest.mark.parametrize("seed", SEEDS)
def test_values_equal_the_oracle(name, make, seed):
    vectors, labels = make(seed)
    rows, others = vectors.tolist(), len(labels) - 1
    scored = [i for i in range(len(labels)) if (labels == labels[i]).sum() > 1]
    scores = [ORACLES[name](oracles.ranks_of(rows, labels, i), others) for i in scored]
    assert value(name, vectors, labels) == pytest.approx(np.mean(scores), abs=1e-12)


@from_ranks
def test_chance_equals_the_oracle(name):
    sizes = (1, 2, 3, 5)
    labels = np.repeat(sizes, sizes)
    ranks = rank_positives(np.random.default_rng(0).normal(size=(11, 3)), labels)
    scores = [
        oracles.expected(lambda places: ORACLES[name](places, 10), size - 1, gallery=10)
        for size in labels[1:]
    ]
    assert find_metric(name).chance(ranks) == pytest.approx(np.mean(scores), abs=1e-12)


@from_ranks
@pytest.mark.parametrize(("positives", "gallery"), [(1, 1), (1, 6), (2, 2), (3, 7), (5, 9)])
def test_chance_is_the_mean_over_all_orders(name, positives, gallery):
    def ranked(ranks):
        return Ranks(
            ranks=np.array(ranks), starts=np.array([0, positives]), labels=np.array([0]),
            queries=np.array([0]), gallery=np.array([gallery]), tied=np.array([False]),
            class_sizes=np.array([positives + 1, gallery - positives]),
        )  # fmt: skip

    metric = find_metric(name)
    mean = oracles.expected(lambda ranks: metric.per_query(ranked(ranks))[0], positives, gallery)
    assert metric.chance(ranked(range(1, positives + 1))) == pytest.approx(mean, abs=1e-12)


def test_published_conventions_of_a_perfect_ranking():
    """The query in the size of its class: 0.5 for pairs, 0.8 for fives (facts of that code)."""
    for size, best in ((2, 0.5), (5, 0.8), (60, 59 / 60)):
        labels = np.repeat([0, 1], size)
        perfect = np.eye(2)[labels]
        for name in ("official-map@c", "official-map@1000"):
            assert value(name, perfect, labels) == pytest.approx(best)


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


def obeys_all_equal_is_last(name, seed):
    """Every negative is ahead, as in the worst order there is."""
    labels = uneven_labels(np.random.default_rng(seed))
    worst = value(name, np.ones((len(labels), 3)), labels)
    for make in (clear_data, tied_data):
        assert worst <= value(name, make(seed)[0], make(seed)[1])
    sizes = [(labels == label).sum() for label in labels]
    last = [list(range(len(labels) - size + 1, len(labels))) for size in sizes if size > 1]
    scores = [ORACLES[name](ranks, len(labels) - 1) for ranks in last]
    assert worst == pytest.approx(np.mean(scores), abs=1e-12)


def obeys_perfect_is_ideal(name, seed):
    """The best order scores what the formula says of it, which is less than 1."""
    labels = uneven_labels(np.random.default_rng(seed))
    perfect = np.eye(8)[labels]
    sizes = [(labels == label).sum() for label in labels]
    scores = [ORACLES[name](list(range(1, n)), len(labels) - 1) for n in sizes if n > 1]
    assert value(name, perfect, labels) == pytest.approx(np.mean(scores), abs=1e-12)


def obeys_grows_with_k(name, seed):
    vectors, labels = clear_data(seed)
    key, argument = Name.parse(name).key, Name.parse(name).argument
    k, bar, m = argument.partition("|")
    more = f"{key}@{int(k) + 1}{bar}{m}"
    assert value(name, vectors, labels) <= value(more, vectors, labels) + 1e-12


def obeys_falls_with_m(name, seed):
    vectors, labels = clear_data(seed)
    first, m = name.split("|")
    values = [value(f"{first}|{count}", vectors, labels) for count in range(1, 9)]
    assert (np.diff(values) <= 1e-12).all()
    assert values[0] == 1
    assert values[int(m) - 1] == value(name, vectors, labels)


def obeys_whole_gallery(name, seed):
    """A gallery of all classes is the gallery."""
    vectors, labels = tied_data(seed)
    plain = name.split("|")[0]
    expected = pytest.approx(value(plain, vectors, labels), abs=1e-12)
    assert value(f"{plain}|8", vectors, labels) == expected


LAWS = {
    "rotation": obeys_rotation,
    "row-scaling": obeys_row_scaling,
    "perfect-is-high": obeys_perfect_is_high,
    "all-equal-is-low": obeys_all_equal_is_low,
    "all-equal-is-last": obeys_all_equal_is_last,
    "perfect-is-ideal": obeys_perfect_is_ideal,
    "grows-with-k": obeys_grows_with_k,
    "falls-with-m": obeys_falls_with_m,
    "whole-gallery": obeys_whole_gallery,
}


def test_every_metric_has_an_example_and_states_its_laws():
    others = {*CLUSTERING_METRICS, *GEOMETRY_METRICS}  # in tests of their own
    assert {*MEMBERS, *others} == set(METRICS)
    assert not others & set(MEMBERS)
    stated = [find_metric(name).laws for name in (*NAMES, *DEFAULT_METRICS)]
    assert all(stated)
    assert set().union(*stated) == set(LAWS)


@pytest.mark.parametrize(
    ("name", "law"), [(name, law) for name in NAMES for law in sorted(find_metric(name).laws)]
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
    before, after = ranks_for(name, vectors, labels), ranks_for(name, vectors[order], labels[order])
    one, other = (sum_by_class(metric.per_query(r), r.labels) for r in (before, after))
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)
    assert (before.excluded, before.tied.sum()) == (after.excluded, after.tied.sum())
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
    metric, ranks = find_metric(name), ranks_for(name, vectors, labels)
    values = metric.per_query(ranks)
    assert values.shape == ranks.labels.shape
    assert values.dtype == np.float64
    assert ((metric.low <= values) & (values <= metric.high)).all()
    assert metric.low <= metric.chance(ranks) <= metric.high
    classes, sums, counts = sum_by_class(values, ranks.labels)
    assert classes.tolist() == sorted({label for label in labels if (labels == label).sum() > 1})
    assert counts.tolist() == [(labels == label).sum() for label in classes]
    for label, total in zip(classes, sums, strict=True):
        assert total == pytest.approx(values[ranks.labels == label].sum(), abs=1e-12)
    assert sums.sum() / counts.sum() == pytest.approx(value(name, vectors, labels), abs=1e-12)


def test_recall_reaches_one_and_its_chance_too():
    vectors, labels = tied_data(1)
    ranks = rank_positives(vectors, labels)
    for k in (len(labels) - 1, len(labels), 10**17):
        assert find_metric(f"recall@{k}").per_query(ranks).mean() == 1
        assert find_metric(f"recall@{k}").chance(ranks) == 1


def test_chance_of_recall_at_1_is_that_of_the_design():
    vectors, labels = clear_data(2)
    mates = np.array([(labels == label).sum() - 1 for label in labels])
    chance = (mates[mates > 0] / (len(labels) - 1)).mean()
    ranks = rank_positives(vectors, labels)
    assert find_metric("recall@1").chance(ranks) == pytest.approx(chance, abs=1e-15)


# Edges -------------------------------------------------------------------------------------------


def test_one_class_only_is_perfect():
    vectors = np.random.default_rng(0).normal(size=(5, 3))
    ranks = rank_positives(vectors, np.zeros(5, dtype=int))
    assert evaluate(vectors, [7] * 5) == {"recall@1": 1.0, "map@r": 1.0}
    assert [find_metric(name).chance(ranks) for name in DEFAULT_METRICS] == pytest.approx([1] * 5)


def test_two_images_of_one_class():
    assert evaluate([[1, 0], [-1, 0]], [3, 3]) == {"recall@1": 1.0, "map@r": 1.0}


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


def test_values_that_are_not_of_these_queries_are_refused():
    ranks = rank_positives(np.ones((3, 2)), [0, 0, 1])
    with pytest.raises(ValueError, match=r"shape \(3,\); expected \(2,\)"):
        sum_by_class(np.ones(3), ranks.labels)


# Names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("recal@1", "'recal' is not among the metrics; nearest: recall"),
        ("recall", r"'recall' is no metric; expected recall@k with a whole k of at least 1"),
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
        ("recall@1|", "expected recall@k|m with a whole k"),
        ("recall@|4", "expected recall@k|m with a whole k"),
        ("recall@1|0", "at least 1"),
        ("recall@65|4", "expected k up to 64"),
        ("map@R", "expected map@k or map@r with a whole k"),
        ("map@0", "at least 1"),
        ("precision", "expected precision@k with a whole k"),
        ("mrr@3", "'mrr@3' is no metric; expected mrr"),
        ("r-precision@3", "expected r-precision"),
        ("official-map", "expected official-map@k or official-map@c"),
        ("", "not a name"),
    ],
)
def test_unknown_names_say_what_is_possible(name, message):
    with pytest.raises(UnknownNameError, match=message):
        find_metric(name)


def test_names_are_checked_before_any_work():
    with pytest.raises(UnknownNameError):
        evaluate(None, None, ["map@r", "recall@x"])


@pytest.mark.parametrize("name", [*NAMES, *DEFAULT_METRICS])
def test_a_metric_bears_the_name_it_is_found_by(name):
    assert find_metric(name).name == name


def test_scores_tell_what_is_behind_the_numbers():
    vectors, labels = clear_data(0)
    scores = score_vectors(vectors, labels, ["recall@1", "map@r"])
    ranks = rank_positives(vectors, labels)
    assert scores.values == evaluate(vectors, labels)
    assert scores.chance == {n: find_metric(n).chance(ranks) for n in ("recall@1", "map@r")}
    assert scores.queries.tolist() == ranks.queries.tolist()
    assert (scores.excluded, scores.tied, scores.spread) == (2, 0, {})


def test_blocks_of_queries_change_nothing():
    """As with ten huge classes, whose ranks nobody can hold at once."""
    vectors, labels = tied_data(0)
    names = [name for name in NAMES if name != "recall@1000"]
    whole, blocks = (score_vectors(vectors, labels, names, budget_mb=b) for b in (512, 1e-4))
    assert whole.chance == pytest.approx(blocks.chance, abs=1e-12)
    assert whole.values == blocks.values
    assert (whole.tied, whole.excluded) == (blocks.tied, blocks.excluded)


def test_one_name_will_do():
    assert evaluate(np.ones((2, 2)), [0, 0], "map@r") == {"map@r": 1.0}


# The module --------------------------------------------------------------------------------------


def test_public_names_are_sorted_and_there():
    names = oodml.metrics.__all__
    assert names == sorted(names)
    assert all(hasattr(oodml.metrics, name) for name in names)


def test_importing_the_metrics_loads_neither_torch_nor_sklearn():
    code = "import sys, oodml.metrics; print({'torch', 'sklearn', 'scipy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
