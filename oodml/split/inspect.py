"""Looking at sequences: measured shifts, what moved, whether a file keeps what it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from oodml.embed import EmbeddingSet
from oodml.errors import DataError
from oodml.shift import find_measure
from oodml.split.calibration import Calibration
from oodml.split.chance import calibrations
from oodml.split.episodes import require_images
from oodml.split.sequence import Split, SplitSequence, require_classes, shifts_comparable

Array = np.ndarray[Any, Any]
TOLERANCE = 1e-4
# Random partitions a split where the file does not say: enough for an excess, not for a small p.
UNRECORDED = 20
_CHANCE = (
    *("excess", "ratio", "p", "z", "percentile"),
    *("random_mean", "random_std", "at_least", "partitions"),
)


@dataclass(frozen=True, slots=True)
class SplitRow:
    """What one line of `oodml splits show` says; None where it is not known.

    Over `partitions` random partitions of the same classes into sides of the same sizes,
    `random_mean` and `random_std` are mean and standard deviation of their shift, `at_least` how
    many are as far as the split; `excess` is the shift (the measured one, if there is one) less
    their mean, `ratio` the shift by it, `p` = (1 + at_least) / (1 + partitions), `z` the excess in
    standard deviations, and `percentile` the share of them that are less far, in percent.
    `moved` counts the train classes that were not on the train side of the split before,
    `groups_moved` the groups most of whose classes changed side.
    """

    rank: int
    shift: float | None
    measured: float | None
    excess: float | None
    ratio: float | None
    p: float | None
    z: float | None
    percentile: float | None
    random_mean: float | None
    random_std: float | None
    at_least: int | None
    partitions: int | None
    n_train: int
    n_val: int
    n_test: int
    n_controls: int
    train_images: int | None
    test_images: int | None
    moved: int | None
    groups_moved: int | None


def measure_shifts(sequence: SplitSequence, embeddings: EmbeddingSet) -> list[float]:
    """The shift of every split, train side against test, measured on these embeddings."""
    require_classes(sequence, embeddings)
    distance = find_measure(sequence.measure or "frechet").on(embeddings)
    index = {name: row for row, name in enumerate(embeddings.classes)}
    return [
        float(distance(_rows(index, split.train_side), _rows(index, split.test)))
        for split in sequence.splits
    ]


def _rows(index: dict[str, int], names: tuple[str, ...]) -> Array:
    return np.array([index[name] for name in names], dtype=np.int64)


def describe(
    sequence: SplitSequence, embeddings: EmbeddingSet | None = None, *, partitions: int | None = 0
) -> list[SplitRow]:
    """A row a split; with embeddings, what was measured on them beside what is recorded.

    What random partitions say is of the recorded shift. With embeddings it is of the measured one,
    over `partitions` of them (None: as many as are recorded, else 20; 0: nothing is said).
    """
    if embeddings is None:
        lines = [_line(split, None, split.calibration, None) for split in sequence.splits]
    else:
        shifts = measure_shifts(sequence, embeddings)
        count = recorded_partitions(sequence) if partitions is None else partitions
        found = calibrations(sequence, embeddings, shifts, count)
        lines = [
            _line(*line, embeddings) for line in zip(sequence.splits, shifts, found, strict=True)
        ]
    changes = [(None, None)] + [
        (
            len(set(after.train_side) - set(before.train_side)),
            _groups_moved(embeddings, before, after),
        )
        for before, after in pairwise(sequence.splits)
    ]
    return [
        SplitRow(**line, moved=moved, groups_moved=groups)
        for line, (moved, groups) in zip(lines, changes, strict=True)
    ]


def recorded_partitions(sequence: SplitSequence) -> int:
    """How many random partitions the sequence was calibrated with; 20 where it was not."""
    recorded = [split.calibration.partitions for split in sequence.splits if split.calibration]
    return max(recorded, default=UNRECORDED)


def _line(
    split: Split,
    measured: float | None,
    found: Calibration | None,
    embeddings: EmbeddingSet | None,
) -> dict[str, Any]:
    """What is to be said of one split by itself."""
    images = _images(embeddings, split) if embeddings is not None else (None, None)
    return {
        "rank": split.rank,
        "shift": split.shift,
        "measured": measured,
        **_chance(split.shift if measured is None else measured, found),
        "n_train": len(split.train),
        "n_val": len(split.val),
        "n_test": len(split.test),
        "n_controls": len(split.controls),
        "train_images": images[0],
        "test_images": images[1],
    }


def _chance(shift: float | None, found: Calibration | None) -> dict[str, Any]:
    """What random partitions say of a shift; None throughout where they say nothing."""
    if shift is None or found is None:
        return dict.fromkeys(_CHANCE)
    values = (found.excess(shift), found.ratio(shift), found.p, found.z(shift), found.percentile)
    counts = (found.mean, found.std, found.at_least, found.partitions)
    return dict(zip(_CHANCE, values + counts, strict=True))


def _images(embeddings: EmbeddingSet, split: Split) -> tuple[int, int]:
    counts = np.bincount(embeddings.labels, minlength=len(embeddings.classes)).tolist()
    number = dict(zip(embeddings.classes, counts, strict=True))
    train, test = (sum(number[name] for name in side) for side in (split.train_side, split.test))
    return train, test


def _groups_moved(embeddings: EmbeddingSet | None, before: Split, after: Split) -> int | None:
    if embeddings is None or embeddings.groups is None:
        return None
    group = dict(zip(embeddings.classes, embeddings.groups, strict=True))
    old, new = (_balance_of_groups(group, split) for split in (before, after))
    return sum(old[name] * new[name] < 0 for name in old.keys() & new.keys())


def _balance_of_groups(group: dict[str, str], split: Split) -> Counter[str]:
    """Train classes less test classes of every group."""
    balance: Counter[str] = Counter()
    for names, weight in ((split.train_side, 1), (split.test, -1)):
        for name in names:
            balance[group[name]] += weight
    return balance


def problems(sequence: SplitSequence, embeddings: EmbeddingSet) -> Iterator[str]:
    """What of a sequence does not hold on these embeddings, a sentence each.

    Digest, disjoint sides, order of ranks and growing shifts were checked when the file was read.
    """
    if sequence.class_fingerprint not in (None, embeddings.class_fingerprint()):
        yield "The data has other classes than those that the splits were made of."
    if sequence.content_fingerprint not in (None, embeddings.content_fingerprint):
        yield "The data has other images (content fingerprint) than those the splits were made of."
    try:
        require_images(sequence.published_episodes, embeddings.ids)
    except DataError as error:
        yield str(error)
    if not shifts_comparable(sequence, embeddings):
        if sequence.encoder is not None:
            yield "The shifts were measured on vectors of another encoder; give those."
        return
    for split, shift in zip(sequence.splits, measure_shifts(sequence, embeddings), strict=True):
        if split.shift is not None and abs(shift - split.shift) > TOLERANCE * max(
            shift, split.shift
        ):
            yield f"Split {split.rank}: recorded shift {split.shift:.6g}, measured {shift:.6g}."
