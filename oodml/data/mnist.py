"""MNIST: 70,000 handwritten digits, as the published idx files or an npz of the same arrays."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from oodml.data.dataset import Dataset, Pixels
from oodml.data.places import find_place, found_in, require_counts, wrong_layout
from oodml.errors import DataError
from oodml.store import read_npz

SIDE = 28  # pixels
SIDES = {"train": "train", "test": "t10k"}  # in ids and npz, and in the names of the idx files
NPZ = "mnist.npz"
IDX_BYTES = b"\0\0\x08"  # how an idx file of unsigned bytes begins
LARGEST = 1 << 30  # bytes of an idx file

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


def load_mnist(root: Path, *, complete: bool = True) -> Dataset:
    """All digits (n, 28, 28), white on black, of the published train and test side.

    An id is the side and the start of the sha256 of the image's pixels, and the images come in the
    order of class and id: files differ in the order of their rows (some npz files are sorted by
    class), and one image has one id in all of them. There are no published halves of classes.
    """
    ids, labels, images = [], [], []
    for side, (pictures, digits) in _arrays(root).items():
        ids += _ids(side, pictures, digits)
        labels.append(digits)
        images.append(pictures)
    joined = np.concatenate(labels).astype(np.int64)
    order = sorted(range(len(ids)), key=lambda row: (joined[row], ids[row]))
    kept, numbers = np.unique(joined[order], return_inverse=True)  # a part may lack some digits
    data = Dataset(
        name="mnist",
        classes=tuple(map(str, kept.tolist())),
        labels=numbers,
        ids=tuple(ids[row] for row in order),
        source=Pixels(np.concatenate(images)[order]),
    )
    return require_counts(data, root, complete=complete)


def _ids(side: str, pictures: Bytes, digits: Bytes) -> list[str]:
    """An id an image, from its content; the second of two equal images ends in `-2`."""
    seen: Counter[str] = Counter()
    ids = []
    for picture, digit in zip(pictures, digits, strict=True):
        name = f"{side}/{digit}/{hashlib.sha256(picture.tobytes()).hexdigest()[:16]}"
        seen[name] += 1
        ids.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return ids


def _arrays(root: Path) -> dict[str, tuple[Bytes, Bytes]]:
    """Images (n, 28, 28) and digits (n,) of each side that is there."""
    below = root / "MNIST"  # torchvision keeps the files in MNIST/raw
    place = find_place(root, _holds) or (find_place(below, _holds) if below.is_dir() else None)
    if place is None:
        expected = (
            "train-images-idx3-ubyte, train-labels-idx1-ubyte and the two of t10k, each also as "
            f".gz, or {NPZ} with x_train, y_train, x_test and y_test"
        )
        raise wrong_layout("mnist", root, expected, found_in(root))
    found = {}
    for side in SIDES:
        if files := _idx_files(place, side):
            found[side] = _checked(files[0], *map(_read_idx, files))
    if not found:
        arrays = read_npz(place / NPZ)
        for side in SIDES:
            pair = [arrays[key] for key in (f"x_{side}", f"y_{side}") if key in arrays]
            if len(pair) == 2:
                found[side] = _checked(place / NPZ, *pair)
        if not found:
            expected = "x_train and y_train, or x_test and y_test"
            raise wrong_layout("mnist", place / NPZ, expected, ", ".join(arrays) or "nothing")
    return found


def _holds(place: Path) -> bool:
    return (place / NPZ).is_file() or any(_idx_files(place, side) for side in SIDES)


def _idx_files(place: Path, side: str) -> tuple[Path, Path] | None:
    """The files of images and labels of a side, where both are there."""
    found = []
    for what in ("images-idx3-ubyte", "labels-idx1-ubyte"):
        plain = f"{SIDES[side]}-{what}"
        names = [
            name + end for name in (plain, plain.replace("-idx", ".idx")) for end in ("", ".gz")
        ]
        found += [place / name for name in names if (place / name).is_file()][:1]
    return (found[0], found[1]) if len(found) == 2 else None


def _read_idx(path: Path) -> Bytes:
    """The array of an idx file of unsigned bytes: its type, sizes (big-endian), then the bytes."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            start = stream.read(4)
            shape = tuple(np.frombuffer(stream.read(4 * start[3]), ">u4").tolist())
            size = math.prod(shape)
            content = stream.read(min(size, LARGEST) + 1) if start[:3] == IDX_BYTES else b""
    except (OSError, EOFError, zlib.error, IndexError, ValueError) as error:
        raise DataError(f"{path} cannot be read as an idx file ({error}); get it anew.") from None
    if start[:3] != IDX_BYTES or len(content) != size:
        raise DataError(
            f"{path} is no idx file of bytes, or not all of it: it begins with {start.hex()} and "
            f"has {len(content)} bytes of data where its head says {size}; get it anew."
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def _checked(path: Path, pictures: Bytes, digits: Bytes) -> tuple[Bytes, Bytes]:
    right = pictures.shape == (len(digits), SIDE, SIDE) and digits.ndim == 1
    if not right or pictures.dtype != np.uint8 or digits.dtype.kind not in "iu":
        raise DataError(
            f"{path}: images are {pictures.dtype} of shape {pictures.shape}, labels {digits.dtype} "
            f"of shape {digits.shape}; expected uint8 (n, {SIDE}, {SIDE}) and whole numbers (n,)."
        )
    if not len(digits) or digits.min() < 0 or digits.max() > 9:
        raise DataError(f"{path}: expected images with labels from 0 to 9.")
    return pictures, digits
