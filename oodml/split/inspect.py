"""Looking at sequences: measured shifts, what moved, whether a file keeps what it says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from oodml.embed import EmbeddingSet
from oodml.errors import SplitError
from oodml.shift import MEASURES
from oodml.split.sequence import SplitSequence

TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class SplitRow:
    """What one line of `oodml splits show` says; None where it is not known."""

    rank: int
    shift: float | None
    measured: float | None
    n_train: int
    n_val: int
    n_test: int
    train_images: int | None
    test_images: int | None
    moved: int | None
    excess: float | None = None
    percentile: float | None = None


def measure_shifts(sequence: SplitSequence, embeddings: EmbeddingSet) -> list[float]:
    """The shift of every split, train side against test, measured on these embeddings."""
    require_classes(sequence, embeddings)
    distance = MEASURES[sequence.measure or "frechet"].on(embeddings)
    index = {name: row for row, name in enumerate(embeddings.classes)}
    sides = (
        [_rows(index, names) for names in (split.train_side, split.test)]
        for split in sequence.splits
    )
    return [float(distance(train, test)) for train, test in sides]


def _rows(index: dict[str, int], names: tuple[str, ...]) -> Any:
    return np.array([index[name] for name in names], dtype=np.int64)


def require_classes(sequence: SplitSequence, embeddings: EmbeddingSet) -> None:
    """Raise `SplitError` unless the data has every class of the sequence."""
    missing = sorted(set(sequence.classes) - set(embeddings.classes))
    if missing:
        raise SplitError(
            f"{len(missing)} of {len(sequence.classes)} classes of the splits of "
            f"{sequence.dataset!r} are not in "
            f"{embeddings.dataset!r}, such as {missing[0]!r}; use the data set that they were "
            "made for."
        )


def describe(sequence: SplitSequence, embeddings: EmbeddingSet | None = None) -> list[SplitRow]:
    """A row a split; with embeddings, measured shifts and image counts beside the recorded ones."""
    measured = measure_shifts(sequence, embeddings) if embeddings is not None else None
    images = _image_counts(embeddings) if embeddings is not None else None
    rows = []
    before: set[str] | None = None
    for position, split in enumerate(sequence.splits):
        side = set(split.train_side)
        moved = None if before is None else len(before & set(split.test))
        rows.append(
            SplitRow(
                rank=split.rank,
                shift=split.shift,
                measured=measured[position] if measured else None,
                n_train=len(split.train),
                n_val=len(split.val),
                n_test=len(split.test),
                train_images=sum(images[n] for n in split.train_side) if images else None,
                test_images=sum(images[n] for n in split.test) if images else None,
                moved=moved,
            )
        )
        before = side
    return rows


def _image_counts(embeddings: EmbeddingSet) -> dict[str, int]:
    counts = np.bincount(embeddings.labels, minlength=len(embeddings.classes)).tolist()
    return dict(zip(embeddings.classes, counts, strict=True))


def problems(sequence: SplitSequence, embeddings: EmbeddingSet) -> Iterator[str]:
    """What of a sequence does not hold on these embeddings, a sentence each.

    Digest, disjoint sides, order of ranks and growing shifts were checked when the file was read.
    """
    if sequence.class_fingerprint not in (None, embeddings.class_fingerprint()):
        yield "The data has other classes than those that the splits were made of."
    if sequence.content_fingerprint not in (None, embeddings.content_fingerprint):
        yield "The data has other images (content fingerprint) than those the splits were made of."
    if not _same_vectors(sequence, embeddings):
        yield "The shifts were measured on vectors of another or unknown encoder; not compared."
        return
    for split, shift in zip(sequence.splits, measure_shifts(sequence, embeddings), strict=True):
        if split.shift is not None and abs(shift - split.shift) > TOLERANCE * max(
            shift, split.shift
        ):
            yield f"Split {split.rank}: recorded shift {split.shift:.6g}, measured {shift:.6g}."


def _same_vectors(sequence: SplitSequence, embeddings: EmbeddingSet) -> bool:
    """Whether both come from one encoder; bare vectors are their own content."""
    if sequence.encoder and embeddings.encoder:
        return sequence.encoder.identity() == embeddings.encoder.identity()
    bare = sequence.encoder is None and embeddings.encoder is None
    return bare and sequence.content_fingerprint == embeddings.content_fingerprint
