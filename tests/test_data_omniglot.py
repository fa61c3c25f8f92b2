"""Omniglot and Tiny ImageNet: miniatures of the published layouts, and the real small sets."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oodml.data import Dataset, Pixels, load_data
from oodml.data.facts import FACTS
from oodml.errors import DataError

SETS = {
    "images_background": {"Greek": 3, "Latin": 2},
    "images_evaluation": {"Tengwar": 2},
    "images_background_small1": {"Greek": 3},
    "images_background_small2": {"Greek": 3, "Korean": 1},
}


def drawing(*seed: int) -> Image.Image:
    """A drawing as they are published: one bit a pixel, black on white."""
    bits = np.random.default_rng(seed).random((105, 105)) > 0.1
    return Image.fromarray(bits)


def make_set(root: Path, part: str) -> Path:
    """A set as folders; the same character has the same drawings in every set."""
    for alphabet, characters in SETS[part].items():
        for character in range(1, characters + 1):
            folder = root / part / alphabet / f"character{character:02}"
            folder.mkdir(parents=True)
            for person in (1, 2):
                name = folder / f"{ord(alphabet[0]):02}{character:02}_{person:02}.png"
                drawing(ord(alphabet[0]), character, person).save(name)
    return root / part


def pack(folder: Path, *, drop: bool = True) -> Path:
    """The official zip of a set: its own folder comes first in every name."""
    target = folder.parent / f"{folder.name}.zip"
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(f"__MACOSX/{folder.name}/Greek/character01/._1.png", b"no image")
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder.parent).as_posix())
    if drop:
        shutil.rmtree(folder)
    return target


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """Background and evaluation, as folders."""
    for part in ("images_background", "images_evaluation"):
        make_set(tmp_path / "omniglot", part)
    return tmp_path / "omniglot"


def part_of(root: Path) -> Dataset:
    return load_data(f"omniglot:{root}?complete=false")


# Omniglot ----------------------------------------------------------------------------------------


def test_characters_are_classes_and_alphabets_groups(whole: Path) -> None:
    data = part_of(whole)
    greek = tuple(f"Greek/character{n:02}" for n in (1, 2, 3))
    latin = tuple(f"Latin/character{n:02}" for n in (1, 2))
    tengwar = tuple(f"Tengwar/character{n:02}" for n in (1, 2))
    assert data.classes == greek + latin + tengwar
    assert data.groups == ("Greek",) * 3 + ("Latin",) * 2 + ("Tengwar",) * 2
    assert data.default == (greek + latin, tengwar)
    assert data.labels.tolist() == [n for n in range(7) for _ in range(2)]
    assert data.ids[0] == "images_background/Greek/character01/7101_01.png"
    assert data.ids[-1] == "images_evaluation/Tengwar/character02/8402_02.png"
    assert isinstance(data.source, Pixels)
    with Image.open(whole / data.ids[3]) as image:
        np.testing.assert_array_equal(data.source.images[3], np.asarray(image) * 255)


def test_folders_and_zips_are_the_same_data(whole: Path) -> None:
    folders = part_of(whole)
    pack(whole / "images_background")
    assert part_of(whole).content_fingerprint() == folders.content_fingerprint()
    pack(whole / "images_evaluation", drop=False)
    shutil.rmtree(whole / "images_evaluation")
    assert part_of(whole).ids == folders.ids
    assert part_of(whole).content_fingerprint() == folders.content_fingerprint()


def test_a_folder_below_will_do(whole: Path) -> None:
    whole.rename(whole.parent / "python")  # as in the official repository
    assert len(part_of(whole.parent)) == 14


def test_what_both_small_sets_hold_counts_once(tmp_path: Path) -> None:
    pack(make_set(tmp_path, "images_background_small1"))
    make_set(tmp_path, "images_background_small2")
    data = part_of(tmp_path)
    assert len(data) == 8
    assert data.ids[0].startswith("images_background_small1/Greek/")
    assert data.ids[-1].startswith("images_background_small2/Korean/")
    assert data.default is None  # one side only
    make_set(tmp_path, "images_background")
    assert set(part_of(tmp_path).groups or ()) == {"Greek", "Latin"}  # its parts are left out


def test_small_sets_that_differ_are_not_mixed(tmp_path: Path) -> None:
    for part in ("images_background_small1", "images_background_small2"):
        make_set(tmp_path, part)
    other = tmp_path / "images_background_small2/Greek/character02/7102_01.png"
    drawing(9).save(other)
    with pytest.raises(DataError, match="has other drawings of Greek/character02 than"):
        part_of(tmp_path)


def test_counts_are_the_published_ones(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (FACTS["omniglot"].classes, FACTS["omniglot"].images) == (1_623, 1_623 * 20)
    with pytest.raises(DataError, match=r"holds 7 classes and 14 images; expected the 1,623 and"):
        load_data(f"omniglot:{whole}")
    monkeypatch.setitem(FACTS, "omniglot", replace(FACTS["omniglot"], classes=7, images=14))
    assert len(load_data(f"omniglot:{whole}")) == 14


def test_omniglot_that_cannot_be_read(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(DataError, match=r"other is no Omniglot.*found 'notes\.txt'"):
        part_of(tmp_path / "other")
    with pytest.raises(DataError, match="none does not exist; expected the folder of Omniglot"):
        part_of(tmp_path / "none")
    broken = whole / "images_background/Latin/character01/7601_01.png"
    content = broken.read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"Latin/character01/7601_01\.png is damaged"):
        part_of(whole)
    Image.new("1", (28, 28)).save(broken)
    with pytest.raises(DataError, match=r"7601_01\.png is 28 x 28 pixels; expected 105 x 105"):
        part_of(whole)
    broken.write_bytes(content)
    zipped = pack(whole / "images_evaluation")
    content = zipped.read_bytes()
    zipped.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"images_evaluation\.zip cannot be read .*get it anew"):
        part_of(whole)
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images_evaluation/A/character01/1.png", b"\0" * (1 << 21))
    with pytest.raises(DataError, match=r"A/character01/1\.png is too large for a drawing"):
        part_of(whole)
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(DataError, match=r"holds no ALPHABET/characterNN/DRAWING\.png"):
        part_of(whole)


def test_the_real_small_sets(test_data: Path, tmp_path: Path) -> None:
    root = test_data / "omniglot"
    if not root.is_dir():
        pytest.skip(f"no omniglot in {test_data}")
    data = part_of(root)
    assert (len(data.classes), len(data), len(set(data.groups or ()))) == (242, 4_840, 8)
    assert (np.bincount(data.labels) == 20).all()
    for part in ("images_background_small1", "images_background_small2"):
        with zipfile.ZipFile(root / f"{part}.zip") as archive:
            archive.extractall(tmp_path)
    assert part_of(tmp_path).content_fingerprint() == data.content_fingerprint()
    with pytest.raises(DataError, match="holds 242 classes and 4,840 images"):
        load_data(f"omniglot:{root}")


# Tiny ImageNet -----------------------------------------------------------------------------------

WNIDS = ("n01443537", "n01629819", "n02085620")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Three classes of two training images and one validation image, and unlabelled test images."""
    root = tmp_path / "tiny-imagenet-200"
    for folder in (*(f"train/{wnid}/images" for wnid in WNIDS), "val/images", "test/images"):
        (root / folder).mkdir(parents=True)
    lines = []
    for number, wnid in enumerate(WNIDS):
        (root / f"train/{wnid}/{wnid}_boxes.txt").write_text("")
        for index in range(2):
            image = Image.new("L" if index else "RGB", (64, 64), 40 * number)
            image.save(root / f"train/{wnid}/images/{wnid}_{index}.JPEG")
        Image.new("RGB", (64, 64)).save(root / f"val/images/val_{2 - number}.JPEG")
        Image.new("RGB", (64, 64)).save(root / f"test/images/test_{number}.JPEG")
        lines.append(f"val_{2 - number}.JPEG\t{wnid}\t0\t0\t63\t63\n")
    (root / "val/val_annotations.txt").write_text("".join(lines))
    return root


def test_training_and_validation_images_of_tiny_imagenet(tiny: Path) -> None:
    for root in (tiny, tiny.parent):
        data = load_data(f"tiny_imagenet:{root}?complete=false")
        assert data.classes == WNIDS
        assert data.ids == (
            *(f"train/{wnid}/images/{wnid}_{index}.JPEG" for wnid in WNIDS for index in (0, 1)),
            *(f"val/images/val_{index}.JPEG" for index in range(3)),
        )
        assert data.labels.tolist() == [0, 0, 1, 1, 2, 2, 2, 1, 0]
        assert (data.groups, data.default) == (None, None)
    shutil.rmtree(tiny / "val")
    assert len(load_data(f"tiny_imagenet:{tiny}?complete=false")) == 6


def test_each_class_of_tiny_imagenet_is_counted(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert FACTS["tiny_imagenet"].images == FACTS["tiny_imagenet"].classes * (500 + 50)
    with pytest.raises(DataError, match="holds 3 classes and 9 images; expected the 200 and 110,0"):
        load_data(f"tiny_imagenet:{tiny}")
    facts = replace(FACTS["tiny_imagenet"], classes=3, images=9)
    monkeypatch.setitem(FACTS, "tiny_imagenet", facts)
    monkeypatch.setattr("oodml.data.tiny_imagenet.EACH", {"train": 2, "val": 1})
    assert len(load_data(f"tiny_imagenet:{tiny}")) == 9
    folder = tiny / "train"
    moved = folder / WNIDS[0] / "images" / f"{WNIDS[0]}_1.JPEG"
    moved.rename(folder / WNIDS[1] / "images" / moved.name)
    with pytest.raises(DataError, match=r"train has 1 images of n01443537; expected 2"):
        load_data(f"tiny_imagenet:{tiny}")


def test_tiny_imagenet_that_cannot_be_read(tiny: Path) -> None:
    annotations = tiny / "val/val_annotations.txt"
    text = annotations.read_text()
    for line, what in (("val_9.JPEG\tn01443537\t0\n", "val_9"), ("val_0.JPEG\n", "val_0")):
        annotations.write_text(text + line)
        with pytest.raises(DataError, match=rf"val_annotations.txt, line 4: .*found '{what}"):
            load_data(f"tiny_imagenet:{tiny}?complete=false")
    annotations.unlink()
    with pytest.raises(DataError, match=r"val lacks val_annotations.txt or images/; expected them"):
        load_data(f"tiny_imagenet:{tiny}?complete=false")
    (tiny / "train" / WNIDS[1] / "images").rename(tiny / "elsewhere")
    with pytest.raises(DataError, match=r"n01629819/images is not there"):
        load_data(f"tiny_imagenet:{tiny}?complete=false")
    shutil.rmtree(tiny / "train")
    with pytest.raises(DataError, match=r"is no Tiny ImageNet: expected train/WNID/images/"):
        load_data(f"tiny_imagenet:{tiny}?complete=false")
