"""A folder of images as a `Dataset`: one sub-folder a class, or folders of such folders."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from oodml.data.dataset import Dataset, Files
from oodml.errors import DataError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm"})
UNTELLING = frozenset({"images", "train", "data", "jpg"})  # folder names that name no data set


def load_folder(root: Path, name: str | None = None, *, nested: bool = False) -> Dataset:
    """The images `root/CLASS/IMAGE`; classes and ids are sorted, hidden files left out.

    An id is the POSIX path below `root`. Without a `name`, the last telling part of the path is
    taken. With `nested` they are `root/GROUP/CLASS/IMAGE`: the classes are named "GROUP/CLASS", and
    have groups.
    """
    root = root.expanduser().absolute()  # the data set outlives a change of the working folder
    images = _images_by_group(root) if nested else _images_by_class(root)
    _check(root, images, "GROUP/CLASS" if nested else "CLASS")
    pairs = sorted((f"{label}/{file}", label) for label, files in images.items() for file in files)
    classes = tuple(sorted(images))
    index = {label: number for number, label in enumerate(classes)}
    return Dataset(
        name=name or telling_name(root),
        classes=classes,
        labels=np.array([index[label] for _, label in pairs]),
        ids=tuple(path for path, _ in pairs),
        source=Files(root),
        groups=tuple(label.partition("/")[0] for label in classes) if nested else None,
    )


def telling_name(root: Path) -> str:
    """The last part of a path that names a data set, which `images` or `train` do not."""
    # Not resolve(): what a link is called tells more than where it points to.
    parts = Path(os.path.normpath(root)).parts[1:]
    return next((part for part in reversed(parts) if part.lower() not in UNTELLING), "folder")


def _images_by_class(root: Path) -> dict[str, list[str]]:
    """The image file names of each sub-folder, in any order."""
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise DataError(f"{root} {what}; expected a folder with one sub-folder of images a class.")
    return {name: image_names(root / name) for name in _folders(root)}


def _images_by_group(root: Path) -> dict[str, list[str]]:
    """The image file names of each GROUP/CLASS."""
    groups = {name: _images_by_class(root / name) for name in _images_by_class(root)}
    if empty := [name for name, found in groups.items() if not found]:
        raise DataError(
            f"{len(empty)} sub-folders of {root} hold no folder, such as {min(empty)!r}; expected "
            f"images in {root}/GROUP/CLASS/: drop nested=true, or remove them."
        )
    return {
        f"{group}/{name}": files for group, found in groups.items() for name, files in found.items()
    }


def _folders(root: Path) -> list[str]:
    with os.scandir(root) as entries:
        return [entry.name for entry in entries if entry.is_dir() and _visible(entry.name)]


def image_names(folder: Path) -> list[str]:
    """The names of the visible image files directly in a folder, in any order."""
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if _is_image(entry)]


def _is_image(entry: os.DirEntry[str]) -> bool:
    suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - a Path per image is slow
    return suffix in SUFFIXES and _visible(entry.name) and entry.is_file()


def _visible(name: str) -> bool:
    return not name.startswith(".")


def _check(root: Path, images: dict[str, list[str]], levels: str) -> None:
    """Raise `DataError` unless two or more classes have two or more images each."""
    layout = f"expected images in {root}/{levels}/"
    if not images:
        raise DataError(f"{root} has no sub-folders; {layout}: make one folder a class.")
    if not any(images.values()):
        nested = "/" in levels
        what = "classes" if nested else "sub-folders"
        advice = "give the folder just above the groups" if nested else _advice(root, [*images])
        raise DataError(
            f"None of the {len(images)} {what} of {root} holds an image directly; {layout}, "
            f"ending in {', '.join(sorted(SUFFIXES))}: {advice}."
        )
    if empty := [name for name, files in images.items() if not files]:
        raise DataError(
            f"{_count(empty)} of {root} without an image; expected two or more: "
            "add images or remove the folder."
        )
    require_enough(root, images)
    for path in (f"{name}/{file}" for name, files in images.items() for file in files):
        if path.encode(errors="ignore").decode() != path:  # bytes that Python could not decode
            raise DataError(f"{root} holds {path!a}, a name that is not in UTF-8; rename it.")


def _advice(root: Path, names: list[str]) -> str:
    """What to do where no folder of `names` holds an image: give another level, or say `nested`."""
    for name in names:
        below = _images_by_class(root / name)
        if sum(map(bool, below.values())) > 1:  # as folders of classes do
            if len(names) == 1:
                return f"give the folder just above the classes, {root / name}"
            return f"for groups of classes, GROUP/CLASS, write folder:{root}?nested=true"
    return "give the folder just above the classes"


def require_enough(where: Path, images: Mapping[str, Sequence[str]]) -> None:
    """Raise `DataError` unless there are two or more classes, of two or more images each."""
    if single := [name for name, files in images.items() if len(files) == 1]:
        raise DataError(
            f"{_count(single)} of {where} with only one image; retrieval needs two or more: "
            "add images or remove the class."
        )
    if len(images) == 1:
        raise DataError(
            f"{where} has one class, {next(iter(images))!r}; a split needs two or more."
        )


def _count(names: list[str]) -> str:
    """How many classes, and the first of them by name: "3 classes ('a', 'b', 'c')"."""
    shown = ", ".join(repr(name) for name in sorted(names)[:5])
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{len(names)} class{'es' if len(names) > 1 else ''} ({shown}{more})"
