"""Stanford Cars (CARS196), in the three layouts that it is passed around in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from oodml.data.dataset import Dataset
from oodml.data.folder import load_folder
from oodml.data.layouts import (
    Listed,
    find_layout,
    has_class_folders,
    make_dataset,
    read_mat,
    require_images,
)
from oodml.data.places import found_in, require_counts, wrong_layout
from oodml.errors import DataError

CLASS = re.compile(r".+ (19|20)\d\d")
# The last of the first 98 classes. The official order is by make, and so the halves are those of
# the order of names too; the first published ooDML split has the same ones.
_LAST_TRAIN = "Eagle Talon Hatchback 1998"
_META = "cars_meta.mat"
_TRAIN_LABELS = "cars_train_annos.mat"
_TEST_LABELS = "cars_test_annos_withlabels.mat"
_EXPECTED = (
    "car_ims and cars_annos.mat, or cars_train and cars_test with "
    f"devkit/{_META}, devkit/{_TRAIN_LABELS} and {_TEST_LABELS}, or folders named as the classes "
    "are, in images, in train and test, or directly"
)


def load_cars196(root: Path, *, complete: bool = True) -> Dataset:
    """The cars of `car_ims`, of `cars_train` and `cars_test`, or of class folders.

    Classes are called as in the official ooDML split file ("Acura RL Sedan 2012"), which writes
    "Ram C/V" as "Ram C-V". Ids are paths below the folder of the annotations; of class folders,
    CLASS/IMAGE, with train/ or test/ before it where both are there, since names are taken twice.
    """
    if base := find_layout(root, "car_ims", "cars_annos.mat"):
        listed = _whole(base)
    elif base := find_layout(root, "cars_train"):
        listed = _halves(base, complete=complete)
    else:
        base, listed = _folders(root)
    listed = require_images("cars196", base, listed, complete=complete)
    data = make_dataset("cars196", base, listed, lambda label: label <= _LAST_TRAIN)
    return require_counts(data, root, complete=complete)


def _whole(base: Path) -> list[Listed]:
    path = base / "cars_annos.mat"
    found = read_mat(path)
    names = _names(path, found)
    return [Listed(*pair) for pair in _labelled(path, found, "relative_im_path", names)]


def _halves(base: Path, *, complete: bool) -> list[Listed]:
    meta = _beside(base, _META)
    names = _names(meta, read_mat(meta))
    parts = [("cars_train", _TRAIN_LABELS)]
    if complete or ((base / "cars_test").is_dir() and _place(base, _TEST_LABELS)):
        parts.append(("cars_test", _TEST_LABELS))
    listed = []
    for folder, file in parts:
        path = _beside(base, file)
        pairs = _labelled(path, read_mat(path), "fname", names)
        listed += [Listed(f"{folder}/{name}", label) for name, label in pairs]
    return listed


def _folders(root: Path) -> tuple[Path, list[Listed]]:
    base = find_layout(root, "images")
    images = base / "images" if base else root
    if has_class_folders(images, CLASS):
        return images, [Listed(path, path.split("/")[0]) for path in load_folder(images).ids]
    base = find_layout(root, "train", "test")
    if not base or not all(has_class_folders(base / part, CLASS) for part in ("train", "test")):
        raise wrong_layout("cars196", root, _EXPECTED, found_in(images, CLASS))
    paths = ((part, path) for part in ("train", "test") for path in load_folder(base / part).ids)
    return base, [Listed(f"{part}/{path}", path.split("/")[0]) for part, path in paths]


def _place(base: Path, name: str) -> Path | None:
    """Where a file of the devkit lies: beside the images or in `devkit`."""
    return next((p for p in (base / "devkit" / name, base / name) if p.is_file()), None)


def _beside(base: Path, name: str) -> Path:
    if place := _place(base, name):
        return place
    hint = " (the devkit's cars_test_annos.mat has no labels)" if name == _TEST_LABELS else ""
    raise DataError(f"{base} lacks {name}{hint}; put it there or into {base / 'devkit'}.")


def _names(path: Path, found: dict[str, Any]) -> list[str]:
    names = found.get("class_names")
    if names is None or isinstance(names, str) or not len(names):
        raise DataError(f"{path} lacks class_names, a cell array of names; download it again.")
    return [str(name).replace("/", "-") for name in names]


def _labelled(
    path: Path, found: dict[str, Any], field: str, names: list[str]
) -> Iterable[tuple[str, str]]:
    """File and class of each annotation; a class is the number of its name, from 1."""
    rows = found.get("annotations", [])
    for number, row in enumerate([rows] if isinstance(rows, dict) else rows, start=1):
        try:
            label = int(row["class"])
            if not 1 <= label <= len(names):
                raise ValueError(f"class {label} of {len(names)}")
            yield str(row[field]), names[label - 1]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise DataError(
                f"{path}: annotation {number} is not of the published form ({error}); expected "
                f"{field} and class: download it again."
            ) from None
