"""Metrics that are no means over queries: a jackknife over classes, from card to curve."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from toys import toy_embeddings

import oodml
from oodml.cli import main
from oodml.curve import build_curve
from oodml.metrics import by_kind, class_groups, evaluate, leave_groups_out
from oodml.score import ScoreCard, Subject, score_split

METRICS = ("recall@1", "nmi", "intra", "norm-cv")


@pytest.fixture(scope="module")
def scored():
    """Vectors, splits, and a card of each, with metrics of both kinds."""
    vectors = toy_embeddings(classes=60, noise=1.5)
    sequence = oodml.build_splits(vectors, levels=3)
    ranks = range(1, len(sequence.splits) + 1)
    cards = [score_split(vectors, sequence, r, subject=Subject(), metrics=METRICS) for r in ranks]
    return vectors, sequence, cards


@pytest.mark.parametrize("count", [1, 3, 19, 20, 21, 137])
def test_groups_are_as_even_as_can_be_whatever_the_order_of_classes(count):
    names = tuple(f"class {at}" for at in range(count))
    groups = class_groups(names)
    assert groups == class_groups(names[::-1])
    sizes = Counter(groups.values())
    assert set(sizes) == set(range(min(20, count)))
    assert max(sizes.values()) - min(sizes.values()) <= 1


def test_replicates_are_the_metrics_of_the_classes_that_are_left():
    vectors = toy_embeddings(classes=9)
    groups = class_groups(tuple(range(9)), groups=4)
    sets = by_kind(["intra", "norm-mean"])[1]
    found = leave_groups_out(vectors.vectors, vectors.labels, sets, groups)
    for group in range(4):
        kept = [label for label in range(9) if groups[label] != group]
        rows = np.isin(vectors.labels, kept)
        expected = evaluate(vectors.vectors[rows], vectors.labels[rows], list(sets))
        assert {name: row[group] for name, row in found.items()} == pytest.approx(expected)


def test_without_a_group_that_is_not_there_nothing_changes():
    vectors = toy_embeddings(classes=6)
    groups = {label: label // 2 for label in range(10)}
    found = leave_groups_out(vectors.vectors, vectors.labels, by_kind(["intra"])[1], groups)
    whole = evaluate(vectors.vectors, vectors.labels, "intra")["intra"]
    assert found["intra"][3:].tolist() == [whole] * 2
    assert (found["intra"][:3] != whole).all()


def test_what_is_not_defined_without_a_group_is_no_number_and_stops_nothing():
    """Of two test classes, one is left: no distance between classes, nothing to be clustered."""
    vectors = toy_embeddings(classes=2)
    sets = by_kind(["inter", "nmi", "norm-mean"])[1]
    found = leave_groups_out(vectors.vectors, vectors.labels, sets, {0: 0, 1: 1})
    assert np.isnan(found["inter"]).all()
    assert np.isnan(found["nmi"]).all()
    assert np.isfinite(found["norm-mean"]).all()
    alone = leave_groups_out(vectors.vectors, vectors.labels, sets, {0: 0, 1: 0})
    assert np.isnan(alone["norm-mean"]).all()


def test_undefined_intervals_are_null_in_json():
    vectors = toy_embeddings(classes=8)
    sequence = oodml.build_splits(vectors, levels=3, options={"remove": False}, partitions=0)
    ranks = range(1, len(sequence.splits) + 1)
    cards = [
        replace(
            score_split(vectors, sequence, rank, subject=Subject(), metrics=["inter"]),
            replicates={"inter": np.full(8, np.nan)},
        )
        for rank in ranks
    ]
    record = json.loads(json.dumps(build_curve(cards, "inter").to_json(), allow_nan=False))
    assert record["ags_low"] is record["ags_high"] is None
    assert record["low"] == [None] * len(cards)
    assert record["ags"] > 0


def test_cards_carry_values_and_replicates_and_come_back_from_json(scored):
    vectors, sequence, cards = scored
    for card, split in zip(cards, sequence.splits, strict=True):
        test = vectors.of(split.test)
        assert card.values == pytest.approx(evaluate(test.vectors, test.labels, METRICS))
        assert set(card.sums) == {"recall@1"}
        assert set(card.replicates) == set(card.others) == {"nmi", "intra", "norm-cv"}
        again = ScoreCard.from_json(json.loads(json.dumps(card.to_json(), allow_nan=False)))
        assert again.to_json() == card.to_json()
        for name, row in card.replicates.items():
            np.testing.assert_array_equal(again.replicates[name], row)


def test_intervals_of_curves_are_those_of_the_jackknife(scored):
    """Written out: mean +- t sqrt((g - 1) / g sum (value_i - mean)^2), t of g - 1."""
    from scipy.stats import t

    cards = scored[2]
    curve = build_curve(cards, "intra")
    for at, card in enumerate(cards):
        row = card.replicates["intra"]
        assert len(row) == 20
        variance = (len(row) - 1) / len(row) * ((row - row.mean()) ** 2).sum()
        half = t.ppf(0.975, min(len(card.classes), 20) - 1) * np.sqrt(variance)
        assert curve.high[at] - curve.mean[at] == pytest.approx(half)
    assert curve.area.low < curve.ags < curve.area.high
    assert "deterministic" in curve.note


def test_the_jackknife_is_about_the_textbook_standard_error(scored):
    """The mean norm of 60 classes' images is a mean, whose standard error is known."""
    vectors = scored[0]
    sets = by_kind(["norm-mean"])[1]
    groups = class_groups(tuple(range(60)))
    row = leave_groups_out(vectors.vectors, vectors.labels, sets, groups)["norm-mean"]
    found = np.sqrt(19 / 20 * ((row - row.mean()) ** 2).sum())
    norms = np.linalg.norm(vectors.vectors, axis=1)
    means = [norms[vectors.labels == label].mean() for label in range(60)]
    assert found == pytest.approx(np.std(means, ddof=1) / np.sqrt(60), rel=0.35)


def test_scores_of_both_kinds_on_the_command_line(scored, tmp_path):
    vectors, sequence, cards = scored
    file, splits = tmp_path / "toy.emb", tmp_path / "toy.json"
    oodml.write_embeddings(file, vectors)
    oodml.write_sequence(splits, sequence)
    wanted = [part for name in METRICS for part in ("--metric", name)]

    def run(*more):
        shown = CliRunner().invoke(main, ["score", "--embeddings", str(file), *wanted, *more])
        assert shown.exit_code == 0, shown.output
        return shown.stdout

    whole = json.loads(run("--json"))
    assert whole["values"] == evaluate(vectors.vectors, vectors.labels, METRICS)
    assert set(whole["chance"]) == {"recall@1"}
    assert set(whole["spread"]) == {"nmi"}
    assert "spread over seeds" in run()
    found = json.loads(run("--splits", str(splits), "--json"))["cards"]
    assert [card["values"] for card in found] == [pytest.approx(card.values) for card in cards]
    assert found[0]["replicates"]["intra"]


def test_a_similarity_of_ones_own_is_kept_on_the_card(scored, tmp_path):
    vectors, sequence, _ = scored
    file, splits = tmp_path / "toy.emb", tmp_path / "toy.json"
    oodml.write_embeddings(file, vectors)
    oodml.write_sequence(splits, sequence)
    given = ["score", "--embeddings", str(file), "--splits", str(splits), "--json"]
    shown = CliRunner().invoke(main, [*given, "--similarity", "euclidean"])
    card = json.loads(shown.stdout)["cards"][0]
    assert card["similarity"] == "euclidean"
    test = vectors.of(sequence.at(1).test)
    expected = evaluate(test.vectors, test.labels, "recall@1", similarity="euclidean")
    assert card["values"]["recall@1"] == pytest.approx(expected["recall@1"])
    refused = CliRunner().invoke(main, [*given, "--device", "gpu"])
    assert refused.exit_code != 0
    assert "Device 'gpu' cannot be used here" in refused.output
