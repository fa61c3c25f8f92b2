"""Published data sets that come as lists of files: products and clothes."""

from __future__ import annotations

from pathlib import Path

import pytest
from published_trees import (
    PRODUCTS,
    clothes,
    part,
    write_clothes,
    write_lines,
    write_products,
    wrong,
)

from oodml.embed import embed_data
from oodml.split.build import start_sides

# Products ----------------------------------------------------------------------------------------


def test_products_have_offers_as_names_and_kinds_as_groups(tmp_path: Path) -> None:
    write_products(tmp_path)
    data = part("sop", tmp_path)
    assert data.classes == tuple(sorted(offer for offer, _ in PRODUCTS))
    assert data.default is not None
    assert {*data.default[0]} == {offer for offer, _ in PRODUCTS[:3]}
    assert data.groups == tuple(dict(PRODUCTS)[offer] for offer in data.classes)
    for name, label in zip(data.ids, data.labels, strict=True):
        assert name == f"{data.groups[label]}_final/{data.classes[label]}_{name[-5]}.JPG"


def test_products_as_the_official_code_has_them(tmp_path: Path) -> None:
    write_products(tmp_path / "plain")
    write_products(tmp_path / "ooDML" / "images")
    (tmp_path / "ooDML" / "Info_Files").mkdir()
    for half in ("train", "test"):
        name = f"Ebay_{half}.txt"
        (tmp_path / "ooDML/images" / name).rename(tmp_path / "ooDML/Info_Files" / name)
    plain, other = part("sop", tmp_path / "plain"), part("sop", tmp_path / "ooDML")
    assert plain.content_fingerprint() == other.content_fingerprint()


def test_offers_that_are_taken_twice_stay_apart(tmp_path: Path) -> None:
    write_products(tmp_path, [*PRODUCTS[:4], ("111085122871", "stapler")])
    data = part("sop", tmp_path)
    assert "111085122871-00001" in data.classes
    assert "111085122871-00005" in data.classes
    assert "131150012171" in data.classes
    assert len(data.classes) == 5


def test_lists_of_products_that_will_not_do(tmp_path: Path) -> None:
    write_products(tmp_path)
    path = tmp_path / "Ebay_test.txt"
    lines = path.read_text().splitlines()
    write_lines(path, [*lines, "11 4 1 chair_final/1_0.JPG"])
    assert "class 4 is listed in bicycle and in chair" in wrong("sop", tmp_path)
    write_lines(path, [*lines, "11 1 1 bicycle_final/111085122871_0.JPG"])
    assert "class '1' is listed for training and for testing" in wrong("sop", tmp_path)
    write_lines(path, [*lines, lines[-1]])
    assert "is there twice" in wrong("sop", tmp_path)
    write_lines(path, ["<html>", "<head>", "</html>"])
    assert "has no header line; expected 'image_id class_id" in wrong("sop", tmp_path)
    path.unlink()
    said = wrong("sop", tmp_path)
    assert "expected Ebay_train.txt, Ebay_test.txt" in said


# Clothes -----------------------------------------------------------------------------------------


def test_clothes_have_roles(tmp_path: Path) -> None:
    write_clothes(tmp_path)
    data = part("inshop", tmp_path)
    expected = clothes()
    assert data.roles is not None
    assert [*data.ids] == sorted(expected)
    for name, label, role in zip(data.ids, data.labels, data.roles, strict=True):
        assert (data.classes[label], role) == expected[name]
    assert data.default is not None
    assert data.default[0] == ("id_00000001", "id_00000002")
    assert data.default[1] == tuple(f"id_0000000{at}" for at in range(3, 8))


@pytest.mark.parametrize(
    ("below", "file"),
    [
        ("Img", "Eval/list_eval_partition.txt"),
        ("img", "list_eval_partition.txt"),
        ("Img/img", "Anno/list_eval_partition.txt"),
        ("", "Eval/train_test_partition.txt"),
    ],
)
def test_clothes_wherever_they_were_unpacked(tmp_path: Path, below: str, file: str) -> None:
    write_clothes(tmp_path / "plain")
    write_clothes(tmp_path / "other", below=below, file=file)
    plain, other = part("inshop", tmp_path / "plain"), part("inshop", tmp_path / "other")
    assert plain.content_fingerprint() == other.content_fingerprint()
    assert plain.roles == other.roles


def test_the_count_before_the_list_may_be_left_out_but_not_wrong(tmp_path: Path) -> None:
    write_clothes(tmp_path)
    path = tmp_path / "Eval" / "list_eval_partition.txt"
    lines = path.read_text().splitlines()
    write_lines(path, lines[1:])
    assert len(part("inshop", tmp_path)) == 18
    write_lines(path, lines[:-1])  # cut off on the way
    said = wrong("inshop", tmp_path)
    assert "says '18' in its first line but has 17 rows; download it again" in said


def test_partitions_that_will_not_do(tmp_path: Path) -> None:
    change = {"img/MEN/Denim/id_00000009/01_1_front.jpg": ("id_00000009", "val")}
    write_clothes(tmp_path / "a", changes=change)
    assert "has the evaluation_status 'val'; expected train" in wrong("inshop", tmp_path / "a")
    change = {"img/MEN/Denim/id_00000001/09_1_front.jpg": ("id_00000001", "query")}
    write_clothes(tmp_path / "b", changes=change)
    said = wrong("inshop", tmp_path / "b")
    assert "class 'id_00000001' is listed for training and for testing" in said


def test_the_published_halves_start_the_search(tmp_path: Path) -> None:
    write_products(tmp_path)
    vectors = embed_data(part("sop", tmp_path), "oodml:pixels")
    sides = start_sides(vectors)
    assert vectors.default is not None
    assert [vectors.classes[at] for at in sides.train] == [*vectors.default[0]]
