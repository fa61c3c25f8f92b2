"""The same picture twice: identical files, and pictures that look the same."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from oodml.data.check import Inspection, Progress, in_threads
from oodml.data.dataset import Dataset, Files, Halves, Pixels
from oodml.data.images import read_image
from oodml.data.sketch import likeness, thumbnail
from oodml.errors import DataError

Array = np.ndarray[Any, Any]
ALIKE = 0.9
MOST = 1_000_000  # pairs
_TILE = 2048
_SLACK = 1e-4  # float32: what is a little below the threshold is looked at once more


@dataclass(frozen=True, slots=True)
class Match:
    """Images that are one picture: `ids`, the `classes` of each, and how much they are `alike`.

    `alike` is None where all are the same file; two pictures that only look the same are given with
    all copies of either.
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    alike: float | None = None

    @property
    def across(self) -> bool:
        """Whether one picture has several classes."""
        return len({*self.classes}) > 1

    def on_both(self, train: Collection[str], test: Collection[str]) -> bool:
        """Whether classes of either side have the picture: then it leaks."""
        return any(c in train for c in self.classes) and any(c in test for c in self.classes)


def find_duplicates(
    data: Dataset,
    seen: Inspection,
    *,
    alike: float = ALIKE,
    progress: Progress | None = None,
) -> tuple[Match, ...]:
    """All matches: identical files first, by id; then what looks the same, the most alike first.

    Two images look the same where their `oodml.data.sketch.likeness` is `alike` or more. Every pair
    is compared, none is missed. Larger, smaller, re-coded, brighter or darker copies are found, and
    such with an edge that differs by a few per cent; parts of a picture and mirrored ones are not,
    nor are pictures of hardly any contrast. `seen` are the images and, for what looks the same,
    their sketches.
    """
    if not 0 < alike <= 1:
        raise ValueError(f"alike is {alike}; expected a correlation, above 0 and at most 1.")
    groups: dict[str, list[int]] = defaultdict(list)
    for row, content in zip(seen.readable.tolist(), _contents(data, seen.readable), strict=True):
        groups[content].append(row)
    copies = {rows[0]: rows for rows in groups.values()}
    same = [_match(data, rows, None) for rows in copies.values() if len(rows) > 1]
    if seen.sketches is None:
        return tuple(same)
    firsts = np.isin(seen.readable, [*copies])
    pairs = _similar(seen.sketches[firsts], alike, progress)
    rows = seen.readable[firsts]
    near = [
        _match(data, [*copies[one], *copies[other]], value)
        for one, other, value in _compared(data, rows[pairs])
        if value >= alike
    ]
    return (*same, *sorted(near, key=lambda match: (-(match.alike or 0), match.ids)))


def _match(data: Dataset, rows: list[int], alike: float | None) -> Match:
    classes = tuple(data.classes[data.labels[row]] for row in rows)
    return Match(tuple(data.ids[row] for row in rows), classes, alike)


def _contents(data: Dataset, rows: Array) -> list[str]:
    """A hash of each image's bytes."""
    if isinstance(data.source, Files):
        return data.source.content_hashes(tuple(data.ids[row] for row in rows))
    held = data.source.images if isinstance(data.source, Pixels) else data.source.vectors
    return [hashlib.sha256(np.ascontiguousarray(held[row]).data).hexdigest() for row in rows]


def _similar(sketches: Array, alike: float, progress: Progress | None) -> Array:
    """The pairs (p, 2) of rows whose sketches correlate by `alike`, or a hair less."""
    found, count, n = [np.empty((0, 2), np.int64)], 0, len(sketches)
    for top in range(0, n, _TILE):
        for left in range(top, n, _TILE):
            tile = sketches[top : top + _TILE] @ sketches[left : left + _TILE].T
            pairs = np.argwhere(tile >= alike - _SLACK) + np.array([top, left])
            found.append(pairs[pairs[:, 0] < pairs[:, 1]])
            count += len(found[-1])
        if count > MOST:
            raise DataError(
                f"More than {MOST:,} pairs of images look the same at a correlation of {alike}; "
                "expected an exception, not the rule: raise --alike, or leave out --duplicates."
            )
        if progress:
            progress(min(top + _TILE, n), n)
    return np.concatenate(found)


def _compared(data: Dataset, pairs: Array) -> Iterator[tuple[int, int, float]]:
    """Each pair of rows with its likeness; the images are read once more."""
    for start in range(0, len(pairs), _TILE):
        block = pairs[start : start + _TILE]
        rows = np.unique(block).tolist()
        pictures = in_threads(lambda row: thumbnail(read_image(data, row)), rows)
        held = dict(zip(rows, pictures, strict=True))
        for one, other in block.tolist():
            yield one, other, likeness(held[one], held[other])


@dataclass(frozen=True, slots=True)
class Leak:
    """The pictures on both sides of split `rank`, or of the published halves where that is None."""

    rank: int | None
    matches: tuple[Match, ...]


def find_leaks(matches: tuple[Match, ...], sides: Mapping[int | None, Halves]) -> tuple[Leak, ...]:
    """The leaks of each pair of train and test classes, also where there is none."""
    return tuple(
        Leak(rank, tuple(match for match in matches if match.on_both(*map(frozenset, halves))))
        for rank, halves in sides.items()
    )
