"""Whether a data set is in order: how much of what it holds, and every image really decoded."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from oodml.data.dataset import Dataset, Vectors
from oodml.data.facts import FACTS
from oodml.data.images import read_image
from oodml.data.sketch import sketch, thumbnail
from oodml.errors import DataError

Array = np.ndarray[Any, Any]
Progress = Callable[[int, int], None]
TINY = 8  # pixels: an image with a shorter side is remarked on
_BATCH = 256
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Counts:
    """Classes and images; the fewest, median and most images of a class.

    `halves` are classes and images of the published train and test half, `published` those of the
    whole set where its name is a known one.
    """

    classes: int
    images: int
    fewest: int
    median: float
    most: int
    groups: int | None = None
    roles: Mapping[str, int] | None = None
    halves: tuple[tuple[int, int], tuple[int, int]] | None = None
    published: tuple[int, int] | None = None


def count_data(data: Dataset) -> Counts:
    """The counts of a data set; no image is read."""
    sizes = np.bincount(data.labels, minlength=len(data.classes))
    size = dict(zip(data.classes, sizes.tolist(), strict=True))
    facts = FACTS.get(data.name)
    halves = data.default and [(len(half), sum(size[c] for c in half)) for half in data.default]
    return Counts(
        classes=len(data.classes),
        images=len(data),
        fewest=int(sizes.min()),
        median=float(np.median(sizes)),
        most=int(sizes.max()),
        groups=None if data.groups is None else len({*data.groups}),
        roles=None if data.roles is None else dict(sorted(Counter(data.roles).items())),
        halves=(halves[0], halves[1]) if halves else None,
        published=(facts.classes, facts.images) if facts else None,
    )


@dataclass(frozen=True, slots=True)
class Fault:
    """An image that cannot be read, and one sentence that says why."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Inspection:
    """What was found by reading every image.

    `tiny` and `constant` are ids: images with a side below `TINY` pixels, and of one colour all
    over. `smallest` and `largest` are width and height of the images of fewest and most pixels.
    `sketches` (r, 256) are of the images `readable` (r,), where they were asked for.
    """

    faults: tuple[Fault, ...]
    tiny: tuple[str, ...]
    constant: tuple[str, ...]
    smallest: tuple[int, int] | None
    largest: tuple[int, int] | None
    readable: Array
    sketches: Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    size: tuple[int, int] | None
    constant: bool
    sketch: Array | None = None


def inspect_images(
    data: Dataset, *, sketches: bool = False, progress: Progress | None = None
) -> Inspection:
    """Read every image, in threads; what cannot be read is listed, not raised.

    Of feature vectors, NaN and infinity are faults; they have no size and no sketch.
    """
    if isinstance(data.source, Vectors):
        looks: Iterable[_Look | Fault] = map(_look_at_vector, data.ids, data.source.vectors)
    else:
        looks = in_threads(lambda row: _look(data, row, sketches), range(len(data)), progress)
    found = list(looks)
    seen = [(row, look) for row, look in enumerate(found) if isinstance(look, _Look)]
    sizes = sorted((look.size for _, look in seen if look.size), key=lambda s: (s[0] * s[1], s))
    drawn = [look.sketch for _, look in seen if look.sketch is not None]
    return Inspection(
        faults=tuple(fault for fault in found if isinstance(fault, Fault)),
        tiny=tuple(data.ids[row] for row, look in seen if look.size and min(look.size) < TINY),
        constant=tuple(data.ids[row] for row, look in seen if look.constant),
        smallest=sizes[0] if sizes else None,
        largest=sizes[-1] if sizes else None,
        readable=np.array([row for row, _ in seen], dtype=np.int64),
        sketches=np.stack(drawn) if drawn else None,
    )


def _look(data: Dataset, row: int, with_sketch: bool) -> _Look | Fault:  # noqa: FBT001
    try:
        image = read_image(data, row)
    except DataError as error:
        return Fault(data.ids[row], str(error))
    ranges = np.reshape(image.getextrema(), (-1, 2))
    constant = bool((ranges[:, 0] == ranges[:, 1]).all())
    return _Look(image.size, constant, sketch(thumbnail(image)) if with_sketch else None)


def _look_at_vector(name: str, vector: Array) -> _Look | Fault:
    if not np.isfinite(vector).all():
        return Fault(name, f"Vector {name} holds NaN or infinity; replace or remove it.")
    return _Look(None, bool((vector == vector[:1]).all()))


def in_threads(
    work: Callable[[int], T], rows: Iterable[int], progress: Progress | None = None
) -> Iterator[T]:
    """`work(row)` of each row, in order, done in threads; `progress(done, total)` as they come."""
    todo = list(rows)
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as threads:
        for start in range(0, len(todo), _BATCH):  # so that a break waits for one batch only
            yield from threads.map(work, todo[start : start + _BATCH])
            if progress:
                progress(min(start + _BATCH, len(todo)), len(todo))
