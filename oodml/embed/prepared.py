"""A cache of decoded images at a smaller size, for training that sees every image many times.

Images lie one behind the other, as uint8, in shards under a folder named by what they depend on. A
shard is written to a temporary file and renamed, so that whatever is there is whole; what was
interrupted goes on at the first missing shard. Several processes may fill one folder: each claims
shards that no other works on.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oodml.data import Dataset, Vectors
from oodml.embed import claims
from oodml.embed.decode import image_pixels
from oodml.embed.images import Frame, shorter_side
from oodml.embed.reading import READING, reader_pool
from oodml.embed.resize import Rows, resize_into, rows_for
from oodml.errors import DataError, FormatError
from oodml.store import digest, home, read_json, replacing, write_json

Array = np.ndarray[Any, Any]
Progress = Callable[[int, int], None]
SHARD_ROWS = 256
_log = logging.getLogger(__name__)
KIND = "pixel-cache"


@dataclass(frozen=True, slots=True)
class Shard:
    """Some images: `pixels` (bytes,), and the `shapes` (n, 2), height and width, of each."""

    pixels: Array
    shapes: Array
    starts: Array


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """The images of a data set in its order: `prepared[i]` is a read-only `(h, w, 3)` uint8."""

    folder: Path
    rows: int
    shards: tuple[Shard, ...]

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, index: int) -> Array:
        row = range(self.rows)[index]
        shard, place = self.shards[row // SHARD_ROWS], row % SHARD_ROWS
        start, stop = shard.starts[place : place + 2]
        found: Array = shard.pixels[start:stop].reshape(*shard.shapes[place], 3)
        return found


def prepare_images(
    data: Dataset, shorter: int = 256, *, progress: Progress | None = None
) -> Prepared:
    """All images as RGB, their shorter side brought to `shorter` where it is longer.

    Bilinear, antialiased, the ratio kept, within one grey level of Pillow; no image is enlarged.
    What is in the cache already is not read again. `progress(done, total)` is called after every
    shard. Raises `DataError` naming the image that cannot be read.
    """
    if isinstance(data.source, Vectors):
        raise DataError(f"Data set {data.name!r} holds vectors; there are no images to prepare.")
    if shorter < 1:
        raise ValueError(f"shorter is {shorter}; expected 1 or more.")
    folder = _begun(data, shorter)
    ranges = [
        range(start, min(start + SHARD_ROWS, len(data)))
        for start in range(0, len(data), SHARD_ROWS)
    ]
    shards: dict[int, Shard] = {}
    looks = 0
    while missing := [number for number in range(len(ranges)) if number not in shards]:
        before = len(shards)
        for number in missing:
            if shard := _made(folder, number, data, ranges[number], shorter):
                shards[number] = shard
                if progress:
                    progress(sum(len(ranges[done]) for done in shards), len(data))
        if len(shards) == before:  # others are at work on all that is left
            looks = claims.wait(_claim(folder, missing[0]), looks)
    return Prepared(folder, len(data), tuple(shards[number] for number in range(len(ranges))))


def _made(folder: Path, number: int, data: Dataset, rows: range, shorter: int) -> Shard | None:
    """A shard, which is made where it is missing or damaged; None while another process does."""
    claim = _claim(folder, number)
    if shard := _whole(folder, number, len(rows)):
        return shard
    if not claims.take(claim):
        return None
    try:
        if not (shard := _whole(folder, number, len(rows))):
            _fill(folder, number, data, rows, shorter)
            shard = _open(folder, number, len(rows))
        return shard
    finally:
        claims.release(claim)


def _whole(folder: Path, number: int, rows: int) -> Shard | None:
    """A shard; None where it is not there, or damaged."""
    try:
        return _open(folder, number, rows) if _paths(folder, number)[0].exists() else None
    except _DamagedError as error:
        _log.warning("%s; it is made anew.", error)
        return None


def _begun(data: Dataset, shorter: int) -> Path:
    fingerprint = data.content_fingerprint()
    folder = home() / "pixels" / digest(["pixels", READING, shorter, fingerprint])
    facts = {"content_fingerprint": fingerprint, "shorter": shorter, "rows": len(data)}
    facts |= {"reading": READING, "shard_rows": SHARD_ROWS}
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        write_json(manifest, KIND, facts)
    elif read_json(manifest, KIND) != facts:
        raise FormatError(f"{manifest} is of other images than its folder's name says; remove it.")
    else:
        with suppress(OSError):  # the time of its last use; a cache may be read-only
            os.utime(manifest)
    return folder


def _paths(folder: Path, number: int) -> tuple[Path, Path]:
    return folder / f"pixels-{number:05}.npy", folder / f"shapes-{number:05}.npy"


def _claim(folder: Path, number: int) -> Path:
    return folder / f"pixels-{number:05}.claim"


def _fill(folder: Path, number: int, data: Dataset, rows: range, shorter: int) -> None:
    """Write the shapes, then the pixels, whose file says that the shard is there."""
    way = rows_for(len(data))
    with reader_pool() as pool:
        images = list(pool.map(lambda row: _smaller(data, row, shorter, way), rows))
    pixels, shapes = _paths(folder, number)
    for path, array in (
        (shapes, np.array([image.shape[:2] for image in images], np.int32)),
        (pixels, np.concatenate([image.ravel() for image in images])),
    ):
        with replacing(path) as temporary, temporary.open("wb") as stream:
            np.save(stream, array, allow_pickle=False)


def _smaller(data: Dataset, row: int, shorter: int, way: Rows) -> Array:
    """Image `row` as `(h, w, 3)`."""
    pixels = image_pixels(data, row, "RGB")
    height, width, channels = pixels.shape
    if min(height, width) > shorter:
        width, height = shorter_side((width, height), shorter)
        whole = pixels
        pixels = np.empty((height, width, channels), np.uint8)
        resize_into(pixels, whole, Frame(width, height, 0, 0), way)
    return np.broadcast_to(pixels, (height, width, 3))


class _DamagedError(FormatError):
    """A file of a shard does not hold what it should."""


def _open(folder: Path, number: int, rows: int) -> Shard:
    """A shard that holds what it should; raises `_DamagedError` naming the file that does not."""
    pixels, shapes = (_load(path) for path in _paths(folder, number))
    if shapes.shape != (rows, 2) or shapes.dtype != np.int32 or shapes.min() < 1:
        raise _wrong(_paths(folder, number)[1], shapes)
    shapes = np.array(shapes)
    starts = np.concatenate([[0], np.cumsum(shapes.astype(np.int64).prod(axis=1) * 3)])
    if pixels.shape != (starts[-1],) or pixels.dtype != np.uint8:
        raise _wrong(_paths(folder, number)[0], pixels)
    return Shard(pixels, shapes, starts)


def _wrong(path: Path, found: Array) -> _DamagedError:
    return _DamagedError(f"{path} is damaged (it holds {found.dtype} {found.shape})")


def _load(path: Path) -> Array:
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (FileNotFoundError, ValueError, EOFError) as error:
        raise _DamagedError(f"{path} is damaged ({error})") from None
    except OSError as error:  # it may pass
        raise FormatError(f"Cannot read {path}: {error.strerror or error}; try again.") from None
