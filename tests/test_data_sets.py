"""Published data sets: every layout gives the same data set, and what will not do is said."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from published_trees import (
    BIRDS,
    CARS,
    class_folders,
    draw,
    part,
    write_birds,
    write_car_ims,
    write_cars_halves,
    write_clothes,
    write_lines,
    write_mat,
    write_products,
    wrong,
)

from oodml.data import Files, load_data
from oodml.data.facts import FACTS
from oodml.errors import DataError, UnknownNameError
from oodml.split.official import import_official

CAR_NAMES = tuple(sorted(name.replace("/", "-") for name in CARS))
Tree = Callable[[Path], None]


def car_folders(root: Path) -> None:
    class_folders(root / "images", CAR_NAMES)


def car_folders_of_kaggle(root: Path) -> None:
    for half in ("train", "test"):
        class_folders(root / half, CAR_NAMES)


TREES: dict[str, tuple[str, Tree, int, int]] = {
    "birds": ("cub200", write_birds, 4, 8),
    "bird folders": ("cub200", lambda root: write_birds(root, listing=False), 4, 8),
    "car_ims": ("cars196", write_car_ims, 7, 14),
    "cars_train": ("cars196", write_cars_halves, 7, 28),
    "car folders": ("cars196", car_folders, 7, 14),
    "car folders of Kaggle": ("cars196", car_folders_of_kaggle, 7, 28),
    "products": ("sop", write_products, 5, 10),
    "clothes": ("inshop", write_clothes, 7, 18),
}


@pytest.fixture(params=TREES)
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, int, int]:
    key, write, classes, images = TREES[request.param]
    root = tmp_path / "deep" / "inside"
    write(root)
    return key, root, classes, images


# All of them -------------------------------------------------------------------------------------


def test_every_layout_gives_what_is_listed(tree: tuple[str, Path, int, int]) -> None:
    key, root, classes, images = tree
    data = part(key, root)
    assert (data.name, len(data.classes), len(data)) == (key, classes, images)
    assert list(data.classes) == sorted(data.classes)
    assert list(data.ids) == sorted(data.ids)
    assert isinstance(data.source, Files)
    assert all((data.source.root / name).is_file() for name in data.ids)
    assert data.default is not None
    assert sorted(data.default[0] + data.default[1]) == list(data.classes)
    assert [*data.default[0]] == sorted(data.default[0])
    assert [*data.default[1]] == sorted(data.default[1])


def test_the_folder_above_will_do_and_changes_nothing(tree: tuple[str, Path, int, int]) -> None:
    key, root, _, _ = tree
    here, above = part(key, root), part(key, root.parent)
    assert here.ids == above.ids
    assert here.source == above.source
    assert here.content_fingerprint() == above.content_fingerprint()


def test_the_default_folder_is_that_of_fetch(
    tree: tuple[str, Path, int, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key, root, _, _ = tree
    monkeypatch.setenv("OODML_HOME", str(tmp_path / "home"))
    with pytest.raises(DataError, match=f"{key} does not exist.*oodml data fetch {key}"):
        load_data(key)
    shutil.copytree(root, tmp_path / "home" / "datasets" / key / "unpacked")
    there = load_data(f"{key}?complete=false")
    assert there.content_fingerprint() == part(key, root).content_fingerprint()


def test_the_published_counts_are_asserted(
    tree: tuple[str, Path, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    key, root, classes, images = tree
    facts = FACTS[key]
    said = wrong(key, root, complete=True)
    for number in (classes, images, facts.classes, facts.images):
        assert f"{number:,}" in said
    assert f"{key}:PATH?complete=false" in said
    monkeypatch.setitem(FACTS, key, replace(facts, classes=classes, images=images))
    assert len(load_data(f"{key}:{root}")) == images
    monkeypatch.setitem(FACTS, key, replace(facts, classes=classes, images=images + 1))
    assert "expected the" in wrong(key, root, complete=True)


def test_a_missing_image_is_named_or_left_out(tree: tuple[str, Path, int, int]) -> None:
    key, root, _, images = tree
    data = part(key, root)
    gone = data.ids[-1]
    if np.count_nonzero(data.labels == data.labels[-1]) == 2:  # folders refuse a single image
        gone = data.ids[0] if not key.startswith("c") else gone
    assert isinstance(data.source, Files)
    lists = bool(list(root.rglob("*.txt")) + list(root.rglob("*.mat")))
    if not lists:
        pytest.skip("class folders list what is there")
    (data.source.root / gone).unlink()
    said = wrong(key, root, complete=True)
    assert f"1 of the {images} images listed" in said
    assert gone in said
    fewer = part(key, root)
    assert {*data.ids} - {*fewer.ids} == {gone}


def test_an_unrelated_folder_is_refused(tree: tuple[str, Path, int, int], tmp_path: Path) -> None:
    key, _, _, _ = tree
    other = tmp_path / "other"
    class_folders(other / "cat", ["tabby"])
    (other / "notes.txt").touch()
    said = wrong(key, other)
    assert said.startswith(f"{other} is no {FACTS[key].title}: expected ")
    assert "found 'cat', 'notes.txt'." in said
    (tmp_path / "empty").mkdir()
    assert "found an empty folder." in wrong(key, tmp_path / "empty")
    assert "does not exist" in wrong(key, tmp_path / "absent")
    assert "is not a folder" in wrong(key, other / "notes.txt")


@pytest.mark.parametrize("key", ["cub200", "cars196", "sop", "inshop"])
def test_a_wrong_parameter_is_refused(key: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="no parameter 'name'; it takes: complete"):
        load_data(f"{key}:{tmp_path}?name=x")
    with pytest.raises(UnknownNameError, match="complete is 'perhaps'"):
        load_data(f"{key}:{tmp_path}?complete=perhaps")


# Birds -------------------------------------------------------------------------------------------


def test_birds_are_called_as_their_folders(tmp_path: Path) -> None:
    write_birds(tmp_path)
    data = part("cub200", tmp_path)
    assert data.classes == BIRDS
    assert data.default == (BIRDS[:2], BIRDS[2:])  # up to class 100, from class 101
    assert data.ids[:2] == (f"{BIRDS[0]}/00000.jpg", f"{BIRDS[0]}/00001.jpg")
    assert data.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert (data.groups, data.roles) == (None, None)


def test_birds_have_the_vectors_of_their_folder(tmp_path: Path) -> None:
    write_birds(tmp_path)
    folder = load_data(f"folder:{tmp_path / 'images'}")
    for root in (tmp_path, tmp_path / "images"):
        assert part("cub200", root).content_fingerprint() == folder.content_fingerprint()


def test_only_listed_birds_count(tmp_path: Path) -> None:
    write_birds(tmp_path)
    (tmp_path / "images" / BIRDS[0] / "extra.jpg").touch()
    assert len(part("cub200", tmp_path)) == 8
    (tmp_path / "images.txt").unlink()
    assert len(part("cub200", tmp_path)) == 9


def test_a_folder_that_is_no_class_is_named(tmp_path: Path) -> None:
    write_birds(tmp_path)
    (tmp_path / "images" / "thumbnails").mkdir()
    assert "found 'thumbnails', '001.Black_footed_Albatross'" in wrong("cub200", tmp_path)


def test_a_broken_list_is_refused(tmp_path: Path) -> None:
    write_birds(tmp_path)
    write_lines(tmp_path / "images.txt", ["1 a/b.jpg", "2"])
    assert "images.txt, line 2: '2'; expected image_id image_name" in wrong("cub200", tmp_path)
    (tmp_path / "images.txt").write_bytes(b"\xff\xfe")
    assert "images.txt cannot be read as text" in wrong("cub200", tmp_path)
    write_lines(tmp_path / "images.txt", ["1 a/b.jpg"])
    said = wrong("cub200", tmp_path)
    assert "1 of the 1 images listed are not in" in said
    assert "complete=false" not in said  # it would not help


@pytest.mark.parametrize("outside", ["../{}.jpg", "{}/../../out/1.jpg", "/tmp/{}.jpg"])
def test_a_list_does_not_lead_out_of_its_folder(tmp_path: Path, outside: str) -> None:
    write_birds(tmp_path / "birds")
    draw(tmp_path / "birds" / "out" / "1.jpg", 0)
    draw(tmp_path / "birds" / f"{BIRDS[0]}.jpg", 0)
    write_lines(tmp_path / "birds" / "images.txt", [f"1 {outside.format(BIRDS[0])}"])
    assert "1 of the 1 images listed are not in" in wrong("cub200", tmp_path / "birds")


def test_a_half_that_is_not_there_is_no_half(tmp_path: Path) -> None:
    class_folders(tmp_path, BIRDS[:2])
    data = part("cub200", tmp_path)
    assert data.default is None
    assert data.classes == BIRDS[:2]


# Cars --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "write", [write_car_ims, write_cars_halves, car_folders, car_folders_of_kaggle]
)
def test_cars_are_called_the_same_in_every_layout(tmp_path: Path, write: Tree) -> None:
    write(tmp_path)
    data = part("cars196", tmp_path)
    assert data.classes == CAR_NAMES
    assert "Ram C-V Cargo Van Minivan 2012" in data.classes
    assert data.default is not None
    assert {*data.default[0]} == {*CARS[:4]}
    assert data.default[1][-1] == "smart fortwo Convertible 2012"
    assert len({*np.bincount(data.labels)}) == 1


def test_a_car_keeps_its_label(tmp_path: Path) -> None:
    write_car_ims(tmp_path / "a")
    data = part("cars196", tmp_path / "a")
    for at, name in enumerate(data.ids):
        assert name == f"car_ims/{at + 1:06}.jpg"
        assert data.classes[data.labels[at]] == CARS[at // 2].replace("/", "-")
    write_cars_halves(tmp_path / "b")
    data = part("cars196", tmp_path / "b")
    assert {name.split("/")[0] for name in data.ids} == {"cars_train", "cars_test"}
    for name, label in zip(data.ids, data.labels, strict=True):
        number = int(name[-9:-4]) - 1
        assert data.classes[label] == CARS[number % len(CARS)].replace("/", "-")


def test_the_labels_of_the_test_half_may_lie_in_the_devkit(tmp_path: Path) -> None:
    write_cars_halves(tmp_path, labelled="devkit/cars_test_annos_withlabels.mat")
    assert len(part("cars196", tmp_path)) == 28


def test_a_test_half_without_labels(tmp_path: Path) -> None:
    write_cars_halves(tmp_path)
    (tmp_path / "cars_test_annos_withlabels.mat").rename(tmp_path / "devkit/cars_test_annos.mat")
    said = wrong("cars196", tmp_path, complete=True)
    assert f"{tmp_path} lacks cars_test_annos_withlabels.mat" in said
    assert "cars_test_annos.mat has no labels" in said
    data = part("cars196", tmp_path)  # what has labels will do
    assert len(data) == 14
    (tmp_path / "devkit" / "cars_meta.mat").unlink()
    assert "lacks cars_meta.mat; put it there or into" in wrong("cars196", tmp_path)


def test_annotations_that_will_not_do(tmp_path: Path) -> None:
    write_car_ims(tmp_path)
    path = tmp_path / "cars_annos.mat"
    content = path.read_bytes()
    for broken in (b"", b"<!DOCTYPE html>" * 40, content[:300]):
        path.write_bytes(broken)
        assert "cars_annos.mat is no MATLAB file" in wrong("cars196", tmp_path)
    write_mat(path, other=np.zeros(3))
    assert "lacks class_names" in wrong("cars196", tmp_path)
    write_mat(path, names=CARS, annotations=np.zeros((1, 3)))
    assert "annotation 1 is not of the published form" in wrong("cars196", tmp_path)
    write_mat(path, names=CARS)
    assert "is empty" in wrong("cars196", tmp_path)
    write_mat(path, names=CARS, annotations={"relative_im_path": "car_ims/1.jpg", "class": 8})
    said = wrong("cars196", tmp_path)
    assert "annotation 1 is not of the published form (class 8 of 7)" in said


# The real ones -----------------------------------------------------------------------------------


def real(test_data: Path, folder: str) -> Path:
    if not (test_data / folder).is_dir():
        pytest.skip(f"no {folder} in {test_data}")
    return test_data / folder


def test_real_birds(test_data: Path) -> None:
    root = real(test_data, "cub127")
    data = part("cub200", root)
    assert (len(data.classes), len(data)) == (127, 7456)
    assert data.default is not None
    assert [len(half) for half in data.default] == [
        sum(int(name[:3]) <= 100 for name in data.classes),
        sum(int(name[:3]) > 100 for name in data.classes),
    ]
    assert "holds 127 classes and 7,456 images; expected the 200" in wrong(
        "cub200", root, complete=True
    )
    assert "is no Stanford Cars" in wrong("cars196", root)


def test_real_cars_have_the_names_and_halves_of_the_official_splits(test_data: Path) -> None:
    root = real(test_data, "cars196_half")
    data = part("cars196", root)
    assert (len(data.classes), len(data)) == (196, 8144)
    official = import_official(real(test_data, "oodml_official") / "cars196_splits.pkl")
    assert official.classes == data.classes
    first = official.at(1)  # the published halves
    assert data.default == (first.train_side, first.test)
    assert "196 classes and 8,144 images; expected the 196 and 16,185" in wrong(
        "cars196", root, complete=True
    )
