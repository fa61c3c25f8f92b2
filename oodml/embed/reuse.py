"""Vectors of images that the same encoder embedded before, as part of other data.

A cache of image files keeps the sha256 of each, so that a data set that shares files with another
whose cache is complete, such as a part of it, takes their vectors from there. Copies within one
data set are embedded one by one, and so are images that are held as arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from oodml.data import Dataset, Files
from oodml.embed.cache import VERSION, Cache
from oodml.errors import FormatError
from oodml.store import read_json, read_npz, write_npz

Array = np.ndarray[Any, Any]
_NAME = "images.npz"


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """Where the vector of each row is: `vectors[source[row]][place[row]]`; -1 where unknown."""

    source: Array
    place: Array
    vectors: tuple[Array, ...]

    def fill(self, rows: range, out: Array) -> list[int]:
        """Put what is known of these rows into `out` (len(rows), dim); the rows that are left."""
        source, place = (part[rows.start : rows.stop] for part in (self.source, self.place))
        for number, vectors in enumerate(self.vectors):
            mine = source == number
            out[mine] = vectors[place[mine]]
        return (rows.start + np.flatnonzero(source < 0)).tolist()


def find_known(cache: Cache, data: Dataset) -> Known:
    """What complete caches beside this one, of the same encoder, know of the images of `data`.

    The hashes of the images are kept in the cache, for others.
    """
    source = np.full(len(data), -1)
    place = np.zeros(len(data), np.int64)
    vectors: list[Array] = []
    if isinstance(data.source, Files):
        mine = _keys(data.source.content_hashes(data.ids))
        if not (cache.folder / _NAME).exists():
            write_npz(cache.folder / _NAME, {"sha256": mine})
        for other, others, found in _others(cache):
            order = np.argsort(others)
            at = order[np.searchsorted(others, mine, sorter=order).clip(max=len(others) - 1)]
            same = (others[at] == mine) & (source < 0)
            source[same], place[same] = len(vectors), at[same]
            vectors.append(found)
            if same.any():
                other.touch()
    return Known(source, place, tuple(vectors))


def _keys(hashes: list[str]) -> Array:
    """Digests as `(n,)` byte strings of 64 letters."""
    return np.array(hashes, dtype="S64")


def _others(cache: Cache) -> list[tuple[Cache, Array, Array]]:
    """The other complete caches of the same encoder, with their hashes and vectors."""
    found = []
    wanted = _encoder(cache)
    for path in sorted(cache.folder.parent.glob(f"*/{_NAME}")):
        try:
            other = Cache.read(path.parent)
            if path.parent == cache.folder or _encoder(other) != wanted:
                continue
            vectors, hashes = other.vectors(), read_npz(path)["sha256"]
        except (FormatError, KeyError, OSError):  # of another version, or pruned meanwhile
            continue
        if vectors is not None and len(vectors) == len(hashes):
            found.append((other, hashes, vectors))
    return found


def _encoder(cache: Cache) -> tuple[Any, ...]:
    """What must agree for the vectors to be the same."""
    facts = read_json(cache.folder / "manifest.json", "embedding-cache", version=VERSION)
    return facts.get("identity"), facts.get("reading")
