"""Random partitions of the classes of splits: what chance alone gives, in distance and in recall.

The calibration of a split says how far apart random partitions of its classes are; its controls
are some such partitions to train and test on.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from oodml.embed import EmbeddingSet
from oodml.errors import SplitError
from oodml.shift import class_moments, find_measure
from oodml.shift.frechet import FRECHET, LARGEST, FrechetField
from oodml.split.calibration import Calibration, nine_digits
from oodml.split.meter import blas_threads
from oodml.split.problem import Progress
from oodml.split.sequence import (
    Control,
    Names,
    Split,
    SplitSequence,
    require_classes,
    shifts_comparable,
)

Array = np.ndarray[Any, Any]
Distances = Callable[[Array, Array], Array]
Blocks = Callable[[Array, Array], Iterator[Array]]
log = logging.getLogger(__name__)

CONTROLS = 5
# Entries of the blocks of a Gram matrix that are measured at a time on a thread: what fits a cache.
_BLOCK = 1 << 18
# Each of them may hold copies of all class means.
_MOST_THREADS = 4


def default_partitions(classes: int) -> int:
    """200; 20 above 5,000 classes, where each takes seconds."""
    return 200 if classes <= 5000 else 20


def calibrate(
    sequence: SplitSequence,
    embeddings: EmbeddingSet,
    *,
    partitions: int | None = None,
    controls: int = CONTROLS,
    progress: Progress | None = None,
) -> SplitSequence:
    """The sequence with a calibration of every split, and `controls` random partitions of each.

    `partitions` is the number of random partitions (None: 200, or 20 above 5,000 classes; 0: no
    calibration). Levels of the same classes and sizes share theirs. `progress(done, total)` counts
    the distances. Raises `SplitError` where the shifts were not measured on these embeddings.
    """
    if min(controls, partitions or 0) < 0:
        raise SplitError(
            f"{partitions} partitions and {controls} controls were asked for; expected 0 or more."
        )
    require_classes(sequence, embeddings)
    if not shifts_comparable(sequence, embeddings):
        raise SplitError(
            f"The shifts of the splits of {sequence.dataset!r} were not measured on these vectors; "
            "oodml splits show FILE measures them here, and compares those with random partitions."
        )
    gauge = Gauge(sequence, embeddings, partitions)
    total = len(sequence.splits) * controls + gauge.partitions * len(
        {key(split) for split in sequence.splits if split.shift is not None}
    )
    gauge.watch(progress, total)
    splits = []
    for split in sequence.splits:
        drawn = draw_controls(split, controls, seed=sequence.seed or 0)
        shifts = gauge.shifts([(split.without(test), test) for test in drawn])
        kept = (Control(test, nine_digits(s)) for test, s in zip(drawn, shifts, strict=True))
        found = gauge.calibration(split, split.shift)
        splits.append(replace(split, calibration=found, controls=tuple(kept)))
    gauge.report()
    return replace(sequence, splits=tuple(splits))


def calibrations(
    sequence: SplitSequence, embeddings: EmbeddingSet, shifts: Sequence[float], partitions: int
) -> list[Calibration | None]:
    """The calibration of every split at the shift that was measured on these embeddings."""
    gauge = Gauge(sequence, embeddings, partitions)
    return [gauge.calibration(*pair) for pair in zip(sequence.splits, shifts, strict=True)]


def draw_controls(split: Split, count: int, *, seed: int) -> list[Names]:
    """The test classes of `count` random partitions, drawn by `[seed, rank, 0, number]`.

    Numbers count from 1: a last zero would be the stream of a shorter list.
    """
    names = np.array(split.classes)
    orders = (
        np.random.default_rng([seed, split.rank, 0, index + 1]).permutation(len(names))
        for index in range(count)
    )
    size = len(split.train_side)
    return [tuple(sorted(names[order[size:]].tolist())) for order in orders]


def random_orders(classes: int, partitions: int, *, seed: int) -> Array:
    """`(r, c)` permutations of c classes in name order, drawn by `[seed, 0, number]`.

    The first ones are the same for any number of them.
    """
    orders = np.empty((partitions, classes), dtype=np.int64)
    for index, order in enumerate(orders):
        order[:] = np.random.default_rng([seed, 0, index + 1]).permutation(classes)
    return orders


def key(split: Split) -> tuple[Names, int]:
    """What splits have in common that share their random partitions."""
    return split.classes, len(split.train_side)


# Measuring ---------------------------------------------------------------------------------------


class Gauge:
    """Measures random partitions, each set of them once, and counts what that costs."""

    def __init__(
        self, sequence: SplitSequence, embeddings: EmbeddingSet, partitions: int | None
    ) -> None:
        self.partitions = (
            default_partitions(len(embeddings.classes)) if partitions is None else partitions
        )
        self._seed = sequence.seed or 0
        self._measure = sequence.measure or "frechet"
        self._embeddings = embeddings
        self._row = {name: row for row, name in enumerate(embeddings.classes)}
        self._blocks: Blocks | None = None
        self._known: dict[tuple[Names, int], Array] = {}
        self._progress: Progress | None = None
        self._total = self._done = 0
        self._start = time.perf_counter()

    def watch(self, progress: Progress | None, total: int) -> None:
        """From now on, tell of every block of distances that was measured."""
        self._progress, self._total = progress, total

    def report(self) -> None:
        """Log what was measured, where that is anything."""
        if self._done:
            seconds = time.perf_counter() - self._start
            log.info("Random partitions: %d distances measured in %.1f s", self._done, seconds)

    def calibration(self, split: Split, shift: float | None) -> Calibration | None:
        """None where no partitions were asked for, or the shift is not known."""
        if not self.partitions or shift is None:
            return None
        return Calibration.of(shift, self.random(split))

    def random(self, split: Split) -> Array:
        """The distances `(r,)` of random partitions of the split's classes into its sizes."""
        names, size = key(split)
        if (names, size) not in self._known:
            rows = self._rows(names)[random_orders(len(names), self.partitions, seed=self._seed)]
            self._known[names, size] = self._measured(rows[:, :size], rows[:, size:])
        return self._known[names, size]

    def shifts(self, sides: Sequence[tuple[Names, Names]]) -> list[float]:
        """The distances of sides of equal sizes, given by names."""
        if not sides:
            return []
        train, test = (
            np.array([self._rows(side) for side in part]) for part in zip(*sides, strict=True)
        )
        found: list[float] = self._measured(train, test).tolist()
        return found

    def _rows(self, names: Names) -> Array:
        return np.array([self._row[name] for name in names], dtype=np.int64)

    def _measured(self, train: Array, test: Array) -> Array:
        if self._blocks is None:
            self._blocks = distance_blocks(self._embeddings, self._measure)
        blocks = []
        for block in self._blocks(train, test):
            blocks.append(block)
            self._done += len(block)
            if self._progress:
                self._progress(self._done, self._total)
        return np.concatenate(blocks)


def distance_blocks(embeddings: EmbeddingSet, measure: str) -> Blocks:
    """What gives the distances of splits of equal sizes, class rows `(b, n)` against `(b, m)`.

    They come in order and in blocks `(k,)`: of many splits for `frechet`, else of one.
    """
    found = find_measure(measure)
    if found.name == FRECHET.name and len(embeddings.classes) <= LARGEST:
        field = FrechetField.of(class_moments(embeddings).means)
        return partial(_on_threads, field.distances)
    distance = found.on(embeddings)

    def one_by_one(train: Array, test: Array) -> Iterator[Array]:
        with blas_threads(len(embeddings.classes)):
            for x, y in zip(train, test, strict=True):
                yield np.array([distance(x, y)])

    return one_by_one


def _on_threads(distances: Distances, train: Array, test: Array) -> Iterator[Array]:
    """Blocks measured on a thread each.

    A second thread within a decomposition costs more than it gives where the matrix is small or the
    machine is busy; and so the last bits are the same on any number of cores.
    """
    step = max(1, _BLOCK // (train.shape[1] * test.shape[1]))
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
        yield from pool.map(
            lambda at: distances(train[at : at + step], test[at : at + step]),
            range(0, len(train), step),
        )
