"""Controls run like any split, kept out of curves; and curves against excess shift."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_cli import as_json, call, error, ok
from toys import toy_embeddings

import oodml
from oodml.curve import against, build_curve, build_curves, gains
from oodml.embed import EmbeddingSet, write_embeddings
from oodml.errors import RunError, SplitError
from oodml.methods import Budget
from oodml.metrics import evaluate
from oodml.plot import figure_bytes, plot_curves
from oodml.report import build_page, number_table, text_table
from oodml.score import ScoreCard
from oodml.split import Part, SplitSequence
from oodml.sweep import RunStore, Sweep, read_cards, run_sweep
from oodml.sweep.jobs import fit_context

TRAINED = "multisimilarity?dim=8"
BUDGET = Budget(steps=5, batch=16, per_class=4)


@pytest.fixture(scope="module")
def vectors() -> EmbeddingSet:
    return toy_embeddings(20, noise=4.0)


@pytest.fixture(scope="module")
def sequence(vectors: EmbeddingSet) -> SplitSequence:
    return oodml.build_splits(vectors, levels=3, controls=2, partitions=50)


@pytest.fixture(scope="module")
def sweep() -> Sweep:
    return Sweep(("frozen", TRAINED), (0, 1), budget=BUDGET, controls=True)


@pytest.fixture(scope="module")
def cards(vectors: EmbeddingSet, sequence: SplitSequence, sweep: Sweep) -> list[ScoreCard]:
    return oodml.run_methods(
        vectors, sequence, methods=sweep.methods, seeds=sweep.seeds, budget=BUDGET, controls=True
    )


def plain(cards: list[ScoreCard]) -> list[ScoreCard]:
    return [card for card in cards if card.control is None]


# Running -----------------------------------------------------------------------------------------


def test_a_spec_for_every_control_as_for_every_split(
    vectors: EmbeddingSet, sequence: SplitSequence, sweep: Sweep
) -> None:
    levels = len(sequence.splits)
    specs = sweep.specs(vectors, sequence)
    assert len(specs) == levels * (1 + 2) * (1 + 2)
    assert len({spec.digest() for spec in specs}) == len(specs)
    without = replace(sweep, controls=False).specs(vectors, sequence)
    assert [spec for spec in specs if spec.control is None] == without
    assert specs[1].label() == "frozen, split 1, control 0"
    assert specs[-1].label() == f"multisimilarity?dim=8, split {levels}, control 1, seed 1"


def test_a_control_is_trained_on_its_own_train_side_alone(
    vectors: EmbeddingSet, sequence: SplitSequence, sweep: Sweep
) -> None:
    spec = sweep.specs(vectors, sequence)[-1]
    control = sequence.control(spec.rank, 1)
    context = fit_context(vectors, sequence, spec)
    assert set(context.train.classes) == set(control.train_side)
    context = fit_context(vectors, sequence, replace(spec, selection="val"))
    assert context.val is not None
    assert set(context.train.classes) == set(control.train)
    assert set(context.val.classes) == set(control.val)
    assert set(control.val) < set(control.train_side)
    assert set(control.train_side).isdisjoint(control.test)


def test_the_card_of_a_control_is_of_its_test_classes(
    vectors: EmbeddingSet, sequence: SplitSequence, cards: list[ScoreCard]
) -> None:
    for card in cards:
        part = sequence.part(Part(card.rank, card.control))
        calibration = sequence.at(card.rank).calibration
        assert calibration is not None
        assert card.shift is not None
        assert card.classes == part.test
        assert card.shift == part.shift
        assert card.excess == pytest.approx(card.shift - calibration.mean)
        if card.method == "frozen":
            test = vectors.of(part.test)
            expected = evaluate(test.vectors, test.labels, ["recall@1"])
            assert card.values["recall@1"] == pytest.approx(expected["recall@1"])
    controls = [card for card in cards if card.control is not None]
    assert len(controls) == 2 * len(plain(cards))


def test_a_store_keeps_controls_and_runs_only_what_is_new(
    tmp_path: Path, vectors: EmbeddingSet, sequence: SplitSequence, sweep: Sweep
) -> None:
    store = RunStore(tmp_path)
    first = run_sweep(vectors, sequence, replace(sweep, controls=False), store)
    steps: list[int] = []
    both = run_sweep(vectors, sequence, sweep, store, progress=lambda done, _: steps.append(done))
    assert steps == list(range(len(first) + 1, 3 * len(first) + 1))
    assert [c.to_json() for c in plain(both)] == [c.to_json() for c in first]
    assert len(read_cards([tmp_path])) == len(both)


def test_sequences_without_controls_say_so(
    tmp_path: Path, vectors: EmbeddingSet, sequence: SplitSequence, sweep: Sweep
) -> None:
    bare = replace(sequence, splits=tuple(replace(s, controls=()) for s in sequence.splits))
    with pytest.raises(SplitError, match="'toy' hold no controls; build them again with"):
        run_sweep(vectors, bare, sweep, RunStore(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()
    with pytest.raises(SplitError, match="no control 2 of split 1; it has 2, counted from 0"):
        sequence.control(1, 2)
    with pytest.raises(SplitError, match="There is no split 9"):
        sequence.control(9, 0)
    without_val = replace(
        sequence, splits=tuple(replace(s, train=s.train_side, val=()) for s in sequence.splits)
    )
    assert without_val.control(1, 0).val == ()


# Curves ------------------------------------------------------------------------------------------


def test_controls_change_no_number_of_a_curve_but_their_own(cards: list[ScoreCard]) -> None:
    for curve, alone in zip(build_curves(cards), build_curves(plain(cards)), strict=True):
        record, expected = curve.to_json(), alone.to_json()
        for name in ("control", "control_low", "control_high"):
            assert expected.pop(name) == [None] * len(curve.ranks)
        found, low, high = (record.pop(f"control{end}") for end in ("", "_low", "_high"))
        assert json.dumps(record) == json.dumps(expected)
        for at, rank in enumerate(curve.ranks):
            own = [
                card
                for card in cards
                if (card.method, card.rank) == (curve.method, rank) and card.control is not None
            ]
            means = [
                np.mean([c.values["recall@1"] for c in own if c.control == control])
                for control in {card.control for card in own}
            ]
            assert found[at] == pytest.approx(np.mean(means))
            assert (low[at], high[at]) == pytest.approx((min(means), max(means)))
    few = [c for c in cards if c.control is None or c.rank > 1]
    assert np.isnan(build_curves(few)[0].control).tolist() == [True, False, False][: len(found)]
    gain = [gains(some, TRAINED)[1].tolist() for some in (cards, plain(cards))]
    assert gain[0] == gain[1]
    with pytest.raises(RunError, match="only cards of controls"):
        build_curves([card for card in cards if card.control is not None])
    with pytest.raises(RunError, match="same run"):
        build_curves([*cards, next(card for card in cards if card.control == 1)])


def test_excess_is_another_axis_and_ags_stays(
    cards: list[ScoreCard], sequence: SplitSequence
) -> None:
    for shift, excess in zip(build_curves(cards), build_curves(cards, x="excess"), strict=True):
        assert (shift.axis, excess.axis) == ("shift", "excess")
        np.testing.assert_allclose(shift.x, [split.shift for split in sequence.splits])
        np.testing.assert_allclose(excess.x, [split.excess for split in sequence.splits])
        assert (excess.ags, excess.area) == (shift.ags, shift.area)
        np.testing.assert_array_equal(excess.mean, shift.mean)
        record, other = excess.to_json(), shift.to_json()
        assert {name for name in record if record[name] != other[name]} == {"x", "axis"}
    (again,) = against([excess], "shift")
    assert json.dumps(again.to_json()) == json.dumps(shift.to_json())
    first = build_curve(plain(cards)[:1], x="excess", partial=True)
    assert first.x == [sequence.splits[0].excess]
    with pytest.raises(ValueError, match="normalised, rank; not 'time'"):
        against([shift], "time")  # type: ignore[arg-type]


def test_unknown_or_different_excess_is_one_sentence(cards: list[ScoreCard]) -> None:
    unknown = [replace(card, excess=None) for card in plain(cards)]
    assert np.isnan(build_curves(unknown)[0].excess).all()
    with pytest.raises(RunError, match=r"'toy' know of no excess shift .* were not calibrated"):
        build_curves(unknown, x="excess")
    other = [replace(card, excess=1.0) if card.seed == 1 else card for card in plain(cards)]
    assert len(build_curves(other)) == 2
    with pytest.raises(RunError, match="differ in excess of rank 1"):
        build_curves(other, x="excess")


def test_cards_of_earlier_versions_are_read(cards: list[ScoreCard]) -> None:
    record = plain(cards)[0].to_json()
    del record["control"], record["excess"]
    card = ScoreCard.from_json(record)
    assert (card.control, card.excess) == (None, None)
    assert build_curve([card], partial=True).mean[0] == record["values"]["recall@1"]


def test_excess_is_named_wherever_it_is_drawn(cards: list[ScoreCard]) -> None:
    turned = [replace(c, excess=-c.excess if c.excess else None) for c in plain(cards)]
    curves = build_curves(turned, x="excess")
    figure = plot_curves(curves)
    axes = figure.axes[0]
    assert axes.get_xlabel() == "Excess shift (Fréchet distance between class means)"
    for line, curve in zip(axes.lines, curves, strict=False):
        x, y = line.get_data()
        assert list(x) == sorted(curve.x)
        order = np.argsort(curve.x)
        np.testing.assert_array_equal(y, curve.mean[order])
    plain_axes = plot_curves(build_curves(turned)).axes[0]
    low, high = axes.get_xlim()
    assert ("random" in [text.get_text() for text in axes.texts]) == (low <= 0 <= high)
    assert low <= 0 <= high
    assert "random" not in [text.get_text() for text in plain_axes.texts]
    assert text_table(curves)[0][1] == "Excess"
    assert text_table(build_curves(turned))[0][1] == "Shift"
    rows = list(number_table(curves))
    assert rows[0]["x"] == rows[0]["excess"] == turned[0].excess
    assert rows[0]["shift"] == turned[0].shift
    svg = figure_bytes(figure, "svg").decode()
    page = build_page(curves, title="t", summary={}, svg=svg)
    assert "Recall@1 against excess shift" in page
    assert "the range of shift (not of excess)" in page
    assert "Excess is what the shift is above" in page
    other = build_page(build_curves(turned), title="t", summary={}, svg="<svg></svg>")
    assert "xcess" not in other
    with pytest.raises(ValueError, match="one axis"):
        plot_curves([curves[0], build_curves(turned)[0]])


# The command line --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, vectors: EmbeddingSet) -> Path:
    folder = tmp_path_factory.mktemp("controls")
    write_embeddings(folder / "toy.emb", vectors)
    words = ("--embeddings", folder / "toy.emb", "--levels", 3, "--partitions", 30)
    ok("splits", "build", *words, "--controls", 2, "-o", folder / "s.json")
    words = ("--embeddings", folder / "toy.emb", "--splits", folder / "s.json")
    words += ("--method", "frozen", "--method", TRAINED, "--seeds", 1, "--steps", 5)
    ok("run", *words, "--controls", "--executor", "serial", "-o", folder / "runs")
    return folder


def test_the_path_of_a_calibrated_sequence(folder: Path) -> None:
    sequence = oodml.read_sequence(folder / "s.json")
    levels = len(sequence.splits)
    shown = ok("splits", "show", folder / "s.json")
    found = [split.calibration.p_text for split in sequence.splits if split.calibration]
    assert len(found) == levels
    for words in ("excess", "ratio", "controls", *found):
        assert words in shown
    rows = as_json("splits", "show", folder / "s.json")["splits"]
    assert [row["excess"] for row in rows] == [split.excess for split in sequence.splits]
    assert {(row["partitions"], row["n_controls"]) for row in rows} == {(30, 2)}
    words = ("splits", "show", folder / "s.json", "--embeddings", folder / "toy.emb")
    again = as_json(*words)["splits"]
    assert [r["at_least"] for r in again] == [r["at_least"] for r in rows]
    assert as_json(*words, "--partitions", 3)["splits"][0]["partitions"] == 3
    curves = as_json("curve", folder / "runs", "--x", "excess", "-o", folder / "c.svg")["curves"]
    assert curves[0]["x"] == curves[0]["excess"]
    assert curves[0]["excess"] == pytest.approx([split.excess for split in sequence.splits])
    assert None not in curves[0]["control"]
    ok("curve", folder / "runs", "--csv", folder / "c.csv", "-o", folder / "c.svg")
    table = list(csv.DictReader((folder / "c.csv").read_text().splitlines()))
    assert len(table) == 2 * levels
    assert float(table[0]["control"]) == pytest.approx(curves[0]["control"][0])
    assert float(table[0]["excess"]) == pytest.approx(curves[0]["excess"][0])
    assert table[0]["x"] == table[0]["shift"]
    assert "Excess" in ok("curve", folder / "runs", "--x", "excess", "-o", folder / "c.svg")


def test_controls_are_scored_and_exported(folder: Path) -> None:
    sequence = oodml.read_sequence(folder / "s.json")
    words = ("score", "--embeddings", folder / "toy.emb", "--splits", folder / "s.json")
    cards = as_json(*words, "--controls")["cards"]
    parts = [Part(c["rank"], c["control"], c["swapped"]) for c in cards]
    assert tuple(parts) == sequence.parts(controls=True)
    assert "1, control 0" in ok(*words, "--controls")
    assert {card["control"] for card in as_json(*words)["cards"]} == {None}
    assert call("score", "--embeddings", folder / "toy.emb", "--controls").exit_code == 2
    rows: list[dict[str, Any]] = as_json("splits", "export", folder / "s.json", "--controls")
    test = [r["class"] for r in rows if (r["rank"], r["control"], r["side"]) == (2, 1, "test")]
    assert tuple(test) == sequence.at(2).controls[1].test
    assert "control" not in ok("splits", "export", folder / "s.json").splitlines()[0]


def test_what_was_left_out_is_said(folder: Path, tmp_path: Path) -> None:
    bare = ("--embeddings", folder / "toy.emb", "--levels", 2, "--partitions", 0, "--controls", 0)
    shown = ok("splits", "build", *bare, "-o", tmp_path / "s.json")
    assert "excess" not in shown
    assert as_json("splits", "show", tmp_path / "s.json")["splits"][0]["p"] is None
    words = ("--embeddings", folder / "toy.emb", "--splits", tmp_path / "s.json")
    words += ("--method", "frozen", "-o", tmp_path / "runs")
    assert "hold no controls" in error("run", *words, "--controls")
    assert not (tmp_path / "runs").exists()
    ok("run", *words, "--executor", "serial")
    message = error("curve", tmp_path / "runs", "--x", "excess", "-o", tmp_path / "c.svg")
    assert "know of no excess shift" in message
    assert not (tmp_path / "c.svg").exists()
    assert call("curve", tmp_path / "runs", "--x", "time").exit_code == 2
    assert call("splits", "show", folder / "s.json", "--partitions", 3).exit_code == 2
