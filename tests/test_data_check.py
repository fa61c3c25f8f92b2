"""`oodml data check`: counts, images that cannot be read, pictures that are there twice."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from oodml.cli import main
from oodml.data import Dataset, Pixels, Vectors, duplicates, load_data
from oodml.data.check import Counts, count_data, inspect_images
from oodml.data.duplicates import Match, find_duplicates, find_leaks
from oodml.data.sketch import likeness, sketch, thumbnail
from oodml.split import Split, SplitSequence, write_sequence


def call(*words: object) -> Result:
    return CliRunner().invoke(main, ["data", "check", *map(str, words)], catch_exceptions=False)


def photo(seed: int, width: int = 60, height: int = 40) -> Image.Image:
    """A picture of soft shapes, as a photo is; another seed is another picture."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def folder(root: Path, **classes: list[Image.Image]) -> Path:
    for name, pictures in classes.items():
        (root / name).mkdir(parents=True)
        for number, picture in enumerate(pictures):
            picture.save(root / name / f"{number}.png")
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three classes of four pictures, all different."""
    names = {name: [photo(10 * at + i) for i in range(4)] for at, name in enumerate("abc")}
    return folder(tmp_path / "set", **names)


def matches_of(root: Path, alike: float = 0.9) -> list[Match]:
    data = load_data(f"folder:{root}")
    return list(find_duplicates(data, inspect_images(data, sketches=True), alike=alike))


# Counts ------------------------------------------------------------------------------------------


def held(**changes: Any) -> Dataset:
    fields: dict[str, Any] = {
        "name": "held",
        "classes": ("a", "b", "c"),
        "labels": np.array([0, 0, 1, 2, 2, 2]),
        "ids": tuple("123456"),
        "source": Pixels(np.arange(6 * 64, dtype=np.uint8).reshape(6, 8, 8)),
    }
    return Dataset(**(fields | changes))


def test_counts() -> None:
    assert count_data(held()) == Counts(classes=3, images=6, fewest=1, median=2.0, most=3)
    full = held(
        name="cub200",
        groups=("x", "y", "x"),
        roles=("train", "train", "query", "gallery", "gallery", "gallery"),
        default=(("a", "b"), ("c",)),
    )
    counts = count_data(full)
    assert counts.groups == 2
    assert counts.roles == {"gallery": 3, "query": 1, "train": 2}
    assert counts.halves == ((2, 3), (1, 3))
    assert counts.published == (200, 11_788)


def test_counts_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    data = held(
        name="cub200",
        groups=("x", "y", "x"),
        roles=("train",) * 2 + ("query",) + ("gallery",) * 3,
        default=(("a", "b"), ("c",)),
    )
    monkeypatch.setattr("oodml.data.load_data", lambda _name: data)
    lines = call("cub200").stdout.splitlines()
    assert lines == [
        "cub200: 6 images of 3 classes, 1 to 3 a class, median 2.",
        "Published are 11,788 images of 200 classes.",
        "Groups of classes: 2.",
        "Roles of images: 3 gallery, 1 query, 2 train.",
        "Published halves: 2 train classes (3 images) and 1 test classes (3 images).",
        "Sizes: 8 x 8 to 8 x 8 pixels.",
        "Cannot be read: 0 images.",
    ]


# Images that cannot be read ----------------------------------------------------------------------


def test_every_fault_is_listed_and_fails_the_command(root: Path) -> None:
    cut = root / "a" / "1.png"
    cut.write_bytes(cut.read_bytes()[:-300])
    (root / "b" / "9.jpg").write_text("<html>")
    result = call(f"folder:{root}", "--duplicates")
    assert result.exit_code == 1
    assert "Cannot be read: 2 images." in result.stdout
    assert f"  {cut} is damaged (" in result.stdout
    assert f"  {root / 'b' / '9.jpg'} is no image that can be read; replace" in result.stdout
    result = call(f"folder:{root}", "--json")
    assert result.exit_code == 1
    assert [fault["id"] for fault in json.loads(result.stdout)["faults"]] == ["a/1.png", "b/9.jpg"]


def test_an_image_whose_header_is_whole_is_decoded_to_its_end(root: Path) -> None:
    path = root / "c" / "0.png"
    content = bytearray(path.read_bytes())
    content[-60] ^= 255
    path.write_bytes(content)
    with Image.open(path) as image:
        assert image.size == (60, 40)
    assert call(f"folder:{root}").exit_code == 1


def test_tiny_and_constant_images_are_remarks(root: Path) -> None:
    photo(99, 7, 30).save(root / "a" / "tiny.png")
    Image.new("RGB", (30, 30), (5, 5, 9)).save(root / "b" / "plain.png")
    Image.new("L", (300, 30), 7).save(root / "c" / "grey.png")
    result = call(f"folder:{root}")
    assert result.exit_code == 0
    assert "Remark: 1 image with a side below 8 pixels: a/tiny.png." in result.stdout
    assert "Remark: 2 images of one colour all over: b/plain.png, c/grey.png." in result.stdout
    assert "Sizes: 7 x 30 to 300 x 30 pixels." in result.stdout


def test_vectors_are_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.arange(12, dtype=np.float32).reshape(6, 2)
    rows[1, 0], rows[5], rows[4] = np.nan, rows[3], 8
    data = held(source=Vectors(rows))
    seen = inspect_images(data, sketches=True)
    assert [fault.id for fault in seen.faults] == ["2"]
    assert seen.constant == ("5",)
    assert (seen.smallest, seen.sketches) == (None, None)
    assert find_duplicates(data, seen) == (Match(("4", "6"), ("c", "c")),)
    monkeypatch.setattr("oodml.data.load_data", lambda _name: data)
    result = call("held", "--duplicates")
    assert result.exit_code == 1
    assert "Vector 2 holds NaN or infinity; replace or remove it." in result.stdout
    assert "These are vectors: only identical ones were looked for." in result.stdout


# Duplicates --------------------------------------------------------------------------------------


def test_different_pictures_are_no_duplicates(root: Path) -> None:
    assert matches_of(root) == []


def test_identical_files_are_found_within_and_across_classes(root: Path) -> None:
    shutil.copy(root / "a" / "0.png", root / "a" / "7.png")
    shutil.copy(root / "a" / "1.png", root / "b" / "7.png")
    shutil.copy(root / "a" / "1.png", root / "c" / "7.png")
    first, second = matches_of(root)
    assert first == Match(("a/0.png", "a/7.png"), ("a", "a"))
    assert second == Match(("a/1.png", "b/7.png", "c/7.png"), ("a", "b", "c"))
    assert (first.across, second.across) == (False, True)
    result = call(f"folder:{root}", "--duplicates")
    assert result.exit_code == 0
    assert "Twice within a class: 1 identical, 0 near-identical." in result.stdout
    assert "label noise: 1 identical, 0 near-identical." in result.stdout
    assert "  1. the same file\n     a/1.png\n     b/7.png\n     c/7.png\n" in result.stdout


COPIES = {
    "re-coded.jpg": lambda image: image,
    "larger.png": lambda image: image.resize((180, 120), Image.Resampling.BICUBIC),
    "smaller.png": lambda image: image.resize((30, 20), Image.Resampling.BILINEAR),
    "squashed.png": lambda image: image.resize((40, 40), Image.Resampling.BILINEAR),
    "brighter.png": lambda image: image.point(lambda v: 60 + v * 0.7),
    "same pixels.bmp": lambda image: image,
    "cropped.png": lambda image: image.crop((0, 0, 59, 40)),
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_that_looks_the_same_is_found(root: Path, name: str) -> None:
    with Image.open(root / "a" / "2.png") as image:
        COPIES[name](image).save(root / "c" / name)
    (match,) = matches_of(root)
    assert match.ids == ("a/2.png", f"c/{name}")
    assert match.alike is not None
    assert match.alike >= 0.9
    assert (match.alike == 1) == (name == "same pixels.bmp")
    assert (matches_of(root, alike=1) == [match]) == (match.alike == 1)
    assert matches_of(root, alike=match.alike) == [match]


def test_copies_of_copies_come_along(root: Path) -> None:
    """What looks like one of three identical files looks like all of them: their classes count."""
    shutil.copy(root / "a" / "1.png", root / "b" / "7.png")
    with Image.open(root / "a" / "1.png") as image:
        image.resize((90, 60)).save(root / "c" / "8.png")
    same, near = matches_of(root)
    assert same.ids == ("a/1.png", "b/7.png")
    assert near.ids == ("a/1.png", "b/7.png", "c/8.png")
    assert near.classes == ("a", "b", "c")
    assert near.on_both(("b",), ("c",))


@pytest.mark.parametrize("tile", [9, 2048])
def test_every_pair_is_compared(monkeypatch: pytest.MonkeyPatch, tile: int) -> None:
    """Against a plain loop over all pairs, on pictures that are mixed of few."""
    monkeypatch.setattr(duplicates, "_TILE", tile)
    rng = np.random.default_rng(0)
    basis = np.stack([np.asarray(photo(seed, 24, 24)) for seed in range(5)]).astype(float)
    mixed = np.tensordot(rng.dirichlet(np.full(5, 0.3), 40), basis, 1)
    pictures = np.rint(mixed).clip(0, 255).astype(np.uint8)
    data = held(
        classes=("a", "b"),
        labels=np.arange(40) % 2,
        ids=tuple(f"{i:02d}" for i in range(40)),
        source=Pixels(pictures),
    )
    small = [thumbnail(Image.fromarray(picture)) for picture in pictures]
    every = {
        (f"{i:02d}", f"{j:02d}"): likeness(small[i], small[j])
        for i, j in combinations(range(40), 2)
    }
    for alike in (0.8, 0.95):
        expected = {pair: value for pair, value in every.items() if value >= alike}
        found = find_duplicates(data, inspect_images(data, sketches=True), alike=alike)
        assert {match.ids: match.alike for match in found} == expected
        assert len(expected) > 5
        assert [m.alike for m in found] == sorted((m.alike or 0 for m in found), reverse=True)


def test_pictures_of_hardly_any_contrast_look_like_nothing() -> None:
    rng = np.random.default_rng(0)
    faint = Image.fromarray((128 + rng.integers(0, 2, (64, 64, 3))).astype(np.uint8))
    assert not sketch(thumbnail(faint)).any()
    assert likeness(thumbnail(faint), thumbnail(faint)) == 0
    vivid = thumbnail(photo(1))
    assert np.linalg.norm(sketch(vivid)) == pytest.approx(1)
    assert likeness(vivid, vivid) == 1
    assert likeness(vivid, 255 - vivid) == -1


def test_a_set_of_lookalikes_is_refused(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    for number in range(4):
        photo(1).resize((60 + number, 40)).save(root / "a" / f"{number}.png")
    monkeypatch.setattr(duplicates, "MOST", 5)
    result = call(f"folder:{root}", "--duplicates")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: More than 5 pairs of images look the same at a")
    assert call(f"folder:{root}", "--duplicates", "--alike", 1).exit_code == 0


def test_alike_is_a_correlation(root: Path) -> None:
    data = load_data(f"folder:{root}")
    for alike in (0, 1.5):
        with pytest.raises(ValueError, match="expected a correlation"):
            find_duplicates(data, inspect_images(data), alike=alike)
    assert "goes with --duplicates" in call(f"folder:{root}", "--alike", 0.5).stderr


# Leaks -------------------------------------------------------------------------------------------


def test_leaks_are_what_both_sides_have(root: Path, tmp_path: Path) -> None:
    shutil.copy(root / "a" / "1.png", root / "b" / "7.png")
    shutil.copy(root / "a" / "2.png", root / "c" / "7.png")
    with Image.open(root / "a" / "3.png") as image:
        image.save(root / "c" / "8.bmp")
    splits = (Split(1, 1.0, ("a",), ("b",), ("c",)), Split(2, 2.0, ("b",), (), ("c",)))
    write_sequence(tmp_path / "s.json", SplitSequence("set", splits))
    words = (f"folder:{root}", "--splits", tmp_path / "s.json")
    text = call(*words).stdout
    assert "On both sides of split 1: 1 identical, 1 near-identical: 2, 3." in text
    assert "On both sides of split 2: 0 identical, 0 near-identical." in text
    found = json.loads(call(*words, "--json").stdout)["duplicates"]
    assert [leak["rank"] for leak in found["leaks"]] == [1, 2]
    leaked = [match["ids"] for match in found["leaks"][0]["matches"]]
    assert leaked == [["a/2.png", "c/7.png"], ["a/3.png", "c/8.bmp"]]
    assert found["leaks"][1]["matches"] == []
    assert len(found["matches"]) == 3


def test_published_halves_are_sides_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8)
    pixels[3] = pixels[2]
    data = held(source=Pixels(pixels), default=(("a", "b"), ("c",)))
    match = Match(("3", "4"), ("b", "c"))
    assert find_duplicates(data, inspect_images(data)) == (match,)
    (leak,) = find_leaks((match,), {None: (("a", "b"), ("c",))})
    assert leak.matches == (match,)
    monkeypatch.setattr("oodml.data.load_data", lambda _name: data)
    text = call("held", "--duplicates").stdout
    assert "On both sides of the published halves: 1 identical, 0 near-identical: 1." in text
    assert "     3 (b)\n     4 (c)\n" in text
    apart = replace(data, default=(("b", "c"), ("a",)))
    monkeypatch.setattr("oodml.data.load_data", lambda _name: apart)
    assert "halves: 0 identical, 0 near" in call("held", "--duplicates").stdout


def test_splits_of_other_classes_are_refused(root: Path, tmp_path: Path) -> None:
    write_sequence(
        tmp_path / "s.json", SplitSequence("other", (Split(1, 1.0, ("a",), (), ("x",)),))
    )
    result = call(f"folder:{root}", "--splits", tmp_path / "s.json")
    assert result.exit_code == 1
    assert "1 of 2 classes of the splits of 'other' are not in 'set', such as 'x'" in result.stderr


# Real photos -------------------------------------------------------------------------------------


def real(test_data: Path, name: str) -> dict[str, Any]:
    place = test_data / name / "images"
    if not place.is_dir():
        pytest.skip(f"no {name} in {test_data}")
    result = call(f"folder:{place}", "--duplicates", "--json")
    assert result.exit_code == 0
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.slow
def test_the_known_flaws_of_cars196_are_found(test_data: Path) -> None:
    """11 files are there twice, under two labels; 9 more photos were seen by eye to be the same."""
    found = real(test_data, "cars196_half")
    matches = found["duplicates"]["matches"]
    same = [match for match in matches if match["alike"] is None]
    assert len(same) == 11
    for match in same:
        assert len(match["ids"]) == len({*match["classes"]}) == 2
    near = [match for match in matches if match["alike"] is not None]
    assert len(near) == 9
    assert near[0]["ids"] == [
        "Bentley Continental GT Coupe 2007/07679.jpg",
        "Bentley Continental GT Coupe 2012/06800.jpg",
    ]


@pytest.mark.slow
def test_birds_are_there_twice_within_their_class_only(test_data: Path) -> None:
    matches = real(test_data, "cub127")["duplicates"]["matches"]
    assert sorted(match["ids"][0] for match in matches) == [
        "026.Bronzed_Cowbird/0004.jpg",
        "037.Acadian_Flycatcher/Acadian_Flycatcher_0028_795611.jpg",
        "058.Pigeon_Guillemot/0028.jpg",
        "096.Hooded_Oriole/0014.jpg",
    ]
    assert all(len({*match["classes"]}) == 1 for match in matches)
