"""Splits the other way round: trained on the test classes, tested on the train side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_cli import as_json, call, error, ok
from toys import toy_embeddings

import oodml
from oodml.embed import EmbeddingSet, write_embeddings
from oodml.errors import SplitError
from oodml.methods import Budget
from oodml.metrics import evaluate
from oodml.score import ScoreCard, Subject, score_split
from oodml.split import Part, SplitSequence
from oodml.split.sequence import validation_classes
from oodml.sweep import RunSpec, RunStore, Sweep, read_cards, run_sweep
from oodml.sweep.jobs import fit_context

TRAINED = "multisimilarity?dim=8"
BUDGET = Budget(steps=5, batch=16, per_class=4)


@pytest.fixture(scope="module")
def vectors() -> EmbeddingSet:
    return toy_embeddings(20, noise=4.0)


@pytest.fixture(scope="module")
def sequence(vectors: EmbeddingSet) -> SplitSequence:
    return oodml.build_splits(vectors, levels=3, controls=2, partitions=20)


@pytest.fixture(scope="module")
def sweep() -> Sweep:
    return Sweep(("frozen", TRAINED), (0, 1), budget=BUDGET, both_ways=True)


def without_val(sequence: SplitSequence) -> SplitSequence:
    splits = (replace(split, train=split.train_side, val=()) for split in sequence.splits)
    return replace(sequence, splits=tuple(splits))


# Parts -------------------------------------------------------------------------------------------


def test_parts_are_the_splits_their_controls_and_each_swapped(sequence: SplitSequence) -> None:
    levels = len(sequence.splits)
    ranks = range(1, levels + 1)
    assert sequence.parts() == tuple(Part(rank) for rank in ranks)
    assert sequence.parts(both_ways=True)[:3] == (Part(1), Part(1, None, True), Part(2))
    everything = sequence.parts(controls=True, both_ways=True)
    expected = [
        Part(rank, control, swapped)
        for rank in ranks
        for control in (None, 0, 1)
        for swapped in (False, True)
    ]
    assert list(everything) == expected
    shown = ["1", "1, swapped", "1, control 0", "1, control 0, swapped"]
    assert [str(part) for part in everything[:4]] == shown
    bare = replace(sequence, splits=tuple(replace(s, controls=()) for s in sequence.splits))
    assert len(bare.parts(both_ways=True)) == 2 * levels
    with pytest.raises(SplitError, match="hold no controls"):
        bare.parts(controls=True, both_ways=True)


def test_swapping_exchanges_the_sides_and_nothing_else(sequence: SplitSequence) -> None:
    for part in sequence.parts(controls=True):
        plain, swapped = sequence.part(part), sequence.part(replace(part, swapped=True))
        assert swapped.test == plain.train_side
        assert swapped.train_side == plain.test
        assert (swapped.rank, swapped.shift) == (plain.rank, plain.shift)
        drawn = validation_classes(plain.test, seed=sequence.seed or 0, rank=part.rank)
        assert swapped.val == drawn
        assert swapped.val
        bare = without_val(sequence).part(replace(part, swapped=True))
        assert (bare.val, bare.train) == ((), plain.test)
    assert sequence.part(Part(2)) is sequence.at(2)
    with pytest.raises(SplitError, match="There is no split 9"):
        sequence.part(Part(9, swapped=True))


# Specs -------------------------------------------------------------------------------------------


def test_runs_of_the_ordinary_direction_keep_their_names(
    vectors: EmbeddingSet, sequence: SplitSequence, sweep: Sweep
) -> None:
    specs = sweep.specs(vectors, sequence)
    ordinary = replace(sweep, both_ways=False).specs(vectors, sequence)
    assert [spec for spec in specs if not spec.swapped] == ordinary
    assert len(specs) == len({spec.digest() for spec in specs}) == 2 * len(ordinary)
    assert {spec.swapped for spec in specs} == {None, True}
    assert replace(specs[0], swapped=False) == specs[0]
    assert specs[1].label() == "frozen, split 1, swapped"
    assert specs[-1].label() == f"{TRAINED}, split {len(sequence.splits)}, swapped, seed 1"
    facts = {"parameters": {"dim": 8}, "budget": {"steps": 5}, "seed": 1, "control": 0}
    spec = RunSpec("images", "splits", 2, "vectors", None, "m", 1, "head", "last", 2, **facts)  # type: ignore[arg-type]
    # As computed before there was a direction.
    assert spec.digest() == "4fc36606ae96ad49e044f9e41c4303e35f29bcd3806c0e3a652302b7fc490235"


def test_a_swapped_run_is_trained_on_the_test_classes_alone(
    vectors: EmbeddingSet, sequence: SplitSequence, sweep: Sweep
) -> None:
    with_controls = replace(sweep, controls=True)
    for spec in with_controls.specs(vectors, sequence):
        plain = sequence.part(replace(spec.part, swapped=False))
        side = plain.test if spec.swapped else plain.train_side
        context = fit_context(vectors, sequence, spec)
        assert set(context.train.classes) == set(side)
        assert context.val is None
        context = fit_context(vectors, sequence, replace(spec, selection="val"))
        assert context.val is not None
        assert {*context.train.classes, *context.val.classes} == set(side)
        assert set(context.train.classes).isdisjoint(context.val.classes)


def test_validation_classes_are_needed_in_every_part(
    tmp_path: Path, vectors: EmbeddingSet, sequence: SplitSequence
) -> None:
    """A side of two classes has none to spare, however many the other side has."""
    names = vectors.classes
    split = replace(sequence.at(1), train=names[:8], val=names[8:12], test=names[18:], controls=())
    lopsided = replace(sequence, splits=(split,))
    sweep = Sweep((TRAINED,), (0,), selection="val", budget=BUDGET)
    run_sweep(vectors, lopsided, sweep, RunStore(tmp_path / "one way"))
    with pytest.raises(SplitError, match="Split 1, swapped has no validation classes; use"):
        run_sweep(vectors, lopsided, replace(sweep, both_ways=True), RunStore(tmp_path / "both"))
    assert not (tmp_path / "both").exists()


# Cards -------------------------------------------------------------------------------------------


def test_the_card_of_a_swapped_split_is_of_its_train_side(
    vectors: EmbeddingSet, sequence: SplitSequence, sweep: Sweep
) -> None:
    cards = oodml.run_methods(
        vectors,
        sequence,
        methods=sweep.methods,
        seeds=[0],
        budget=BUDGET,
        controls=True,
        both_ways=True,
    )
    assert sum(card.swapped for card in cards) == len(cards) / 2
    for card in cards:
        plain = sequence.part(Part(card.rank, card.control))
        calibration = sequence.at(card.rank).calibration
        assert calibration is not None
        assert plain.shift is not None
        assert card.classes == (plain.train_side if card.swapped else plain.test)
        assert card.shift == plain.shift
        assert card.excess == pytest.approx(plain.shift - calibration.mean)
        assert (card.levels, card.search) == (len(sequence.splits), "ooDML")
        if card.method == "frozen":
            side = vectors.of(card.classes)
            expected = evaluate(side.vectors, side.labels, ["recall@1"])
            assert card.values["recall@1"] == pytest.approx(expected["recall@1"])
        again = ScoreCard.from_json(card.to_json())
        assert again.to_json() == card.to_json()


def test_training_the_other_way_round_is_training_on_the_swapped_split(
    vectors: EmbeddingSet, sequence: SplitSequence
) -> None:
    """The same numbers as of a sequence that was written the other way round."""
    turned = tuple(
        replace(sequence.part(Part(s.rank, swapped=True)), controls=()) for s in sequence.splits
    )
    options = {"methods": [TRAINED], "seeds": [0], "budget": BUDGET}
    for selection in ("last", "val"):
        both = oodml.run_methods(vectors, sequence, selection=selection, both_ways=True, **options)  # type: ignore[arg-type]
        other = oodml.run_methods(
            vectors, replace(sequence, splits=turned), selection=selection, **options
        )  # type: ignore[arg-type]
        found = [(c.classes, c.values) for c in both if c.swapped]
        assert found == [(c.classes, c.values) for c in other]


def test_cards_of_earlier_versions_are_read(vectors: EmbeddingSet, sequence: SplitSequence) -> None:
    record = score_split(vectors, sequence, 1, subject=Subject()).to_json()
    assert (record.pop("swapped"), record.pop("search")) == (False, "ooDML")
    card = ScoreCard.from_json(record)
    assert (card.swapped, card.search) == (False, None)


def test_a_store_keeps_both_ways_and_runs_only_what_is_new(
    tmp_path: Path, vectors: EmbeddingSet, sequence: SplitSequence, sweep: Sweep
) -> None:
    store = RunStore(tmp_path)
    first = run_sweep(vectors, sequence, replace(sweep, both_ways=False), store)
    steps: list[int] = []
    both = run_sweep(vectors, sequence, sweep, store, progress=lambda done, _: steps.append(done))
    assert steps == list(range(len(first) + 1, 2 * len(first) + 1))
    assert [c.to_json() for c in both if not c.swapped] == [c.to_json() for c in first]
    assert len(read_cards([tmp_path])) == len(both)


# The command line --------------------------------------------------------------------------------


def test_both_ways_on_the_command_line(tmp_path: Path) -> None:
    """Glyphs, as a user would: build, run both ways, score both ways."""
    glyphs = oodml.embed_data(oodml.load_data("glyphs"), "oodml:pixels?size=8")
    few = glyphs.of(glyphs.classes[::20])
    write_embeddings(tmp_path / "g.emb", few)
    words = ("--embeddings", tmp_path / "g.emb", "--levels", 2, "--partitions", 20)
    ok("splits", "build", *words, "--controls", 1, "-o", tmp_path / "s.json")
    sequence = oodml.read_sequence(tmp_path / "s.json")
    inputs = ("--embeddings", tmp_path / "g.emb", "--splits", tmp_path / "s.json")
    words = ("run", *inputs, "--method", "frozen", "--method", TRAINED, "--seeds", 1)
    words += ("--steps", 5, "--executor", "serial", "--select", "val", "-o", tmp_path / "runs")
    assert as_json(*words, "--both-ways", "--dry-run")["runs"] == 8
    assert as_json(*words, "--both-ways", "--controls")["runs"] == 16
    assert as_json(*words, "--controls", "--dry-run")["done_before"] == 8
    cards = read_cards([tmp_path / "runs"])
    parts = [Part(card.rank, card.control, card.swapped) for card in cards]
    everything = sequence.parts(controls=True, both_ways=True)
    assert sorted(map(str, parts)) == sorted(map(str, everything * 2))
    shown = ok("score", *inputs, "--both-ways", "--controls")
    assert all(f" {part} " in shown for part in everything)
    scored = as_json("score", *inputs, "--both-ways")["cards"]
    expected = [(1, False), (1, True), (2, False), (2, True)]
    assert [(card["rank"], card["swapped"]) for card in scored] == expected
    frozen = {
        (c.rank, c.swapped): c.values["recall@1"]
        for c in cards
        if c.method == "frozen" and c.control is None
    }
    for card in scored:
        assert card["values"]["recall@1"] == frozen[card["rank"], card["swapped"]]
        assert card["search"] == "ooDML"
    assert "swapped" not in ok("score", *inputs)
    assert call("score", "--embeddings", tmp_path / "g.emb", "--both-ways").exit_code == 2
    oodml.write_sequence(tmp_path / "bare.json", without_val(sequence))
    words = ("run", *inputs[:3], tmp_path / "bare.json", "--method", TRAINED, "--both-ways")
    message = error(*words, "--select", "val", "-o", tmp_path / "bare")
    assert "Split 1 has no validation classes" in message
    assert not (tmp_path / "bare").exists()
