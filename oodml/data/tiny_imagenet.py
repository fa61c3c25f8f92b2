"""Tiny ImageNet: 200 classes of ImageNet at 64 x 64 pixels."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from oodml.data.dataset import Dataset, Files
from oodml.data.folder import image_names
from oodml.data.places import find_place, found_in, require_counts, wrong_layout
from oodml.errors import DataError

EACH = {"train": 500, "val": 50}  # labelled images a class
ANNOTATIONS = "val/val_annotations.txt"
_WNID = re.compile(r"n\d{8}")


def load_tiny_imagenet(root: Path, *, complete: bool = True) -> Dataset:
    """The 500 training and 50 validation images of each class; those of `test` have no labels.

    Classes are named by their WordNet ids ("n01443537"), as the folders are. There are no published
    halves of classes, and no groups.
    """
    place = find_place(root, lambda path: bool(_wnids(path)))
    if place is None:
        expected = f"train/WNID/images/ and {ANNOTATIONS}, in it or one folder below"
        raise wrong_layout("tiny_imagenet", root, expected, found_in(root))
    train, val = _training(place), _validation(place)
    pairs = sorted([*train, *val])
    classes = tuple(sorted({label for _, label in pairs}))
    index = {label: number for number, label in enumerate(classes)}
    data = Dataset(
        name="tiny_imagenet",
        classes=classes,
        labels=np.array([index[label] for _, label in pairs]),
        ids=tuple(path for path, _ in pairs),
        source=Files(place),
    )
    require_counts(data, root, complete=complete)
    if complete:
        _require_each(place, data)
    return data


def _wnids(place: Path) -> list[str]:
    train = place / "train"
    return (
        sorted(p.name for p in train.iterdir() if _WNID.fullmatch(p.name)) if train.is_dir() else []
    )


def _training(place: Path) -> list[tuple[str, str]]:
    """The path below `place` and the class of every training image."""
    folders = {wnid: place / "train" / wnid / "images" for wnid in _wnids(place)}
    if absent := [folder for folder in folders.values() if not folder.is_dir()]:
        raise DataError(f"{absent[0]} is not there; expected the training images of a class in it.")
    return [
        (f"train/{wnid}/images/{file}", wnid)
        for wnid, folder in folders.items()
        for file in image_names(folder)
    ]


def _validation(place: Path) -> list[tuple[str, str]]:
    """The path below `place` and the class of every validation image; none without `val`."""
    annotations, folder = place / ANNOTATIONS, place / "val" / "images"
    if not (place / "val").is_dir():
        return []
    if not annotations.is_file() or not folder.is_dir():
        raise DataError(
            f"{place / 'val'} lacks {annotations.name} or images/; expected them as published, not "
            "sorted into folders of classes."
        )
    there = set(image_names(folder))
    pairs = []
    lines = annotations.read_text(encoding="ascii", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        file, label, *_ = [*line.split("\t"), ""]
        if not _WNID.fullmatch(label) or file not in there:
            raise DataError(
                f"{annotations}, line {number}: expected the name of a file in {folder} and its "
                f"WordNet id, such as n01443537; found {line[:60]!r}."
            )
        pairs.append((f"val/images/{file}", label))
    return pairs


def _require_each(place: Path, data: Dataset) -> None:
    training = np.array([path.startswith("train/") for path in data.ids])
    for side, rows in (("train", training), ("val", ~training)):
        counts = np.bincount(data.labels[rows], minlength=len(data.classes))
        if (wrong := counts != EACH[side]).any():
            first = int(np.argmax(wrong))
            raise DataError(
                f"{place / side} has {counts[first]} images of {data.classes[first]}; expected "
                f"{EACH[side]}: get the data set anew, or write complete=false."
            )
