"""The built-in glyphs: which characters, which images, and what these depend on."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageFont

from oodml.data import Dataset, load_data
from oodml.data.glyphs import FACES, choose_characters, font_files, shared_characters
from oodml.errors import DataError

FEW = tuple(map(ord, "!,.AOo"))
LOAD_FEW = (
    "glyphs",
    "glyphs?copies=3",
    "glyphs?seed=1",
    "glyphs?jitter=0",
    "glyphs?jitter=0&seed=1",
)


@pytest.fixture(scope="session")
def glyphs() -> Dataset:
    return load_data("glyphs")


@pytest.fixture(scope="session")
def plain() -> Dataset:
    return load_data("glyphs?jitter=0")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> dict[str, Dataset]:
    """The same data set of a few characters under several names."""
    monkeypatch.setattr("oodml.data.glyphs.choose_characters", lambda: FEW)
    return {name: load_data(name) for name in LOAD_FEW}


def images(data: Dataset) -> np.ndarray:
    return data.source.images  # type: ignore[union-attr,no-any-return]


def image(data: Dataset, identifier: str) -> np.ndarray:
    return images(data)[data.ids.index(identifier)]


# Characters --------------------------------------------------------------------------------------


def test_there_are_enough_classes_of_sixteen_images(glyphs: Dataset) -> None:
    assert len(FACES) == 16
    assert len(glyphs.classes) >= 550
    assert np.bincount(glyphs.labels).tolist() == [16] * len(glyphs.classes)
    assert images(glyphs).shape == (len(glyphs), 32, 32)


def test_names_say_what_is_drawn(glyphs: Dataset) -> None:
    assert glyphs.classes[glyphs.labels[glyphs.ids.index("U+0041/DejaVuSans-Bold/0")]] == (
        "U+0041 LATIN CAPITAL LETTER A"
    )
    for identifier, label in zip(glyphs.ids, glyphs.labels, strict=True):
        code, face, copy = identifier.split("/")
        assert glyphs.classes[label] == f"{code} {unicodedata.name(chr(int(code[2:], 16)))}"
        assert (face in FACES, copy) == (True, "0")


def test_every_class_has_a_block(glyphs: Dataset) -> None:
    assert glyphs.groups is not None
    blocks = dict(zip(glyphs.classes, glyphs.groups, strict=True))
    assert blocks["U+0041 LATIN CAPITAL LETTER A"] == "Basic Latin"
    assert blocks["U+0416 CYRILLIC CAPITAL LETTER ZHE"] == "Cyrillic"
    assert len(set(glyphs.groups)) >= 10
    for name, block in blocks.items():
        for script in ("CYRILLIC", "GREEK"):  # an oracle other than the table
            assert (f" {script} " not in name) or script.title() in block
        assert block != "None"


def test_of_characters_that_look_alike_the_lowest_stays() -> None:
    chosen = set(choose_characters())
    for kept, dropped in ("AΑ", "AА", "OΟ", "oо", "-‐"):
        assert ord(kept) in chosen
        assert ord(dropped) in set(shared_characters()) - chosen


@pytest.mark.parametrize("face", FACES)
def test_every_face_has_every_character(face: str) -> None:
    font = ImageFont.truetype(str(font_files()[face]), 48, layout_engine=ImageFont.Layout.BASIC)
    missing = bytes(font.getmask("\uffff"))
    for codepoint in choose_characters():
        drawn = bytes(font.getmask(chr(codepoint)))
        assert any(drawn), f"{chr(codepoint)} is blank"
        assert drawn != missing, f"{chr(codepoint)} is the box of missing characters"


# Images ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "glyphs"])
def test_no_two_classes_share_an_image(kind: str, request: pytest.FixtureRequest) -> None:
    data: Dataset = request.getfixturevalue(kind)
    owner: dict[bytes, int] = {}
    for each, label in zip(images(data), data.labels, strict=True):
        assert owner.setdefault(each.tobytes(), label) == label, data.classes[label]


@pytest.mark.parametrize("kind", ["plain", "glyphs"])
def test_nothing_is_cut_off_or_blank(kind: str, request: pytest.FixtureRequest) -> None:
    drawn = images(request.getfixturevalue(kind))
    inside = drawn[:, 1:-1, 1:-1]
    assert drawn.max(axis=(1, 2)).min() > 100
    np.testing.assert_array_equal(drawn.sum(axis=(1, 2)), inside.sum(axis=(1, 2)))


def test_size_and_height_tell_characters_apart(plain: Dataset) -> None:
    for face in FACES:
        rows = {
            char: np.flatnonzero(image(plain, f"U+{ord(char):04X}/{face}/0").any(axis=1))
            for char in "oO,'"
        }
        assert len(rows["o"]) < len(rows["O"])
        assert rows["'"].max() < rows[","].min()


def test_jitter_is_small(plain: Dataset, glyphs: Dataset) -> None:
    """The ink stays where it was to within a few pixels, and is about as much."""
    row = np.arange(32)
    for before, after in zip(images(plain)[::7], images(glyphs)[::7], strict=True):
        for axis in (0, 1):
            ink = before.sum(axis=axis, dtype=float), after.sum(axis=axis, dtype=float)
            centres = [each @ row / each.sum() for each in ink]
            assert abs(centres[0] - centres[1]) < 3
            assert 0.6 < ink[1].sum() / ink[0].sum() < 1.4
    assert not (images(plain) == images(glyphs)).all(axis=(1, 2)).any()


# Parameters --------------------------------------------------------------------------------------


def test_an_image_depends_on_its_own_name_only(glyphs: Dataset, few: dict[str, Dataset]) -> None:
    for name in ("glyphs", "glyphs?copies=3"):
        for index, identifier in enumerate(few[name].ids):
            if identifier.endswith("/0"):
                np.testing.assert_array_equal(images(few[name])[index], image(glyphs, identifier))


def test_copies_are_more_images_of_the_same_classes(few: dict[str, Dataset]) -> None:
    one, three = few["glyphs"], few["glyphs?copies=3"]
    assert one.classes == three.classes
    assert len(three) == 3 * len(one) == 3 * 16 * len(FEW)
    assert len({each.tobytes() for each in images(three)}) == len(three)
    assert three.ids[:3] == tuple(f"U+0021/DejaVuSans/{copy}" for copy in range(3))


def test_another_seed_is_another_image(few: dict[str, Dataset]) -> None:
    one, other = few["glyphs"], few["glyphs?seed=1"]
    assert one.ids == other.ids
    assert not (images(one) == images(other)).all(axis=(1, 2)).any()


def test_content_fingerprints_tell_the_images_apart(few: dict[str, Dataset]) -> None:
    prints = {name: data.content_fingerprint() for name, data in few.items()}
    assert prints["glyphs?jitter=0&seed=1"] == prints["glyphs?jitter=0"]  # nothing to seed
    assert len(set(prints.values())) == len(prints) - 1
    assert len({data.class_fingerprint() for data in few.values()}) == 1


def test_provenance_says_what_the_images_were_made_from(glyphs: Dataset) -> None:
    facts = glyphs.source.provenance  # type: ignore[union-attr]
    assert facts is not None
    assert list(facts["fonts"]) == list(FACES)
    assert {len(digest) for digest in facts["fonts"].values()} == {64}
    assert facts["characters"] == list(choose_characters())
    assert {"generator", "pillow", "freetype"} <= facts.keys()
    assert (facts["copies"], facts["seed"], facts["jitter"]) == (1, 0, True)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("copies=0", "copies=0, seed=0; expected at least 1"),
        ("seed=-1", "copies=1, seed=-1; expected at least 1 and at least 0"),
        ("jitter=0&copies=2", "2 copies would be the same image; drop jitter=0 or copies"),
    ],
)
def test_parameters_that_make_no_sense(query: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_data(f"glyphs?{query}")


def test_a_missing_font_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("matplotlib.get_data_path", lambda: str(tmp_path))
    with pytest.raises(DataError, match=r"DejaVuSans\.ttf is absent; expected the fonts"):
        font_files.__wrapped__()
