"""Random partitions of the classes of splits: what they say of a shift, and what files keep."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kstest
from toys import toy_embeddings

import oodml
from oodml.embed import EmbeddingSet
from oodml.errors import OodmlError, SplitError
from oodml.shift import MEASURES, class_moments
from oodml.split import (
    Calibration,
    Control,
    Split,
    SplitSequence,
    calibrate,
    describe,
    read_sequence,
    write_sequence,
)
from oodml.split.calibration import p_text
from oodml.split.chance import Gauge, default_partitions


def as_embeddings(means: np.ndarray) -> EmbeddingSet:
    names = tuple(f"{row:03}" for row in range(len(means)))
    return EmbeddingSet("means", names, np.arange(len(means)), names, means.astype("f4"), "means")


def halves(vectors: EmbeddingSet, test: int | None = None) -> SplitSequence:
    """One split of unknown search: the last classes are tested."""
    names = tuple(sorted(vectors.classes))
    size = len(names) - (test or len(names) // 2)
    train, test_side = names[:size], names[size:]
    index = {name: row for row, name in enumerate(vectors.classes)}
    rows = [[index[name] for name in side] for side in (train, test_side)]
    shift = MEASURES["frechet"](*(class_moments(vectors).means[side] for side in rows))
    splits = (Split(1, shift, train, (), test_side),)
    content = vectors.content_fingerprint
    return SplitSequence("means", splits, content_fingerprint=content, measure="frechet")


def slow_random(
    vectors: EmbeddingSet, split: Split, partitions: int, measure: str, seed: int
) -> np.ndarray:
    """A partition at a time, with the measure as a user calls it."""
    distance = MEASURES[measure].on(vectors)
    names = sorted(split.train + split.val + split.test)
    size = len(split.train) + len(split.val)
    shifts = []
    for number in range(1, partitions + 1):
        order = np.random.default_rng([seed, 0, number]).permutation(len(names))
        rows = [vectors.classes.index(names[at]) for at in order]
        shifts.append(distance(np.array(rows[:size]), np.array(rows[size:])))
    return np.array(shifts)


# Against the slow loop ---------------------------------------------------------------------------


@pytest.mark.parametrize("measure", ["frechet", "frechet-pca", "mmd", "energy"])
@pytest.mark.parametrize(("classes", "d"), [(14, 30), (30, 12), (9, 1)])
def test_a_calibration_is_that_of_the_slow_loop(classes: int, d: int, measure: str) -> None:
    vectors = toy_embeddings(classes, d=d).of(toy_embeddings(classes, d=d).classes[::-1])
    sequence = oodml.build_splits(
        vectors, levels=3, measure=measure, seed=3, partitions=17, controls=0
    )
    for split in sequence.splits:
        expected = slow_random(vectors, split, 17, measure, 3)
        found = split.calibration
        assert found is not None
        assert split.shift is not None
        assert found.partitions == 17
        assert found.mean == pytest.approx(expected.mean(), rel=1e-7)
        assert found.std == pytest.approx(expected.std(ddof=1), rel=1e-5)
        assert found.at_least == np.sum(expected >= split.shift * (1 - 1e-6))
        assert split.excess == pytest.approx(split.shift - expected.mean(), rel=1e-5)
        assert split.ratio == pytest.approx(split.shift / expected.mean(), rel=1e-7)


def test_controls_have_the_shift_that_is_measured_on_them() -> None:
    vectors = toy_embeddings(24)
    sequence = oodml.build_splits(vectors, levels=3, partitions=0, controls=4)
    means = class_moments(vectors)
    for split in sequence.splits:
        assert len(split.controls) == 4
        for control in split.controls:
            sides = [
                means.means[means.rows(n)] for n in (split.without(control.test), control.test)
            ]
            assert control.shift == pytest.approx(MEASURES["frechet"](*sides), rel=1e-7)


def test_more_classes_than_the_field_holds_are_measured_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors = toy_embeddings(20)
    at_once = oodml.build_splits(vectors, levels=2, partitions=10)
    monkeypatch.setattr("oodml.shift.frechet.LARGEST", 10)
    monkeypatch.setattr("oodml.shift.frechet.LEADING", 2)
    one_by_one = calibrate(at_once, vectors, partitions=10)
    for fast, slow in zip(at_once.splits, one_by_one.splits, strict=True):
        assert fast.calibration is not None
        assert slow.calibration is not None
        assert slow.calibration.mean == pytest.approx(fast.calibration.mean, rel=1e-7)
        assert [c.test for c in slow.controls] == [c.test for c in fast.controls]


# What the numbers are ----------------------------------------------------------------------------


def test_the_numbers_follow_from_shift_and_random_shifts() -> None:
    found = Calibration.of(5.0, np.array([2.0, 4.0, 6.0, 4.0]))
    assert (found.partitions, found.mean, found.at_least) == (4, 4.0, 1)
    assert found.std == pytest.approx(np.sqrt(8 / 3))
    assert found.excess(5.0) == 1.0
    assert found.ratio(5.0) == 1.25
    assert found.z(5.0) == pytest.approx(1 / np.sqrt(8 / 3))
    assert found.p == 2 / 5
    assert found.percentile == 75
    for shift in (0.0, 4.0, 100.0):
        assert found.excess(shift) + found.mean == shift


def test_p_is_printed_as_a_bound_where_no_partition_is_as_far() -> None:
    assert p_text(0, 200) == "< 1/201"
    assert p_text(0, 20) == "< 1/21"
    assert p_text(1, 200) == "0.01"
    assert p_text(200, 200) == "1"
    assert Calibration(200, 1.0, 0.1, 0).p_text == "< 1/201"
    assert Calibration(200, 1.0, 0.1, 0).p == 1 / 201


def test_random_splits_have_no_excess_and_p_is_even() -> None:
    """A split that is random itself is as far as any other: p takes each value equally often."""
    vectors = as_embeddings(np.random.default_rng(5).standard_normal((24, 8)))
    sequence = halves(vectors)
    gauge = Gauge(sequence, vectors, 199)
    names = sequence.splits[0].classes
    rng = np.random.default_rng(1)
    orders = [rng.permutation(names) for _ in range(400)]
    sides = [(tuple(order[:12].tolist()), tuple(order[12:].tolist())) for order in orders]
    shifts = gauge.shifts(sides)
    found = [Calibration.of(shift, gauge.random(sequence.splits[0])) for shift in shifts]
    p = [calibration.p for calibration in found]
    excess = [c.excess(shift) for c, shift in zip(found, shifts, strict=True)]
    # 400 splits and 199 partitions: four standard errors of the difference of their means.
    assert abs(np.mean(excess)) < 4 * found[0].std * np.sqrt(1 / 400 + 1 / 199)
    assert abs(np.mean(p) - 0.5) < 0.1
    assert kstest(p, "uniform").statistic < 0.15
    assert min(p) >= 1 / 200


def test_a_far_split_is_far_and_its_p_the_smallest() -> None:
    rng = np.random.default_rng(0)
    means = rng.standard_normal((30, 6))
    means[15:] += 4
    vectors = as_embeddings(means)
    (split,) = calibrate(halves(vectors), vectors).splits
    assert split.calibration is not None
    assert split.calibration.p_text == "< 1/201"
    assert split.ratio is not None
    assert split.ratio > 2


@pytest.mark.parametrize(
    ("power", "low", "high"), [(0, 0.03, 0.08), (1, 0.1, 0.2), (1.5, 0.2, 0.45)]
)
def test_chance_alone_is_farther_with_fewer_classes(power: float, low: float, high: float) -> None:
    """98 + 98 and 62 + 62 classes of one Gaussian with a power-law spectrum."""
    scale = np.arange(1, 2049.0) ** (-power / 2)
    vectors = as_embeddings(np.random.default_rng(0).standard_normal((196, 2048)) * scale)
    few = vectors.of(vectors.classes[:124])
    many, less = (
        calibrate(halves(some), some, partitions=40, controls=0).splits[0].calibration
        for some in (vectors, few)
    )
    assert many is not None
    assert less is not None
    assert low < less.mean / many.mean - 1 < high


# Edges -------------------------------------------------------------------------------------------


def test_partitions_that_are_all_equal_have_no_spread_and_no_z() -> None:
    """Four corners of a simplex: every two halves are the same again, up to rounding."""
    vectors = as_embeddings(np.eye(4) * 0.1)
    (split,) = calibrate(halves(vectors), vectors, partitions=50).splits
    found, shift = split.calibration, split.shift
    assert found is not None
    assert shift is not None
    assert found.std == 0
    assert found.z(shift) is None
    assert found.p == 1
    assert split.ratio == pytest.approx(1)
    assert split.to_json()["calibration"]["z"] is None


def test_a_partition_that_is_the_split_again_counts_as_far() -> None:
    """Of four classes there are three partitions; rounding must not decide which is farther."""
    for seed in range(8):
        vectors = toy_embeddings(4, seed=seed)
        sequence = oodml.build_splits(vectors, search="optimal", levels=3, partitions=60)
        assert sequence.splits[-1].calibration is not None
        assert 5 < sequence.splits[-1].calibration.at_least < 40  # a third of them
        first = sequence.splits[0].calibration
        assert first is not None
        assert first.at_least == 60


def test_no_distance_at_all_has_no_ratio() -> None:
    found = Calibration.of(0.0, np.zeros(5))
    assert (found.ratio(0.0), found.z(0.0), found.excess(0.0), found.p) == (None, None, 0.0, 1.0)
    assert Calibration.of(1.0, np.array([0.5])).std == 0


def test_unequal_sides_and_left_out_classes_are_those_of_the_split() -> None:
    vectors = toy_embeddings(30)
    options = {"test_fraction": 1 / 5, "per_side": 10}
    sequence = oodml.build_splits(vectors, search="fixed-test", levels=3, options=options)
    for split in sequence.splits:
        assert (len(split.train_side), len(split.test)) == (10, 6)
        for index, control in enumerate(split.controls):
            drawn = sequence.control(split.rank, index)
            assert drawn.classes == split.classes
            assert (len(drawn.train_side), len(drawn.test)) == (10, 6)
            assert len(drawn.val) == len(split.val)
            assert drawn.shift == control.shift
    tests = [control.test for split in sequence.splits for control in split.controls]
    assert len(set(tests)) > len(tests) - 2


def test_how_many_partitions_there_are() -> None:
    assert (default_partitions(5000), default_partitions(5001)) == (200, 20)
    vectors = toy_embeddings(10)
    sequence = oodml.build_splits(vectors, levels=2)
    assert {s.calibration and s.calibration.partitions for s in sequence.splits} == {200}
    assert {len(split.controls) for split in sequence.splits} == {5}
    none = oodml.build_splits(vectors, levels=2, partitions=0, controls=0)
    assert {(split.calibration, split.controls) for split in none.splits} == {(None, ())}
    assert none.splits[0].excess is None
    assert none.splits[0].ratio is None
    with pytest.raises(SplitError, match="-1 partitions and 5 controls were asked for"):
        oodml.build_splits(vectors, partitions=-1)
    with pytest.raises(SplitError, match="are not in 'toy', such as"):
        calibrate(sequence, vectors.of(vectors.classes[:4]))
    with pytest.raises(SplitError, match="'toy' were not measured on these vectors"):
        calibrate(sequence, replace(vectors, content_fingerprint="other"))


def test_levels_of_the_same_classes_share_their_partitions() -> None:
    vectors = toy_embeddings(20)
    told: list[tuple[int, int]] = []
    sequence = oodml.build_splits(
        vectors,
        search="optimal",
        levels=4,
        partitions=30,
        controls=2,
        progress=lambda *numbers: told.append(numbers),
    )
    total = 30 + 2 * len(sequence.splits)
    assert told[-1] == (total, total)
    parts = [done for done, of in told if of == total]  # the search before has a total of its own
    assert parts == sorted(parts)
    first, *others = (split.calibration for split in sequence.splits)
    assert {(c.mean, c.std) for c in others if c} == {(first.mean, first.std) if first else ()}


# Seeds and files ---------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    vectors = toy_embeddings(20)
    for name in ("a", "b"):
        write_sequence(tmp_path / name, oodml.build_splits(vectors, levels=3))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    first, other = (oodml.build_splits(vectors, levels=3, seed=seed) for seed in (0, 1))
    assert first.splits[0].test == other.splits[0].test
    assert first.splits[0].controls != other.splits[0].controls
    assert first.splits[0].calibration != other.splits[0].calibration
    fewer = oodml.build_splits(vectors, levels=3, controls=2)
    assert [s.controls[:2] for s in first.splits] == [s.controls for s in fewer.splits]


def test_files_keep_calibration_and_controls(tmp_path: Path) -> None:
    vectors = toy_embeddings(20)
    sequence = oodml.build_splits(vectors, levels=3)
    write_sequence(tmp_path / "s.json", sequence)
    assert read_sequence(tmp_path / "s.json") == sequence
    record = json.loads((tmp_path / "s.json").read_text())["splits"][-1]
    found, split = record["calibration"], sequence.splits[-1]
    names = {"partitions", "mean", "std", "at_least", "excess", "ratio", "z", "p"}
    assert found.keys() == names
    assert found["excess"] == pytest.approx(record["shift"] - found["mean"])
    assert found["ratio"] == pytest.approx(record["shift"] / found["mean"])
    assert found["p"] == pytest.approx((1 + found["at_least"]) / 201)
    assert [set(c) for c in record["controls"]] == [{"shift", "test"}] * 5
    assert split.without(split.controls[0].test) == sequence.control(split.rank, 0).train_side


def test_the_digest_covers_the_classes_of_controls_and_no_float() -> None:
    sequence = oodml.build_splits(toy_embeddings(12), levels=2)

    def changed(**changes: object) -> str:
        splits = (replace(sequence.splits[0], **changes), *sequence.splits[1:])  # type: ignore[arg-type]
        return replace(sequence, splits=splits).digest

    controls = sequence.splits[0].controls
    assert changed(calibration=None) == sequence.digest
    assert changed(controls=tuple(replace(c, shift=None) for c in controls)) == sequence.digest
    assert changed(controls=controls[:-1]) != sequence.digest
    assert changed(controls=controls[::-1]) != sequence.digest


def test_files_of_earlier_versions_are_read(tmp_path: Path) -> None:
    """Without calibration; controls with both sides and no shift."""
    easy = Split(1, 0.5, ("a", "b"), ("c",), ("d", "e"), (Control(("a", "e")),))
    sequence = SplitSequence("toy", (easy,), measure="frechet")
    path = tmp_path / "s.json"
    write_sequence(path, sequence)
    record = json.loads(path.read_text())
    record["splits"][0]["controls"] = [{"train": ["b", "c", "d"], "test": ["a", "e"]}]
    path.write_text(json.dumps(record))
    assert read_sequence(path) == sequence
    assert describe(read_sequence(path))[0].excess is None
    # The digest is that of the class lists alone, as it always was.
    lists = {"train": ["b", "c", "d"], "test": ["a", "e"]}
    bare = replace(sequence, splits=(replace(easy, controls=()),))
    split = {"rank": 1, "train": ["a", "b"], "val": ["c"], "test": ["d", "e"]}
    for own, known in ((split, bare), ({**split, "controls": [lists]}, sequence)):
        facts = {"version": 1, "dataset": "toy", "splits": [own]}
        assert known.digest == oodml_digest(facts)


def oodml_digest(value: object) -> str:
    import hashlib

    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("controls", [{"test": ["a", "z"]}], "Control 0 of split 1 is no partition"),
        ("controls", [{"test": ["a"]}], "with 2 test classes"),
        ("controls", [{"test": ["a", "a"]}], "is no partition"),
        ("controls", [{"shift": 1.0}], "no split sequence"),
        ("calibration", {"mean": 1.0}, "no split sequence"),
        (
            "calibration",
            {"partitions": 2, "mean": 1.0, "std": 0.1, "at_least": 3},
            "3 of 2 partitions as far",
        ),
    ],
)
def test_controls_and_calibrations_that_cannot_be_are_refused(
    tmp_path: Path, part: str, value: object, message: str
) -> None:
    path = tmp_path / "s.json"
    sequence = SplitSequence("toy", (Split(1, 0.5, ("a", "b"), ("c",), ("d", "e")),))
    write_sequence(path, sequence)
    record = json.loads(path.read_text())
    record["splits"][0][part] = value
    path.write_text(json.dumps(record))
    with pytest.raises(OodmlError, match=message):
        read_sequence(path)


# Looking -----------------------------------------------------------------------------------------


def test_rows_say_what_is_recorded_and_what_is_measured() -> None:
    vectors = toy_embeddings(40)
    sequence = oodml.build_splits(vectors, levels=5)
    recorded, measured = describe(sequence), describe(sequence, vectors, partitions=None)
    for row, again, split in zip(recorded, measured, sequence.splits, strict=True):
        assert row.excess == split.excess
        assert (row.p, row.partitions, row.n_controls) == (
            split.calibration and split.calibration.p,
            200,
            5,
        )
        assert again.excess == pytest.approx(row.excess, rel=1e-6)
        assert (again.at_least, again.random_mean) == (row.at_least, row.random_mean)
        assert row.percentile == 100 * (1 - (row.at_least or 0) / 200)
    assert recorded[-1].percentile == 100
    bare = replace(sequence, splits=tuple(replace(s, calibration=None) for s in sequence.splits))
    assert describe(bare, vectors, partitions=None)[0].partitions == 20
    assert describe(sequence, vectors, partitions=7)[0].partitions == 7
    assert describe(sequence, vectors)[0].excess is None
