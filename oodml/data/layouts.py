"""Published layouts on disk: finding them, and making a `Dataset` of what they list."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oodml.data.dataset import Dataset, Files, Halves
from oodml.data.places import contents, find_place
from oodml.errors import DataError


@dataclass(frozen=True, slots=True)
class Listed:
    """An image that a layout lists: its path below the root, its class, its role if any."""

    path: str
    label: str
    role: str | None = None


def find_layout(root: Path, *parts: str) -> Path | None:
    """`root`, or else the first folder in it, that has all of these files and folders."""
    return find_place(root, lambda place: all((place / part).exists() for part in parts))


def has_class_folders(root: Path, name: re.Pattern[str]) -> bool:
    """Whether `root` has sub-folders, and each of them is called as a class is."""
    folders = [entry for entry in contents(root) if (root / entry).is_dir()]
    return bool(folders) and all(name.fullmatch(folder) for folder in folders)


def read_table(path: Path, columns: Sequence[str], *, header: bool = True) -> list[tuple[str, ...]]:
    """The rows of a text file whose columns are separated by spaces.

    A line before the header is the number of rows, as in DeepFashion. Raises `DataError` naming the
    line that does not fit.
    """
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text ({error}); download it again.") from None
    start = 0
    if header:
        start = 1 + next((at for at, line in enumerate(lines[:2]) if line == [*columns]), -1)
        if start == 0:
            raise DataError(f"{path} has no header line; expected {' '.join(columns)!r}.")
    for number, line in enumerate(lines[start:], start=start + 1):
        if line and len(line) != len(columns):
            raise DataError(
                f"{path}, line {number}: {' '.join(line)!r}; expected {' '.join(columns)}: "
                "download the file again."
            )
    rows = [tuple(line) for line in lines[start:] if line]
    if start == 2 and lines[0] != [str(len(rows))]:
        raise DataError(
            f"{path} says {' '.join(lines[0])!r} in its first line but has {len(rows):,} rows; "
            "download it again."
        )
    return rows


def require_images(
    key: str, root: Path, listed: Sequence[Listed], *, complete: bool
) -> list[Listed]:
    """The images whose files are there: all that are listed, unless a part will do."""
    there = those_there(root, listed)
    if len(there) == len(listed) or (there and not complete):
        return there
    kept = {*there}
    missing = next(image.path for image in listed if image not in kept)
    raise DataError(
        f"{len(listed) - len(there):,} of the {len(listed):,} images listed are not in {root}, "
        f"such as {missing}: add them"
        + (f", or write {key}:PATH?complete=false to use those that are there." if there else ".")
    )


def those_there(root: Path, listed: Iterable[Listed]) -> list[Listed]:
    """The images whose files are there, in the order listed."""
    names: dict[str, frozenset[str]] = {}  # one look at each folder: files are many
    there = []
    for image in listed:
        folder, _, name = image.path.rpartition("/")
        if folder not in names:
            names[folder] = _names(root, folder)
        if name in names[folder]:
            there.append(image)
    return there


def _names(root: Path, folder: str) -> frozenset[str]:
    """The names in a folder below `root`; none where it is not there, or is not below."""
    if folder.startswith("/") or ".." in folder.split("/"):
        return frozenset()
    try:
        return frozenset(os.listdir(root / folder))  # noqa: PTH208 - a Path per image is slow
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()


def make_dataset(
    key: str,
    root: Path,
    listed: Iterable[Listed],
    train: Callable[[str], bool],
    *,
    groups: Mapping[str, str] | None = None,
) -> Dataset:
    """The data set of the images listed below `root`; ids and classes are sorted.

    `train(label)` says whether a class is in the published train half, `groups` has the superclass
    of each class.
    """
    images = sorted(listed, key=lambda image: image.path)
    classes = tuple(sorted({image.label for image in images}))
    index = {label: number for number, label in enumerate(classes)}
    roles = tuple(image.role for image in images if image.role is not None)
    return Dataset(
        name=key,
        classes=classes,
        labels=np.array([index[image.label] for image in images], dtype=np.int64),
        ids=tuple(image.path for image in images),
        source=Files(root),
        groups=None if groups is None else tuple(groups[label] for label in classes),
        roles=roles or None,
        default=published_halves(classes, train),
    )


def published_halves(classes: Iterable[str], train: Callable[[str], bool]) -> Halves | None:
    """The published halves, as far as their classes are there; None where one is not at all."""
    sides: tuple[list[str], list[str]] = ([], [])
    for label in classes:
        sides[not train(label)].append(label)
    first, second = map(tuple, sides)
    return (first, second) if first and second else None


def require_apart(path: Path, train: set[str], test: set[str]) -> None:
    """Raise `DataError` where a class is in both published halves."""
    if both := train & test:
        raise DataError(
            f"{path}: class {min(both)!r} is listed for training and for testing; download it "
            "again."
        )


def read_mat(path: Path) -> dict[str, Any]:
    """The variables of a MATLAB file: structs as dicts, arrays squeezed."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    broken = (OSError, ValueError, TypeError, LookupError, NotImplementedError, MatReadError)
    try:
        found: dict[str, Any] = loadmat(path, simplify_cells=True)
    except broken as error:
        raise DataError(f"{path} is no MATLAB file ({error}); download it again.") from None
    return found
