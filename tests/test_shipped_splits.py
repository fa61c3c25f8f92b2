"""The split files in splits/: whole, true on the data they name, and all that the README lists."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

import oodml
from oodml.embed import EmbeddingSet
from oodml.split import describe, measure_shifts, problems
from oodml.store import shipped

FILES = sorted(shipped("splits").glob("*.json"))
SEARCHES = ("ooDML", "optimal", "fixed-test-0", "fixed-test-1", "fixed-test-2")


@cache
def vectors_of(dataset: str) -> EmbeddingSet:
    return oodml.embed_data(oodml.load_data(dataset), "oodml:hog")


def test_every_search_is_there_for_both_data_sets() -> None:
    expected = {f"{data}-{search}.json" for data in ("glyphs", "digits") for search in SEARCHES}
    assert {path.name for path in FILES} == expected


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_holds_on_its_data(path: Path) -> None:
    """Digest, sides and order are checked on reading; shifts are measured again to 1e-4."""
    sequence = oodml.read_sequence(path)
    vectors = vectors_of(sequence.dataset)
    assert sequence.class_fingerprint == vectors.class_fingerprint()
    if sequence.content_fingerprint != vectors.content_fingerprint:
        pytest.skip(f"{sequence.dataset} is drawn differently by the Pillow or FreeType installed")
    recorded = [split.shift for split in sequence.splits]
    np.testing.assert_allclose(measure_shifts(sequence, vectors), recorded, rtol=1e-4)
    assert not list(problems(sequence, vectors))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_what_its_search_promises(path: Path) -> None:
    sequence = oodml.read_sequence(path)
    assert sequence.search is not None
    assert path.stem.startswith(f"{sequence.dataset}-{sequence.search}")
    assert len(sequence.splits) >= 3
    sizes = {(len(split.train_side), len(split.test)) for split in sequence.splits}
    tests = {split.test for split in sequence.splits}
    if sequence.search != "ooDML":
        assert len(sizes) == 1
    assert (len(tests) == 1) == (sequence.search == "fixed-test")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_calibrated_and_has_controls(path: Path) -> None:
    sequence = oodml.read_sequence(path)
    for split in sequence.splits:
        assert split.calibration is not None
        assert split.calibration.partitions == 200
        assert len(split.controls) == 5
        for index, control in enumerate(split.controls):
            assert sequence.control(split.rank, index).classes == split.classes
            assert control.shift is not None
            # Random partitions are where random partitions are.
            assert abs(split.calibration.z(control.shift) or 0) < 6


@pytest.mark.parametrize("name", ["digits-ooDML", "digits-fixed-test-1", "glyphs-optimal"])
def test_a_calibration_holds_on_its_data(name: str) -> None:
    """Drawn and measured again; of glyphs, whose levels share one set of partitions."""
    sequence = oodml.read_sequence(shipped("splits") / f"{name}.json")
    vectors = vectors_of(sequence.dataset)
    if sequence.content_fingerprint != vectors.content_fingerprint:
        pytest.skip(f"{sequence.dataset} is drawn differently by the Pillow or FreeType installed")
    rows = describe(sequence, vectors, partitions=None)
    for row, split in zip(rows, sequence.splits, strict=True):
        found = split.calibration
        assert found is not None
        assert row.random_mean == pytest.approx(found.mean, rel=1e-4)
        assert row.random_std == pytest.approx(found.std, rel=1e-3)
        assert row.at_least == pytest.approx(found.at_least, abs=1)
