"""ISOLET: 617 features of 7,797 spoken letters, by 150 speakers; they are their own embedding."""

from __future__ import annotations

import string
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from oodml.data.dataset import Dataset, Vectors
from oodml.data.places import find_place, found_in, require_counts, wrong_layout
from oodml.errors import DataError

FEATURES = 617
FILES = ("isolet1+2+3+4.data", "isolet5.data")  # four fifths of the speakers, and the last one
MATLAB = "Isolet.mat"

Array = np.ndarray[Any, Any]


def load_isolet(root: Path, *, complete: bool = True) -> Dataset:
    """The features (n, 617) of the letters "A" to "Z".

    From UCI's two files of comma-separated rows, or where these are absent from `Isolet.mat` with X
    (n, 617) and Y (n,), which is known as one fifth. An id is the file's name without its ending
    and the number of the row, from 0. There are no published halves of classes.
    """
    place = find_place(root, lambda path: bool(_files(path)))
    if place is None:
        expected = f"{' and '.join(FILES)} (unpack .data.Z with gzip -d), or {MATLAB}"
        raise wrong_layout("isolet", root, expected, found_in(root))
    tables = {path.stem: _table(path) for path in _files(place)}
    features = np.concatenate([table[0] for table in tables.values()])
    numbers = np.concatenate([table[1] for table in tables.values()])
    kept, labels = np.unique(numbers, return_inverse=True)  # a part may lack some letters
    data = Dataset(
        name="isolet",
        classes=tuple(string.ascii_uppercase[number - 1] for number in kept.tolist()),
        labels=labels,
        ids=tuple(
            f"{stem}/{row:04}" for stem, (rows, _) in tables.items() for row in range(len(rows))
        ),
        source=Vectors(features),
    )
    return require_counts(data, root, complete=complete)


def _files(place: Path) -> list[Path]:
    published = [place / file for file in FILES if (place / file).is_file()]
    return published or [place / MATLAB] * (place / MATLAB).is_file()


def _table(path: Path) -> tuple[Array, Array]:
    """Features (n, 617) float32 and letters (n,), 1 for A to 26 for Z."""
    features, letters = _read_matlab(path) if path.name == MATLAB else _read_rows(path)
    if features.shape != (len(letters), FEATURES) or letters.ndim != 1 or not len(letters):
        raise DataError(
            f"{path} holds features of shape {features.shape} and labels of shape {letters.shape}; "
            f"expected (n, {FEATURES}) and (n,): get it anew."
        )
    if not np.isfinite(features).all() or not np.isin(letters, range(1, 27)).all():
        raise DataError(f"{path}: expected finite features and labels from 1 to 26; get it anew.")
    return features.astype(np.float32), letters.astype(np.int64)


def _read_rows(path: Path) -> tuple[Array, Array]:
    try:
        lines = [line for line in path.read_text(encoding="ascii").splitlines() if line.strip()]
        if not lines:
            raise ValueError("it is empty")
        rows = np.loadtxt(lines, delimiter=",", comments=None, ndmin=2)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as rows of numbers ({error}); get it anew."
        ) from None
    return rows[:, :-1], rows[:, -1]


def _read_matlab(path: Path) -> tuple[Array, Array]:
    from scipy import io

    try:
        arrays = io.loadmat(path)
        return np.asarray(arrays["X"], np.float64), np.asarray(arrays["Y"]).reshape(-1)
    except (OSError, KeyError, ValueError, TypeError, NotImplementedError, zlib.error) as error:
        raise DataError(f"{path} cannot be read as a .mat file with X and Y ({error}).") from None
