"""Looking at sequences: measured shifts, what moved, whether a file keeps what it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise, repeat
from typing import Any

import numpy as np

from oodml.embed import EmbeddingSet
from oodml.errors import DataError, SplitError
from oodml.shift import find_measure
from oodml.split.episodes import require_images
from oodml.split.sequence import Split, SplitSequence

Array = np.ndarray[Any, Any]
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class SplitRow:
    """What one line of `oodml splits show` says; None where it is not known.

    `excess` is the measured shift less the mean over random partitions of the same classes into
    sides of the same sizes, `percentile` the share of these that are no farther apart, in percent.
    `moved` counts the train classes that were not on the train side of the split before,
    `groups_moved` the groups most of whose classes changed side.
    """

    rank: int
    shift: float | None
    measured: float | None
    excess: float | None
    percentile: float | None
    n_train: int
    n_val: int
    n_test: int
    train_images: int | None
    test_images: int | None
    moved: int | None
    groups_moved: int | None


def require_classes(sequence: SplitSequence, embeddings: EmbeddingSet) -> None:
    """Raise `SplitError` unless the data has every class of the sequence."""
    missing = sorted(set(sequence.classes) - set(embeddings.classes))
    if missing:
        raise SplitError(
            f"{len(missing)} of {len(sequence.classes)} classes of the splits of "
            f"{sequence.dataset!r} are not in {embeddings.dataset!r}, such as {missing[0]!r}; use "
            "the data set that they were made for."
        )


def measure_shifts(sequence: SplitSequence, embeddings: EmbeddingSet) -> list[float]:
    """The shift of every split, train side against test, measured on these embeddings."""
    require_classes(sequence, embeddings)
    distance = find_measure(sequence.measure or "frechet").on(embeddings)
    index = {name: row for row, name in enumerate(embeddings.classes)}
    return [
        float(distance(_rows(index, split.train_side), _rows(index, split.test)))
        for split in sequence.splits
    ]


def random_shifts(
    sequence: SplitSequence, embeddings: EmbeddingSet, partitions: int, *, seed: int = 0
) -> Array:
    """`(splits, partitions)` shifts of seeded random partitions of each split's classes.

    The sides have the sizes of the split's: this is the distance that so few class means have
    without any shift.
    """
    distance = find_measure(sequence.measure or "frechet").on(embeddings)
    index = {name: row for row, name in enumerate(embeddings.classes)}
    shifts = np.empty((len(sequence.splits), partitions))
    for line, split in zip(shifts, sequence.splits, strict=True):
        rows = _rows(index, tuple(sorted(split.train_side + split.test)))
        size = len(split.train_side)
        for at in range(partitions):
            order = np.random.default_rng([seed, split.rank, at]).permutation(rows)
            line[at] = distance(order[:size], order[size:])
    return shifts


def _rows(index: dict[str, int], names: tuple[str, ...]) -> Array:
    return np.array([index[name] for name in names], dtype=np.int64)


def describe(
    sequence: SplitSequence, embeddings: EmbeddingSet | None = None, *, partitions: int = 0
) -> list[SplitRow]:
    """A row a split; with embeddings, what was measured on them beside what is recorded.

    `partitions` random partitions a split give `excess` and `percentile`.
    """
    if embeddings is None:
        lines = [_line(None, split, None, None) for split in sequence.splits]
    else:
        shifts = measure_shifts(sequence, embeddings)
        chance: Iterable[Array | None] = repeat(None)
        if partitions:
            chance = random_shifts(sequence, embeddings, partitions)
        numbers = zip(sequence.splits, shifts, chance, strict=False)
        lines = [_line(embeddings, split, shift, random) for split, shift, random in numbers]
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


def _line(
    embeddings: EmbeddingSet | None, split: Split, measured: float | None, random: Array | None
) -> dict[str, Any]:
    """What is to be said of one split by itself."""
    images = _images(embeddings, split) if embeddings is not None else (None, None)
    excess = percentile = None
    if measured is not None and random is not None:
        excess = measured - float(random.mean())
        percentile = 100 * float(np.mean(random <= measured))
    return {
        "rank": split.rank,
        "shift": split.shift,
        "measured": measured,
        "excess": excess,
        "percentile": percentile,
        "n_train": len(split.train),
        "n_val": len(split.val),
        "n_test": len(split.test),
        "train_images": images[0],
        "test_images": images[1],
    }


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


def shifts_comparable(sequence: SplitSequence, embeddings: EmbeddingSet) -> bool:
    """Whether the recorded shifts were measured on these vectors: bare ones are their own content.

    They are not where a file, as the published ones, does not say what they were measured on.
    """
    if sequence.encoder and embeddings.encoder:
        return sequence.encoder.identity() == embeddings.encoder.identity()
    bare = sequence.encoder is None and embeddings.encoder is None
    return bare and sequence.content_fingerprint == embeddings.content_fingerprint
