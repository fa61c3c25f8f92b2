"""Omniglot: 1,623 handwritten characters of 50 alphabets, each drawn by 20 people."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from oodml.data.dataset import Dataset, Pixels
from oodml.data.places import find_place, found_in, require_counts, wrong_layout
from oodml.errors import DataError

SIDE = 105  # pixels
BACKGROUND, EVALUATION = "images_background", "images_evaluation"
SMALL = ("images_background_small1", "images_background_small2")
LARGEST = 1 << 20  # bytes; the real drawings have some 300
_DRAWING = re.compile(
    r"(?:.*/)?(?P<alphabet>[^/]+)/(?P<character>character\d+)/(?P<file>[^/.]+\.png)"
)

Drawings = dict[str, dict[str, bytes]]  # by class, by file name
Grey = np.ndarray[Any, np.dtype[np.uint8]]


def load_omniglot(root: Path, *, complete: bool = True) -> Dataset:
    """The drawings (n, 105, 105), black on white, of the classes "Alphabet/characterNN".

    The published halves are the characters of `images_background` and of `images_evaluation`, the
    groups the alphabets. Either set may be a folder or the official zip; the data set is the same.
    The two small background sets are parts of the background: they are read where that is absent,
    and what both of them hold counts once.
    """
    place = find_place(root, lambda path: bool(_sets(path)))
    if place is None:
        expected = f"{BACKGROUND} and {EVALUATION}, as folders or .zip, in it or one folder below"
        raise wrong_layout("omniglot", root, expected, found_in(root))
    drawings: Drawings = {}
    home: dict[str, str] = {}  # the set of each class
    for part, where in _sets(place).items():
        for label, files in _read(where).items():
            if drawings.setdefault(label, files) != files:
                raise DataError(
                    f"{where} has other drawings of {label} than {home[label]} in {place}; "
                    "expected the same: remove one of the two sets."
                )
            home.setdefault(label, part)
    return require_counts(_dataset(drawings, home), root, complete=complete)


def _sets(place: Path) -> dict[str, Path]:
    """The sets in a folder that are to be read, by name."""
    found = {}
    for part in (BACKGROUND, EVALUATION, *SMALL):
        if (place / part).is_dir():
            found[part] = place / part
        elif (place / f"{part}.zip").is_file():
            found[part] = place / f"{part}.zip"
    return {part: found[part] for part in found if part not in SMALL or BACKGROUND not in found}


def _read(where: Path) -> Drawings:
    """The drawings of a set, as PNG files in memory."""
    drawings: Drawings = {}
    for path, content in _zipped(where) if where.suffix == ".zip" else _unpacked(where):
        match = _DRAWING.fullmatch(path)
        if match and not path.startswith("__MACOSX/"):
            label = f"{match['alphabet']}/{match['character']}"
            drawings.setdefault(label, {})[match["file"]] = content
    if not drawings:
        raise DataError(f"{where} holds no ALPHABET/characterNN/DRAWING.png; get it anew.")
    return drawings


def _unpacked(where: Path) -> Iterator[tuple[str, bytes]]:
    for path in where.glob("*/*/*.png"):
        yield path.relative_to(where).as_posix(), path.read_bytes()


def _zipped(where: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(where) as archive:
            for member in archive.infolist():
                if member.file_size > LARGEST:
                    raise DataError(f"{where}: {member.filename} is too large for a drawing.")
                yield member.filename, archive.read(member)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError) as error:
        raise DataError(f"{where} cannot be read ({error}); get it anew.") from None


def _dataset(drawings: Drawings, home: dict[str, str]) -> Dataset:
    classes = tuple(sorted(drawings))
    images = np.empty((sum(map(len, drawings.values())), SIDE, SIDE), np.uint8)
    ids: list[str] = []
    labels = []
    for number, label in enumerate(classes):
        for file, content in sorted(drawings[label].items()):
            path = f"{home[label]}/{label}/{file}"
            images[len(ids)] = _decode(content, path)
            ids.append(path)
            labels.append(number)
    test = tuple(label for label in classes if home[label] == EVALUATION)
    train = tuple(label for label in classes if home[label] != EVALUATION)
    return Dataset(
        name="omniglot",
        classes=classes,
        labels=np.array(labels),
        ids=tuple(ids),
        source=Pixels(images),
        groups=tuple(label.partition("/")[0] for label in classes),
        default=(train, test) if train and test else None,
    )


def _decode(content: bytes, path: str) -> Grey:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            if image.size != (SIDE, SIDE):
                raise DataError(
                    f"Omniglot's {path} is {image.width} x {image.height} pixels; expected "
                    f"{SIDE} x {SIDE}: get the set anew."
                )
            return np.asarray(image.convert("L"))
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DataError(f"Omniglot's {path} is damaged ({error}); get the set anew.") from None
