"""Data sets: the laws that all of them keep, and what is said about a folder that will not do."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oodml.data import DATASETS, Dataset, Files, Pixels, Vectors, load_data
from oodml.errors import DataError, UnknownNameError
from oodml.registry import Name

BUILT_IN = ["digits", "glyphs"]
load_once = functools.cache(load_data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of two images under a folder whose last part tells nothing."""
    root = tmp_path / "pets" / "images"
    for number, label in enumerate(["dog", "cat", "emu"]):
        (root / label).mkdir(parents=True)
        for index, suffix in enumerate(["png", "JPG"]):
            image = Image.new("RGB", (4, 4), (number * 50, index * 50, 0))
            image.save(root / label / f"{index}.{suffix}")
    return root


def small(**changes: object) -> Dataset:
    """Two classes of two images, with some fields changed."""
    fields = {
        "name": "small",
        "classes": ("a", "b"),
        "labels": np.array([0, 0, 1, 1]),
        "ids": ("1", "2", "3", "4"),
        "source": Pixels(np.arange(4, dtype=np.uint8).reshape(4, 1, 1)),
    }
    return Dataset(**(fields | changes))  # type: ignore[arg-type]


# Laws --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILT_IN)
def test_labels_ids_classes_and_images_pair_up(name: str) -> None:
    data = load_once(name)
    assert data.name == name
    assert isinstance(data.source, Pixels)
    assert len(data) == len(data.labels) == len(data.ids) == len(data.source)
    assert list(data.classes) == sorted(set(data.classes))
    assert len(set(data.ids)) == len(data)
    assert set(data.labels) == set(range(len(data.classes)))
    assert data.source.images.dtype == np.uint8
    assert data.groups is None or len(data.groups) == len(data.classes)


@pytest.mark.parametrize("name", BUILT_IN)
def test_same_name_same_bytes(name: str) -> None:
    first, second = load_once(name), load_data(name)
    np.testing.assert_array_equal(first.source.images, second.source.images)  # type: ignore[union-attr]
    assert first.ids == second.ids
    assert first.class_fingerprint() == second.class_fingerprint()
    assert first.content_fingerprint() == second.content_fingerprint()


@pytest.mark.parametrize("name", BUILT_IN)
def test_arrays_are_read_only(name: str) -> None:
    data = load_once(name)
    for array in (data.labels, data.source.images):  # type: ignore[union-attr]
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_class_fingerprint_is_of_the_names_in_any_order() -> None:
    data = small()
    assert data.class_fingerprint() == small(classes=("b", "a")).class_fingerprint()
    assert data.class_fingerprint() != small(classes=("a", "c")).class_fingerprint()
    assert data.content_fingerprint() != small(classes=("b", "a")).content_fingerprint()


@pytest.mark.parametrize(
    "change",
    [
        {"source": Pixels(np.array([0, 1, 2, 4], np.uint8).reshape(4, 1, 1))},
        {"source": Pixels(np.arange(4, dtype=np.uint8).reshape(4, 1, 1), {"version": 1})},
        {"source": Vectors(np.zeros((4, 1), np.float32))},
        {"labels": np.array([0, 1, 1, 1])},
        {"ids": ("1", "2", "3", "5")},
    ],
)
def test_content_fingerprint_changes_with_the_content(change: dict[str, object]) -> None:
    assert small(**change).content_fingerprint() != small().content_fingerprint()
    assert small(**change).content_fingerprint() == small(**change).content_fingerprint()
    assert small(**change).class_fingerprint() == small().class_fingerprint()


def test_digits_are_the_real_ones() -> None:
    data = load_once("digits")
    assert data.classes == tuple("0123456789")
    assert (data.ids[0], data.ids[-1], len(data)) == ("digit-0000", "digit-1796", 1797)
    images = data.source.images  # type: ignore[union-attr]
    assert images.shape == (1797, 8, 8)
    assert set(np.unique(images)) == {round(value * 255 / 16) for value in range(17)}


def test_importing_the_data_layer_is_light() -> None:
    heavy = "{'torch', 'sklearn', 'matplotlib', 'scipy'}"
    code = f"import sys, oodml.data; print(sorted({heavy} & set(sys.modules)))"
    root = Path(__file__).resolve().parent.parent
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digit", "'digit' is not among the datasets; nearest: digits"),
        ("digits:5", "'digits:5' has the argument '5'; digits takes none"),
        ("digits?seed=1", "no parameter 'seed'; it takes: none"),
        ("glyphs:latin", "'glyphs:latin' has the argument 'latin'; glyphs takes none"),
        ("glyphs?size=8", "no parameter 'size'; it takes: copies, jitter, seed"),
        ("glyphs?jitter=2", "parameter jitter is '2'"),
        ("folder", "'folder' lacks the path; expected folder:PATH"),
        ("folder:?name=x", "lacks the path"),
        ("folder:/tmp?title=x", "no parameter 'title'; it takes: name"),
    ],
)
def test_a_wrong_name_is_refused(name: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message.replace("?", r"\?")):
        load_data(name)


def test_the_registry_gives_the_same_as_the_function() -> None:
    loaded = DATASETS["digits"](Name.parse("digits"))
    assert loaded.content_fingerprint() == load_once("digits").content_fingerprint()


# Folders -----------------------------------------------------------------------------------------


def test_a_folder_is_a_class_a_sub_folder(folder: Path) -> None:
    (folder / ".cache").mkdir()
    (folder / "cat" / ".hidden.png").touch()
    (folder / "cat" / "notes.txt").touch()
    data = load_data(f"folder:{folder}")
    assert data.name == "pets"
    assert data.classes == ("cat", "dog", "emu")
    assert data.ids == (
        "cat/0.png",
        "cat/1.JPG",
        "dog/0.png",
        "dog/1.JPG",
        "emu/0.png",
        "emu/1.JPG",
    )
    assert data.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.source == Files(folder)


def test_each_image_keeps_its_class_where_names_sort_unlike_paths(folder: Path) -> None:
    (folder / "dog").rename(folder / "cat b")  # "cat b/" comes before "cat/", "cat" before "cat b"
    data = load_data(f"folder:{folder}")
    assert list(data.ids) == sorted(data.ids)
    for path, label in zip(data.ids, data.labels, strict=True):
        assert path.split("/")[0] == data.classes[label]


@pytest.mark.parametrize(
    ("path", "query", "name"),
    [
        ("pets/images", "", "pets"),
        ("pets/images/", "", "pets"),
        ("pets/images/../images", "", "pets"),
        ("pets/images", "?name=", "pets"),
        ("pets/images", "?name=my%20pets", "my pets"),
        ("linked", "", "linked"),
    ],
)
def test_the_name_of_a_folder(folder: Path, path: str, query: str, name: str) -> None:
    base = folder.parent.parent
    (base / "linked").symlink_to(folder)
    assert load_data(f"folder:{base / path}{query}").name == name


def test_a_relative_path_outlives_a_change_of_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    data = load_data("folder:.")
    fingerprint = data.content_fingerprint()
    monkeypatch.chdir("/")
    assert data.name == "pets"
    assert data.content_fingerprint() == fingerprint


def test_content_fingerprint_does_not_depend_on_the_root(folder: Path, tmp_path: Path) -> None:
    here = load_data(f"folder:{folder}")
    there = load_data(f"folder:{shutil.copytree(folder, tmp_path / 'elsewhere')}")
    assert here.name != there.name
    assert here.content_fingerprint() == there.content_fingerprint()
    assert here.class_fingerprint() == there.class_fingerprint()


def test_content_fingerprint_changes_with_one_pixel(folder: Path) -> None:
    before = load_data(f"folder:{folder}").content_fingerprint()
    path = folder / "dog" / "0.png"
    with Image.open(path) as image:
        changed = image.copy()
    changed.putpixel((0, 0), (1, 2, 3))
    changed.save(path)
    later = path.stat().st_mtime_ns + 10**9  # clocks of file systems can be coarser than a test
    os.utime(path, ns=(later, later))
    assert load_data(f"folder:{folder}").content_fingerprint() != before


def test_unchanged_files_are_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_data(f"folder:{folder}")
    before = data.content_fingerprint()
    monkeypatch.setattr("oodml.data.hashes.file_digest", lambda path: pytest.fail(f"read {path}"))
    assert data.content_fingerprint() == before


@pytest.mark.parametrize("broken", ["home", "database", "file"])
def test_hashes_do_without_their_database(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    broken: str,
) -> None:
    data = load_data(f"folder:{folder}")
    expected = data.content_fingerprint()
    home = tmp_path / "home"
    if broken == "home":
        home.touch()
    else:
        home.mkdir()
        (home / "hashes.sqlite").write_bytes(b"no database" * 100)
    if broken == "file":
        (home / "hashes.sqlite").unlink()
        (home / "hashes.sqlite").mkdir()
    monkeypatch.setenv("OODML_HOME", str(home))
    assert data.content_fingerprint() == expected
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "every file is read" in caplog.text


def test_a_file_that_went_away_is_named(folder: Path) -> None:
    data = load_data(f"folder:{folder}")
    (folder / "emu" / "0.png").unlink()
    with pytest.raises(DataError, match=r"emu/0\.png is gone"):
        data.content_fingerprint()


def test_a_folder_that_will_not_do(folder: Path) -> None:
    name = f"folder:{folder}"
    with pytest.raises(DataError, match="absent does not exist; expected a folder"):
        load_data(f"{name}/absent")
    with pytest.raises(DataError, match=r"0\.png is not a folder"):
        load_data(f"{name}/cat/0.png")
    with pytest.raises(DataError, match="cat has no sub-folders; expected images in"):
        load_data(f"{name}/cat")
    with pytest.raises(
        DataError, match=r"None of the 1 sub-folders of .*pets holds an image directly"
    ):
        load_data(f"folder:{folder.parent}")
    (folder / "cat" / "0.png").unlink()
    (folder / "emu" / "0.png").unlink()
    with pytest.raises(DataError, match=r"2 classes \('cat', 'emu'\) of .* with only one image"):
        load_data(name)
    (folder / "emu" / "1.JPG").unlink()
    with pytest.raises(DataError, match=r"1 class \('emu'\) of .* without an image"):
        load_data(name)
    shutil.rmtree(folder / "emu")
    shutil.rmtree(folder / "cat")
    with pytest.raises(DataError, match="has one class, 'dog'; a split needs two or more"):
        load_data(name)


def test_many_wrong_classes_are_counted_not_listed(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"c{number}").mkdir()
        Image.new("L", (2, 2)).save(tmp_path / f"c{number}" / "0.png")
    with pytest.raises(DataError, match=r"^9 classes \('c0', .*'c4' and 4 more\)"):
        load_data(f"folder:{tmp_path}")


def test_a_name_that_is_no_text_is_refused(folder: Path) -> None:
    try:
        (folder / "cat" / os.fsdecode(b"\xff.png")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(DataError, match="a name that is not in UTF-8; rename it"):
        load_data(f"folder:{folder}")


@pytest.mark.parametrize(
    ("path", "name", "classes", "images"),
    [("cub127/images", "cub127", 127, 7456), ("cars196_half/images", "cars196_half", 196, 8144)],
)
def test_real_folders(test_data: Path, path: str, name: str, classes: int, images: int) -> None:
    if not (test_data / path).is_dir():
        pytest.skip(f"no {path} in {test_data}")
    data = load_data(f"folder:{test_data / path}")
    assert (data.name, len(data.classes), len(data)) == (name, classes, images)
    assert np.bincount(data.labels).min() >= 24


# Values ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.array([0, 0, 1])}, r"4 ids but labels of shape \(3,\)"),
        ({"labels": np.array([0, 0, 0, 0])}, "class 'b' has no image"),
        ({"labels": np.array([0, 0, 1, 2])}, "labels from 0 to 2; expected 0 to 1"),
        ({"labels": np.array([0, 0, 1, -1])}, "labels from -1 to 1; expected 0 to 1"),
        ({"labels": np.array([0, 0, 1, 0.5])}, "labels of type float64; expected indices"),
        ({"labels": [], "ids": ()}, "is empty"),
        ({"classes": ("a", "a")}, "the class 'a' is there twice"),
        ({"ids": ("1", "2", "3", "3")}, "the id '3' is there twice"),
        ({"groups": ("g",)}, "has 1 groups; expected 2"),
        ({"roles": ("train",) * 3}, "has 3 roles; expected 4"),
        ({"roles": ("train",) * 3 + ("test",)}, "has the role 'test'; expected train, query or"),
        ({"default": (("a",), ("c",))}, "class 'c' of the published split is unknown"),
        (
            {"default": (("a", "b"), ("b",))},
            "class 'b' of the published split is unknown or on both",
        ),
        ({"source": Vectors(np.zeros((3, 2), np.float32))}, "has 3 images; expected 4"),
    ],
)
def test_parts_that_do_not_pair_up_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        small(**change)


@pytest.mark.parametrize(
    ("dtype", "shape"), [(np.float32, (2, 3, 3)), (np.uint8, (2, 9)), (np.uint8, (2, 3, 3, 4))]
)
def test_pixels_are_grey_or_colour_bytes(dtype: type, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"expected uint8, \(n, h, w\) or \(n, h, w, 3\)"):
        Pixels(np.zeros(shape, dtype))


@pytest.mark.parametrize(("dtype", "shape"), [(np.float64, (2, 3)), (np.float32, (2, 3, 3))])
def test_vectors_are_rows_of_float32(dtype: type, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"expected float32, \(n, d\)"):
        Vectors(np.zeros(shape, dtype))
