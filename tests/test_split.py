"""Splits, sequences, their files, and building them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toys import toy_embeddings

import oodml
from oodml.errors import FormatError, OodmlError, SplitError, UnknownNameError
from oodml.split import (
    Split,
    SplitSequence,
    describe,
    measure_shifts,
    problems,
    read_sequence,
    write_sequence,
)
from oodml.split.build import start_sides
from oodml.split.grading import choose_levels
from oodml.split.problem import Candidate, Sides
from oodml.split.sequence import validation_classes


def test_a_sequence_keeps_its_promises() -> None:
    vectors = toy_embeddings(60)
    sequence = oodml.build_splits(vectors, levels=7)
    assert [split.rank for split in sequence.splits] == list(range(1, len(sequence.splits) + 1))
    shifts = [split.shift for split in sequence.splits]
    assert shifts == sorted(set(shifts))
    assert len(shifts) > 4
    for split in sequence.splits:
        sides = [*split.train, *split.val, *split.test]
        assert len(set(sides)) == len(sides)
        assert set(sides) <= set(vectors.classes)
        n = len(split.train_side)
        assert len(split.train) == 3 * n // 4
        assert len(split.val) == n - 3 * n // 4
    np.testing.assert_allclose(measure_shifts(sequence, vectors), shifts, rtol=1e-8)
    assert not list(problems(sequence, vectors))


def test_the_same_input_gives_the_same_digest_and_leaves_the_input_alone() -> None:
    vectors = toy_embeddings(30)
    before = vectors.digest()
    first, again = (oodml.build_splits(vectors, levels=4) for _ in range(2))
    assert first == again
    assert vectors.digest() == before
    other = oodml.build_splits(vectors, levels=4, seed=1)
    assert other.digest != first.digest  # other validation classes
    assert [s.test for s in other.splits] == [s.test for s in first.splits]


def test_the_order_of_classes_does_not_matter() -> None:
    vectors = toy_embeddings(30)
    turned = replace(vectors.of(vectors.classes[::-1]), content_fingerprint="toy-0")
    assert (
        oodml.build_splits(turned, levels=4).digest == oodml.build_splits(vectors, levels=4).digest
    )


def test_the_start_is_the_published_halves_or_name_order() -> None:
    vectors = toy_embeddings(9).of([f"class {c:03}" for c in (3, 1, 4, 0, 5, 8, 2, 6, 7)])
    assert sorted(vectors.classes[row] for row in start_sides(vectors).train) == [
        f"class {c:03}" for c in range(4)
    ]
    halves = (vectors.classes[::2], vectors.classes[1::2])
    start = start_sides(replace(vectors, default=halves))
    assert tuple(vectors.classes[row] for row in start.train) == halves[0]
    assert tuple(vectors.classes[row] for row in start.test) == halves[1]


@pytest.mark.parametrize("classes", [4, 5, 7])
def test_few_classes_still_split(classes: int) -> None:
    sequence = oodml.build_splits(toy_embeddings(classes, per_class=2))
    for split in sequence.splits:
        assert len(split.train_side) >= 2
        assert len(split.test) >= 2


def test_one_dimension_is_enough() -> None:
    sequence = oodml.build_splits(toy_embeddings(20, d=1), levels=5)
    assert len(sequence.splits) >= 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": 3}, "has 3 classes; a split needs at least 4"),
        ({"noise": 0.0, "same": True}, "All class means of 'toy' are equal"),
    ],
)
def test_what_cannot_be_split_is_said(change: dict[str, object], message: str) -> None:
    same = change.pop("same", False)
    vectors = toy_embeddings(**{"classes": 8, **change})  # type: ignore[arg-type]
    if same:
        vectors = replace(vectors, vectors=np.ones_like(vectors.vectors))
    with pytest.raises(SplitError, match=message):
        oodml.build_splits(vectors)


def test_unknown_names_are_explained() -> None:
    vectors = toy_embeddings(8)
    with pytest.raises(UnknownNameError, match="'oodml' is not among the searches; nearest: ooDML"):
        oodml.build_splits(vectors, search="oodml")
    with pytest.raises(UnknownNameError, match="'frechett' is not among the measures"):
        oodml.build_splits(vectors, measure="frechett")
    with pytest.raises(UnknownNameError, match="no option 'swap'"):
        oodml.build_splits(vectors, options={"swap": 1})
    with pytest.raises(SplitError, match="0 levels"):
        oodml.build_splits(vectors, levels=0)


def test_validation_classes_are_a_seeded_quarter() -> None:
    train = tuple(f"{i:03}" for i in range(98))
    val = validation_classes(train, seed=0, rank=1)
    assert len(val) == 25  # as in the published splits: 73 and 25
    assert set(val) < set(train)
    assert val == validation_classes(train, seed=0, rank=1)
    assert val != validation_classes(train, seed=1, rank=1)
    assert val != validation_classes(train, seed=0, rank=2)
    assert [len(validation_classes(train[:n], seed=0, rank=1)) for n in (1, 2, 3, 4)] == [
        0,
        0,
        1,
        1,
    ]


def test_levels_are_nearest_to_even_targets() -> None:
    sides = Sides(np.arange(2), np.arange(2, 4))
    found = choose_levels([Candidate(sides, s) for s in (5.0, 0.0, 2.4, 2.6, 9.9, 10.0, 7.5)], 5)
    assert [c.shift for c in found] == [0.0, 2.4, 5.0, 7.5, 10.0]
    repeated = choose_levels([Candidate(sides, s) for s in (0.0, 1.0, 1.0, 10.0)], 5)
    assert [c.shift for c in repeated] == [0.0, 1.0, 10.0]


# Values and files --------------------------------------------------------------------------------


def small() -> SplitSequence:
    easy = Split(1, 0.5, ("a", "b"), ("c",), ("d", "e"))
    hard = Split(2, 1.25, ("a", "d"), (), ("b", "e"))
    return SplitSequence("toy", (easy, hard), measure="frechet", search="ooDML", seed=0)


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    sequence = oodml.build_splits(toy_embeddings(12), levels=3)
    write_sequence(tmp_path / "s.json", sequence)
    assert read_sequence(tmp_path / "s.json") == sequence
    write_sequence(tmp_path / "t.json", read_sequence(tmp_path / "s.json"))
    assert (tmp_path / "s.json").read_bytes() == (tmp_path / "t.json").read_bytes()


def test_the_digest_covers_classes_and_order_but_no_float() -> None:
    sequence = small()
    easy, hard = sequence.splits
    assert replace(sequence, splits=(replace(easy, shift=0.6), hard)).digest == sequence.digest
    assert replace(sequence, encoder=None, seed=None, measure=None).digest == sequence.digest
    moved = replace(easy, train=("a",), val=("b", "c"))
    for other in (
        replace(sequence, dataset="other"),
        replace(sequence, splits=(moved, hard)),
        replace(sequence, splits=(easy,)),
    ):
        assert other.digest != sequence.digest


def test_the_order_of_names_in_a_list_does_not_matter() -> None:
    assert Split(1, 0.5, ("b", "a"), (), ("d", "c")) == Split(1, 0.5, ("a", "b"), (), ("c", "d"))


def tampered(path: Path, edit: str) -> Path:
    write_sequence(path, small())
    record = json.loads(path.read_text())
    if edit == "class":
        record["splits"][0]["test"][0] = "z"
    elif edit == "both sides":
        record["splits"][0]["test"].append("a")
    elif edit == "order":
        record["splits"].reverse()
    elif edit == "shift":
        record["splits"][1]["shift"] = 0.1
    elif edit == "empty":
        record["splits"] = []
    elif edit == "field":
        record["unknown"] = 1
    elif edit == "text":
        record["splits"] = "none"
    path.write_text(json.dumps(record))
    return path


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ("class", "class lists were changed .* build it again"),
        ("both sides", r"1 classes are in two places, such as 'a'"),
        ("order", r"Ranks are \[2, 1\]; expected 1 to 2"),
        ("shift", "expected each larger than the one before"),
        ("empty", "has no split"),
        ("field", "no split sequence"),
        ("text", "no split sequence"),
    ],
)
def test_a_changed_file_is_refused(tmp_path: Path, edit: str, message: str) -> None:
    path = tampered(tmp_path / "s.json", edit)
    with pytest.raises(OodmlError, match=message) as caught:
        read_sequence(path)
    assert str(path) in str(caught.value)


def test_empty_sides_and_unknown_ranks_are_refused() -> None:
    with pytest.raises(SplitError, match="has an empty side"):
        Split(1, 0.5, (), (), ("a",))
    with pytest.raises(SplitError, match="has an empty side"):
        Split(1, 0.5, ("a",), (), ())
    with pytest.raises(SplitError, match="There is no split 3; this sequence has 1 to 2"):
        small().at(3)


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    write_sequence(path, small())
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(
        FormatError, match=r"version 2; this oodml reads format 'oodml.splits', version 1"
    ):
        read_sequence(path)


# Looking -----------------------------------------------------------------------------------------


def test_rows_say_what_moved_and_how_many_images() -> None:
    vectors = toy_embeddings(20)
    sequence = oodml.build_splits(vectors, levels=4)
    rows = describe(sequence, vectors)
    assert rows[0].moved is None
    for before, row, split in zip(sequence.splits, rows[1:], sequence.splits[1:], strict=False):
        assert row.moved == len(set(split.train_side) - set(before.train_side))
        assert row.train_images == 6 * len(split.train_side)
    assert describe(sequence)[0].measured is None


def test_other_data_is_told_apart() -> None:
    vectors = toy_embeddings(20)
    sequence = oodml.build_splits(vectors, levels=3)
    assert not list(problems(sequence, vectors))
    other = replace(vectors, content_fingerprint="other")
    assert "other images" in " ".join(problems(sequence, other))
    moved = replace(vectors, vectors=np.array(vectors.vectors)[:, ::-1] * 1.01)
    sequence = replace(sequence, encoder=oodml.open_encoder("oodml:hog").spec)
    moved = replace(moved, encoder=sequence.encoder)
    assert "Split 1: recorded shift" in " ".join(problems(sequence, moved))
    fewer = vectors.of(vectors.classes[:10])
    with pytest.raises(
        SplitError, match=r"10 of 20 classes .* are not in 'toy', such as 'class 010'"
    ):
        measure_shifts(sequence, fewer)
