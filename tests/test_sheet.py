"""`oodml data show`: contact sheets."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from oodml.cli import main
from oodml.data import Dataset, Pixels, Vectors, load_data
from oodml.errors import DataError
from oodml.plot import both_sides, figure_bytes, plot_sheet, some_classes, whole_classes
from oodml.plot.sheet import _GROUND, _TILE, _shortened
from oodml.plot.style import DOTS
from oodml.split import Split, SplitSequence, write_sequence


def call(*words: object) -> Result:
    return CliRunner().invoke(main, ["data", "show", *map(str, words)], catch_exceptions=False)


def toy(classes: int = 30, images: int = 10, side: int = 12) -> Dataset:
    """Image i is of grey level i, up to 255."""
    count = classes * images
    pixels = np.arange(count).clip(0, 255).astype(np.uint8)[:, None, None].repeat(side, 1)
    return Dataset(
        name="toy",
        classes=tuple(f"class {number:02d}" for number in range(classes)),
        labels=np.arange(count) // images,
        ids=tuple(f"{number // images}/{number:03d}" for number in range(count)),
        source=Pixels(pixels.repeat(side, 2)),
    )


def picture(data: Dataset, panels: Any, **options: Any) -> np.ndarray[Any, Any]:
    content = figure_bytes(plot_sheet(data, panels, **options), "png")
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def texts(data: Dataset, panels: Any, **options: Any) -> list[str]:
    return [text.get_text() for text in plot_sheet(data, panels, **options).texts]


# What is chosen ----------------------------------------------------------------------------------


def test_some_classes_are_taken_evenly_with_some_images() -> None:
    data = toy(39, 11)
    left, right = some_classes(data)
    strips = left.strips + right.strips
    assert [strip.title for strip in strips] == [f"class {n:02d}" for n in range(0, 40, 2)]
    assert strips[0].rows == (0, 2, 4, 6, 8, 10)
    assert {strip.of for strip in strips} == {11}


@pytest.mark.parametrize("classes", [1, 2, 3, 20, 21])
def test_small_sets_are_shown_whole(classes: int) -> None:
    data = toy(classes, 3)
    panels = some_classes(data)
    strips = [strip for panel in panels for strip in panel.strips]
    assert len({strip.title for strip in strips}) == len(strips) == min(classes, 20)
    assert all(len(strip.rows) == 3 for strip in strips)


def test_a_class_is_shown_whole_up_to_96_images() -> None:
    data = toy(2, 200)
    (panel,) = whole_classes(data, ["class 01"])
    (strip,) = panel.strips
    assert (len(strip.rows), strip.of, strip.rows[0], strip.rows[-1]) == (96, 200, 200, 399)
    (panel,) = whole_classes(toy(2, 5), ["class 01", "class 00"])
    assert [strip.rows for strip in panel.strips] == [(5, 6, 7, 8, 9), (0, 1, 2, 3, 4)]


def test_the_train_side_is_beside_the_test_side() -> None:
    data = toy(6, 4)
    names = data.classes
    train, test = both_sides(data, Split(1, 2.0, names[3:5], names[:1], names[1:3]))
    assert [strip.title for strip in train.strips] == [names[0], names[3], names[4]]
    assert [strip.title for strip in test.strips] == [*names[1:3]]
    assert (train.title, train.note) == ("Train side", "3 classes, 12 images")
    assert (test.title, test.note) == ("Test", "2 classes, 8 images")


# What is drawn -----------------------------------------------------------------------------------


def test_every_chosen_image_is_on_the_sheet_and_no_other() -> None:
    data = toy(5, 8, side=11)  # 13 times enlarged: 143 dots
    panels = some_classes(data, images=4)
    found = picture(data, panels)
    chosen = {row for panel in panels for strip in panel.strips for row in strip.rows}
    for row in range(len(data)):
        dots = int((found == row).all(axis=2).sum())
        assert dots >= 143**2 if row in chosen else dots < 1000  # letters have grey edges


def test_images_keep_their_shape_and_lie_in_the_middle(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.new("RGB", (400, 200), "blue").save(tmp_path / name / f"{number}.png")
    data = load_data(f"folder:{tmp_path}")
    blue = (picture(data, some_classes(data)) == (0, 0, 255)).all(axis=2)
    rows = np.flatnonzero(blue.any(axis=1))
    first = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)[0]
    assert len(first) == _TILE // 2
    columns = np.flatnonzero(blue[first[0]])
    assert len(np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)[0]) == _TILE
    above = picture(data, some_classes(data))[first[0] - _TILE // 4 : first[0], columns[0]]
    assert (above == _GROUND).all()


def test_an_image_that_cannot_be_read_is_a_crossed_field(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.new("L", (20, 20), 100).save(tmp_path / name / f"{number}.png")
    (tmp_path / "a" / "1.png").write_bytes(b"")
    data = load_data(f"folder:{tmp_path}")
    found = picture(data, some_classes(data))
    red = (found == (200, 60, 60)).all(axis=2).sum()
    assert 4 * _TILE < red < 8 * _TILE


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_same_sheet_same_bytes(kind: Any) -> None:
    data = toy(3, 4)
    first, second = (
        figure_bytes(plot_sheet(data, whole_classes(data, data.classes)), kind) for _ in range(2)
    )
    assert first == second


def test_names_that_are_long_or_strange_are_written(recwarn: pytest.WarningsRecorder) -> None:
    names = ("$a$ and $b_{", "猫", "x" * 300, "fine")
    data = Dataset(
        "$toy$", names, np.arange(8) // 2, tuple(f"{i}.png" for i in range(8)), toy(4, 2).source
    )
    panels = some_classes(data)
    written = texts(data, panels)
    assert written[:2] == ["$toy$", "$a$ and $b_{  (2)"]
    assert written[2] == "□  (2)"
    assert "xxx…xxx" in written[3]
    assert written[3].endswith("(2)")
    figure = plot_sheet(data, panels)
    figure_bytes(figure, "png")
    figure.set_dpi(DOTS)
    width = figure.get_figwidth() * DOTS
    for text in figure.texts:
        assert text.get_window_extent().x1 <= width
    assert not recwarn.list


def test_a_text_that_fits_is_left_alone() -> None:
    assert _shortened("albatross", 400, 8) == "albatross"
    assert _shortened("albatross", 1, 8) in ("a…", "…", "a")


def test_captions_are_what_follows_the_folder_of_all() -> None:
    data = toy(2, 3)
    assert texts(data, whole_classes(data, ["class 01"])) == [
        *("toy", "class 01  (3)", "003", "004", "005")
    ]


def test_vectors_cannot_be_shown() -> None:
    data = toy(2, 2)
    vectors = Dataset("v", data.classes, data.labels, data.ids, Vectors(np.ones((4, 2), "f4")))
    with pytest.raises(DataError, match="'v' holds vectors; there are no images to show"):
        plot_sheet(vectors, some_classes(vectors))


# The command -------------------------------------------------------------------------------------


def test_the_command_writes_a_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("digits").stdout == "sheet.png: 60 images of 10 classes of digits.\n"
    first = (tmp_path / "sheet.png").read_bytes()
    call("digits", "-o", "again.png")
    assert (tmp_path / "again.png").read_bytes() == first
    facts = json.loads(call("digits", "--class", "3", "-o", "3.svg", "--json").stdout)
    assert facts == {"file": "3.svg", "title": "digits", "images": 96, "classes": ["3"]}
    names = tuple("0123456789")
    sequence = SplitSequence("digits", (Split(1, 4.5, names[:5], (), names[5:]),))
    write_sequence(tmp_path / "s.json", sequence)
    facts = json.loads(call("digits", "--splits", "s.json", "-o", "s.png", "--json").stdout)
    assert facts["title"] == "digits: split 1 of 1, shift 4.5"
    assert facts["classes"] == [*names]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--class", "33"], 1, "'33' is not among the 10 classes of 'digits'; nearest: '3'"),
        (["--rank", "2"], 2, "--rank goes with --splits"),
        (["--class", "3", "--splits", "x.json"], 2, "not both"),
        (["-o", "sheet.jpg"], 2, "sheet.jpg is no figure; expected a name in .svg, .png or .pdf"),
        (["--splits", "absent.json"], 1, "absent.json does not exist"),
    ],
)
def test_what_cannot_be_shown_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call("digits", *words)
    assert result.exit_code == code
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert not [*tmp_path.iterdir()]


def test_a_rank_that_is_not_there_is_named(tmp_path: Path) -> None:
    names = tuple("0123456789")
    sequence = SplitSequence("digits", (Split(1, 4.5, names[:5], (), names[5:]),))
    write_sequence(tmp_path / "s.json", sequence)
    result = call("digits", "--splits", tmp_path / "s.json", "--rank", 2)
    assert result.exit_code == 1
    assert "There is no split 2; this sequence has 1 to 1" in result.stderr
