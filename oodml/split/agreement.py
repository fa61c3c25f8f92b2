"""Does difficulty depend on who measures it: one sequence under other encoders and measures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from oodml.embed import EmbeddingSet
from oodml.errors import SplitError
from oodml.shift import Concordance, Correlation, find_measure, kendall, pearson, spearman
from oodml.shift import concordance as concordance_of
from oodml.shift.measure import FEWEST_CLASSES
from oodml.split.calibration import nine_digits
from oodml.split.chance import Gauge
from oodml.split.inspect import TOLERANCE, measure_shifts
from oodml.split.problem import Progress
from oodml.split.sequence import SplitSequence, require_classes

Array = np.ndarray[Any, Any]
RECORDED = "recorded"
UNKNOWN = Correlation(None, None, None)
FEWEST_SPLITS = 2  # of which it can be said that they have an order


@dataclass(frozen=True, slots=True)
class Reading:
    """The shifts of a sequence's splits (K,), as one encoder and one measure see them.

    `name` tells it from the other readings of the sequence in as few words as that takes.
    `recorded` shifts are those of the split file; their encoder and measure are None where the file
    does not say. `order` is Spearman's correlation with the ranks of the splits, None where it is
    undefined. Measured shifts have 9 digits, as recorded ones, so that no rounding decides an
    order.
    """

    name: str
    encoder: str | None
    measure: str | None
    recorded: bool
    shifts: tuple[float, ...]
    order: float | None

    @property
    def normalised(self) -> tuple[float, ...] | None:
        """The shifts from 0, the smallest, to 1, the largest; None where they are all the same."""
        low, high = min(self.shifts), max(self.shifts)
        return None if low == high else tuple((x - low) / (high - low) for x in self.shifts)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two readings, by name, and how far they agree on the splits.

    Pearson's correlation is that of the normalised shifts, which scaling leaves as it is. `random`
    is Spearman's over random partitions of the classes of the first split into sides of its sizes:
    the splits of a sequence differ by much, most of them by more and more of the same classes, and
    so are ordered alike even by encoders that agree little on the difficulty of a random split.
    """

    one: str
    other: str
    spearman: Correlation
    kendall: Correlation
    pearson: float | None
    random: Correlation


@dataclass(frozen=True, slots=True)
class Agreement:
    """All readings of one sequence, every pair of them, and how far all agree.

    `concordance` is None for one reading or one split.
    """

    dataset: str
    sequence: str
    readings: tuple[Reading, ...]
    pairs: tuple[Pair, ...]
    concordance: Concordance | None

    @property
    def splits(self) -> int:
        return len(self.readings[0].shifts)


@dataclass(frozen=True, slots=True)
class Span:
    """From the smallest to the largest shift of one sequence, as one encoder and measure see it.

    `share` is that length as a share of the range that all compared sequences span together, which
    has no unit and so can be compared between measures; None where that range is empty.
    """

    name: str
    dataset: str
    sequence: str
    low: float
    high: float
    share: float | None


def compare_readings(
    sequences: Sequence[SplitSequence],
    embeddings: Sequence[EmbeddingSet],
    measures: Sequence[str] = (),
    *,
    partitions: int = 0,
    progress: Progress | None = None,
) -> list[Agreement]:
    """The agreement of each sequence: its recorded shifts, and all measures on all embeddings.

    Without `measures`, those that the sequences were made with. `partitions` random partitions, at
    least 2, say how far the readings agree where nothing was graded. The recorded shifts are left
    out where a split has none, and where a reading repeats them to a part in 10,000. Raises
    `SplitError` where classes are missing or something is given twice.
    """
    chosen = _measures(sequences, measures)
    _check(sequences, embeddings)
    encoders = encoder_names(embeddings)
    ways = [(name, v, m) for name, v in zip(encoders, embeddings, strict=True) for m in chosen]
    total, done = len(sequences) * len(ways), 0
    found: list[list[tuple[Reading, Array | None]]] = []
    for sequence in sequences:
        line = []
        for encoder, vectors, measure in ways:
            seen = replace(sequence, measure=measure)
            reading = _reading(encoder, measure, measure_shifts(seen, vectors), recorded=False)
            line.append((reading, _random(seen, vectors, partitions)))
            done += 1
            if progress:
                progress(done, total)
        found.append([*_recorded(sequence, [reading for reading, _ in line]), *line])
    named = _named([[reading for reading, _ in line] for line in found])
    return [
        agreement_of(sequence, readings, [random for _, random in line])
        for sequence, readings, line in zip(sequences, named, found, strict=True)
    ]


def _random(sequence: SplitSequence, vectors: EmbeddingSet, partitions: int) -> Array | None:
    """Shifts of random partitions like the first split, from which no class is removed, if any."""
    if partitions < FEWEST_SPLITS:
        return None
    shifts = Gauge(sequence, vectors, partitions).random(sequence.splits[0])
    return np.asarray(shifts)


def agreement_of(
    sequence: SplitSequence, readings: Sequence[Reading], random: Sequence[Array | None]
) -> Agreement:
    """Every pair of readings against each other, and all together.

    `random` holds each reading's shifts of the same random partitions, or None.
    """
    several = len(sequence.splits) >= FEWEST_SPLITS
    pairs = tuple(
        Pair(
            one.name,
            other.name,
            spearman(one.shifts, other.shifts),
            kendall(one.shifts, other.shifts),
            pearson(one.shifts, other.shifts),
            UNKNOWN if left is None or right is None else spearman(left, right),
        )
        for (one, left), (other, right) in combinations(zip(readings, random, strict=True), 2)
        if several
    )
    together = concordance_of(np.array([reading.shifts for reading in readings]))
    return Agreement(sequence.dataset, sequence.digest, tuple(readings), pairs, together)


def spans(agreements: Sequence[Agreement]) -> list[Span]:
    """How far each sequence reaches under every encoder and measure that has read them all."""
    found = []
    lines = [{r.name: r.shifts for r in a.readings if not r.recorded} for a in agreements]
    for name in lines[0]:
        every = [shift for line in lines for shift in line[name]]
        whole = max(every) - min(every)
        for agreement, line in zip(agreements, lines, strict=True):
            low, high = min(line[name]), max(line[name])
            share = (high - low) / whole if whole else None
            found.append(Span(name, agreement.dataset, agreement.sequence, low, high, share))
    return found


def _measures(sequences: Sequence[SplitSequence], given: Sequence[str]) -> list[str]:
    """The names of the measures as they spell themselves; those of the sequences by default."""
    if not given:
        return list(dict.fromkeys(find_measure(s.measure or "frechet").name for s in sequences))
    names = [find_measure(name).name for name in given]
    if twice := _twice(names):
        raise SplitError(f"The measure {twice!r} was given twice; give it once.")
    return names


def _check(sequences: Sequence[SplitSequence], embeddings: Sequence[EmbeddingSet]) -> None:
    if not sequences or not embeddings:
        raise ValueError("Expected at least one sequence and one set of embeddings.")
    if _twice([sequence.digest for sequence in sequences]):
        raise SplitError("Both files hold the same splits; give a sequence once.")
    for vectors in embeddings:
        for sequence in sequences:
            require_classes(sequence, vectors)
    for split in (split for sequence in sequences for split in sequence.splits):
        if min(len(split.train_side), len(split.test)) < FEWEST_CLASSES:
            raise SplitError(
                f"Split {split.rank} has {len(split.train_side)} train and {len(split.test)} test "
                f"classes; a distance needs at least {FEWEST_CLASSES} on either side."
            )
    if twice := _twice([_identity(vectors) for vectors in embeddings]):
        source = next(v.source for v in embeddings if _identity(v) == twice)
        raise SplitError(f"The vectors of {source!r} were given twice; give them once.")


def _identity(vectors: EmbeddingSet) -> str:
    """What vectors of the same images by the same encoder share; bare ones are their own."""
    if vectors.encoder is None:
        return vectors.digest()
    return f"{vectors.encoder.identity()} {vectors.content_fingerprint}"


def _twice(values: Iterable[str]) -> str | None:
    return next((value for value, times in Counter(values).items() if times > 1), None)


def encoder_names(embeddings: Sequence[EmbeddingSet]) -> list[str]:
    """What made each set of vectors; with digits of their digest where that is not enough."""
    names = [vectors.source for vectors in embeddings]
    return [
        name if names.count(name) == 1 else f"{name} ({vectors.digest()[:6]})"
        for name, vectors in zip(names, embeddings, strict=True)
    ]


def _recorded(
    sequence: SplitSequence, measured: Sequence[Reading]
) -> Iterator[tuple[Reading, None]]:
    """The recorded shifts as a reading of their own, unless one is missing or they repeat one."""
    shifts = [split.shift for split in sequence.splits if split.shift is not None]
    if len(shifts) < len(sequence.splits):
        return
    encoder = sequence.encoder.name if sequence.encoder else None
    reading = _reading(encoder, sequence.measure, shifts, recorded=True)
    if not any(
        other.measure == reading.measure
        and np.allclose(other.shifts, reading.shifts, rtol=TOLERANCE, atol=0)
        for other in measured
    ):
        yield reading, None


def _reading(
    encoder: str | None, measure: str | None, shifts: Sequence[float], *, recorded: bool
) -> Reading:
    values = tuple(map(nine_digits, shifts))
    ranks = range(1, len(values) + 1)
    order = spearman(ranks, values).value if len(values) >= FEWEST_SPLITS else None
    return Reading("", encoder, measure, recorded, values, order)


def _named(found: Sequence[Sequence[Reading]]) -> list[list[Reading]]:
    """The same readings with names: encoder and measure, less the part that all have in common."""
    measured = [reading for line in found for reading in line if not reading.recorded]
    short = short_encoders([reading.encoder or "" for reading in measured])
    several = len({reading.measure for reading in measured}) > 1

    def name(reading: Reading) -> str:
        if reading.recorded:
            return RECORDED
        parts = [short[reading.encoder or ""]] if len(short) > 1 or not several else []
        return ", ".join(parts + [reading.measure or ""] * several)

    return [[replace(reading, name=name(reading)) for reading in line] for line in found]


def short_encoders(names: Iterable[str]) -> dict[str, str]:
    """Names without parameters, files without folder and suffix, if that still tells them apart.

    >>> list(short_encoders(["file:w/resnet50.safetensors?size=224", "oodml:hog"]).values())
    ['resnet50', 'oodml:hog']
    """
    plain = {name: name.partition("?")[0] for name in names}
    short = {
        name: PurePosixPath(text.removeprefix("file:")).stem if text.startswith("file:") else text
        for name, text in plain.items()
    }
    return short if len(set(short.values())) == len(short) else {name: name for name in plain}
