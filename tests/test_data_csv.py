"""Data sets of one's own: `csv:`, and folders of groups of classes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import oodml
from oodml.data import Files, load_data
from oodml.errors import DataError, UnknownNameError

PETS = ("cats/tom", "cats/felix", "dogs/rex", "dogs/lassie")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Two groups of two classes of two images, as GROUP/CLASS/IMAGE."""
    root = tmp_path / "pets"
    for number, folder in enumerate(PETS):
        (root / folder).mkdir(parents=True)
        for index in range(2):
            name = root / folder / f"{index}.png"
            Image.new("RGB", (8, 8), (number * 60, index * 90, 0)).save(name)
    return root


def rows_of(*extra: str) -> list[str]:
    """The lines of a CSV file of the pets: path, label, and what `extra` says of each class."""
    return [
        ",".join([f"{pet}/{index}.png", pet.split("/")[1], *([extra[number]] if extra else [])])
        for number, pet in enumerate(PETS)
        for index in range(2)
    ]


def write(root: Path, header: str, rows: list[str], *, name: str = "list.csv") -> str:
    (root / name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return f"csv:{root / name}"


# CSV ---------------------------------------------------------------------------------------------


def test_a_row_an_image(pets: Path) -> None:
    data = load_data(write(pets, "path,label", rows_of()))
    assert data.name == "list"
    assert data.classes == ("felix", "lassie", "rex", "tom")
    assert data.ids == tuple(sorted(f"{pet}/{index}.png" for pet in PETS for index in (0, 1)))
    for path, label in zip(data.ids, data.labels, strict=True):
        assert path.split("/")[1] == data.classes[label]
    assert data.source == Files(pets)
    assert (data.groups, data.roles, data.default) == (None, None, None)
    folder = load_data(f"folder:{pets}?nested=true")
    assert folder.ids == data.ids
    assert folder.source.content_hashes(folder.ids) == data.source.content_hashes(data.ids)


def test_groups_roles_and_sides(pets: Path) -> None:
    sides = ["cats, test ", "cats,test", '"dogs",train', "dogs,train"]
    roles = ["query", "gallery"] * 4
    lines = [f"{row},{role}" for row, role in zip(rows_of(*sides), roles, strict=True)]
    header = "\ufeffpath, label ,group,side,role,colour"
    name = write(pets, header, [f"{line},red" for line in reversed(lines)])
    data = load_data(name)
    assert data.groups == ("cats", "dogs", "dogs", "cats")
    assert data.default == (("lassie", "rex"), ("felix", "tom"))
    assert data.roles == ("query", "gallery") * 4
    vectors = oodml.embed_data(data, "oodml:pixels?size=8")
    assert (vectors.default, vectors.groups) == (data.default, data.groups)


def test_where_paths_start_and_what_it_is_called(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = load_data(write(pets, "path,label", rows_of()))
    away = write(tmp_path, "label,path", [",".join(row.split(",")[::-1]) for row in rows_of()])
    there = load_data(f"{away}?root={pets}&name=mine")
    assert there.name == "mine"
    assert there.content_fingerprint() == here.content_fingerprint()
    monkeypatch.chdir(tmp_path)
    assert load_data("csv:list.csv?root=pets").ids == here.ids
    absolute = [f"{pets}/{row}" for row in rows_of()]
    assert load_data(write(pets, "path,label", absolute)).ids == here.ids
    dotted = [f"./cats/../{row}" for row in rows_of()]
    assert load_data(write(pets, "path,label", dotted, name="train.csv")).ids == here.ids
    assert load_data(f"csv:{pets / 'train.csv'}").name == "pets"  # `train` tells nothing


def test_quotes_commas_and_other_scripts(pets: Path) -> None:
    (pets / "cats/tom").rename(pets / "cats/tom, «мой»")
    rows = [row.replace("cats/tom/", "cats/tom, «мой»/") for row in rows_of()]
    rows = [f'"{path}","{label}, ""кот"""' for path, label in (row.rsplit(",", 1) for row in rows)]
    data = load_data(write(pets, "path,label", ["", *rows, ""]))
    assert data.classes[-1] == 'tom, "кот"'
    assert data.ids[2] == "cats/tom, «мой»/0.png"


@pytest.mark.parametrize(
    ("header", "line", "row", "message"),
    [
        ("path,class", 1, None, "line 1: no column label in 'path,class'; expected a header with"),
        ("path;label", 1, None, "line 1: no column path and label in 'path;label'"),
        ("cats/tom/0.png,tom", 1, None, "line 1: no column path and label"),
        ("path,label,sides", 1, None, "line 1: the column 'sides' is not known; did you mean 'sid"),
        ("Path,label", 1, None, "the column 'Path' is not known; did you mean 'path'"),
        ("path,label,label", 1, None, "line 1: the column 'label' is there twice"),
        ("path,label", 3, "cats/tom/1.png", "line 3: 1 cells; the header has 2"),
        ("path,label", 4, "a.png,b,c", "line 4: 3 cells; the header has 2"),
        ("path,label", 4, "dogs/rex/0.png, ", "line 4: no label; fill it in"),
        ("path,label", 5, "cats/tom/0.png,tom", "line 5: 'cats/tom/0.png' is on line 2 already"),
        ("path,label", 5, "./cats/tom/0.png,rex", "line 5: './cats/tom/0.png' is on line 2 alrea"),
        ("path,label", 6, "cats/tom/9.png,tom", "line 6: there is no file .*cats/tom/9.png; say"),
        ("path,label", 6, "cats/tom,tom", "line 6: there is no file .*cats/tom; say where"),
        ("path,label", 6, "../x.png,tom", "line 6: '../x.png' is not below .*pets; say where"),
        ("path,label", 2, '"cats/tom/0.png"x,tom', "line 2: this is no CSV"),
        ("path,label", 9, '"cats', "line 9: this is no CSV"),
    ],
)
def test_a_wrong_line_is_named(
    pets: Path, header: str, line: int, row: str | None, message: str
) -> None:
    rows = rows_of()
    if row is not None:
        rows[line - 2] = row
    with pytest.raises(DataError, match=rf"list\.csv, .*{message}"):
        load_data(write(pets, header, rows))


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (
            "role",
            ["train", "query", "probe", "train"],
            "line 6: the role is 'probe'; expected trai",
        ),
        (
            "side",
            ["train", "Test", "test", "test"],
            "line 4: the side is 'Test'; expected train or",
        ),
        ("side", ["train", "", "test", "test"], "line 4: no side; fill it in, or leave the column"),
        ("side", ["train"] * 4, "every label has the side train; expected train and test"),
    ],
)
def test_a_wrong_cell_is_named(pets: Path, column: str, values: list[str], message: str) -> None:
    with pytest.raises(DataError, match=rf"list\.csv.* {message}"):
        load_data(write(pets, f"path,label,{column}", rows_of(*values)))


@pytest.mark.parametrize(
    ("column", "first", "other"), [("group", "cats", "dogs"), ("side", "train", "test")]
)
def test_a_label_has_one_group_and_one_side(
    pets: Path, column: str, first: str, other: str
) -> None:
    rows = rows_of(first, first, other, other)
    rows[3] = rows[3].replace(first, other, 1) if column == "side" else f"{rows_of()[3]},{other}"
    message = f"line 5: label 'felix' has the {column} '{other}', and on line 4 '{first}'"
    with pytest.raises(DataError, match=message):
        load_data(write(pets, f"path,label,{column}", rows))


def test_files_that_are_no_table(pets: Path) -> None:
    path = pets / "list.csv"
    for content, message in (
        (b"", "list.csv is empty or begins with an empty line; expected a header"),
        (b"\n\n", "list.csv is empty or begins with an empty line"),
        (b"path,label\n", "has a header and no rows"),
        (b"path,label\ncats/tom/0.png,tom\ncats/\xff.png,tom\n", "line 3: a byte is no UTF-8"),
        ("path,label\n".encode("utf-16"), "line 1: a byte is no UTF-8"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            load_data(f"csv:{path}")
    with pytest.raises(DataError, match=r"none\.csv cannot be read \(No such file"):
        load_data(f"csv:{pets / 'none.csv'}")
    with pytest.raises(DataError, match="pets cannot be read"):
        load_data(f"csv:{pets}")
    with pytest.raises(DataError, match=r"list\.csv has one class, 'tom'; a split needs two"):
        load_data(write(pets, "path,label", rows_of()[:2]))
    with pytest.raises(DataError, match=r"1 class \('rex'\) of .*list\.csv with only one image"):
        load_data(write(pets, "path,label", rows_of()[:5]))
    with pytest.raises(UnknownNameError, match="'csv' lacks the path; expected csv:PATH"):
        load_data("csv")
    with pytest.raises(UnknownNameError, match="no parameter 'nested'; it takes: name, root"):
        load_data(f"csv:{path}?nested=true")


# Nested folders ----------------------------------------------------------------------------------


def test_groups_of_classes(pets: Path) -> None:
    (pets / "notes.txt").touch()
    (pets / ".cache" / "x").mkdir(parents=True)
    data = load_data(f"folder:{pets}?nested=true")
    assert (data.name, data.classes) == ("pets", tuple(sorted(PETS)))
    assert data.groups == ("cats", "cats", "dogs", "dogs")
    assert data.ids == tuple(sorted(f"{pet}/{index}.png" for pet in PETS for index in (0, 1)))
    assert np.bincount(data.labels).tolist() == [2] * 4
    assert data.source == Files(pets)


def test_a_wrong_level_says_which_is_right(pets: Path) -> None:
    none = "None of the 2 sub-folders of .*pets holds an image directly; expected images in .*"
    with pytest.raises(DataError, match=rf"{none}write folder:.*/pets\?nested=true"):
        load_data(f"folder:{pets}")
    shutil.move(pets / "dogs", pets.parent / "dogs")
    with pytest.raises(DataError, match=r"give the folder just above the classes, .*/pets/cats\."):
        load_data(f"folder:{pets}")
    shutil.rmtree(pets / "cats" / "tom")
    with pytest.raises(DataError, match=r"give the folder just above the classes\."):
        load_data(f"folder:{pets}")


def test_nested_folders_that_will_not_do(pets: Path) -> None:
    with pytest.raises(DataError, match=r"2 sub-folders of .*cats hold no folder, such as 'felix'"):
        load_data(f"folder:{pets / 'cats'}?nested=true")
    none = r"None of the 2 classes of .* expected images in .*/GROUP/CLASS/, .*above the groups\."
    with pytest.raises(DataError, match=none):
        load_data(f"folder:{pets.parent}?nested=true")
    (pets / "cats" / "tom" / "1.png").unlink()
    with pytest.raises(DataError, match=r"1 class \('cats/tom'\) of .* with only one image"):
        load_data(f"folder:{pets}?nested=true")
    (pets / "cats" / "tom" / "0.png").unlink()
    with pytest.raises(DataError, match=r"1 class \('cats/tom'\) of .* without an image"):
        load_data(f"folder:{pets}?nested=true")
    with pytest.raises(UnknownNameError, match="parameter nested is 'maybe'"):
        load_data(f"folder:{pets}?nested=maybe")
    with pytest.raises(DataError, match="none does not exist; expected a folder"):
        load_data(f"folder:{pets / 'none'}?nested=true")
