"""`Split` and `SplitSequence`: sides at growing distance, and the file that carries them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from oodml.data import Dataset
from oodml.embed import EmbeddingSet, EncoderSpec
from oodml.errors import FormatError, SplitError
from oodml.split.calibration import Calibration
from oodml.split.episodes import EpisodeRecipe, PublishedEpisode
from oodml.split.parts import Part
from oodml.store import digest, read_json, write_json

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Control:
    """A random partition of a split's classes: `test`, and the others to train on; its shift."""

    test: Names
    shift: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "test", tuple(sorted(self.test)))


@dataclass(frozen=True, slots=True)
class Split:
    """One split: `rank` 1 is the easiest; `shift` is the distance of train side and test side.

    The train side is `train` and `val` together; `val` are its validation classes. `calibration` is
    what random partitions of the same classes into sides of the same sizes say of the shift, and
    `controls` are some of these to be run like the split itself.
    """

    rank: int
    shift: float | None
    train: Names
    val: Names
    test: Names
    controls: tuple[Control, ...] = ()
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        for side in ("train", "val", "test"):
            object.__setattr__(self, side, tuple(sorted(getattr(self, side))))
        if not self.train or not self.test:
            raise SplitError(
                f"Split {self.rank} has an empty side; expected train and test classes."
            )
        times = Counter(self.train + self.val + self.test)
        if twice := [name for name, count in times.items() if count > 1]:
            raise SplitError(
                f"Split {self.rank}: {len(twice)} classes are in two places, such as {twice[0]!r}; "
                "train, val and test classes must be disjoint."
            )
        for index, control in enumerate(self.controls):
            sizes = {len(control.test), len(times.keys() & {*control.test})}
            if sizes != {len(self.test)}:
                raise SplitError(
                    f"Control {index} of split {self.rank} is no partition of the split's classes "
                    f"with {len(self.test)} test classes."
                )

    @property
    def classes(self) -> Names:
        """The classes of either side, in name order."""
        return tuple(sorted(self.train + self.val + self.test))

    def without(self, names: Names) -> Names:
        """The other classes of the split, in name order."""
        left = {*names}
        return tuple(name for name in self.classes if name not in left)

    @property
    def excess(self) -> float | None:
        """The shift above that of random partitions of the same classes, where both are known."""
        if self.calibration is None or self.shift is None:
            return None
        return self.calibration.excess(self.shift)

    @property
    def ratio(self) -> float | None:
        """The shift by the mean shift of random partitions of the same classes."""
        if self.calibration is None or self.shift is None:
            return None
        return self.calibration.ratio(self.shift)

    @property
    def train_side(self) -> Names:
        """Train and validation classes: what shift and counts are about."""
        return tuple(sorted(self.train + self.val))

    def to_json(self) -> dict[str, Any]:
        record: dict[str, Any] = {"rank": self.rank, "shift": self.shift}
        record |= {side: list(getattr(self, side)) for side in ("train", "val", "test")}
        if self.calibration:
            record["calibration"] = self.calibration.to_json(self.shift)
        if self.controls:
            record["controls"] = [{"shift": c.shift, "test": list(c.test)} for c in self.controls]
        return record

    def lists(self) -> dict[str, Any]:
        """What the digest covers: rank and class lists, those of controls on both sides."""
        record: dict[str, Any] = {"rank": self.rank}
        record |= {side: list(getattr(self, side)) for side in ("train", "val", "test")}
        if self.controls:
            record["controls"] = [
                {"train": list(self.without(c.test)), "test": list(c.test)} for c in self.controls
            ]
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Split:
        """The split of a JSON object; the train classes of a control need not be listed."""
        controls = tuple(
            Control(tuple(c["test"]), c.get("shift")) for c in record.get("controls", ())
        )
        calibration = Calibration.from_json(record.get("calibration"))
        train, val, test = (tuple(record[side]) for side in ("train", "val", "test"))
        return cls(int(record["rank"]), record["shift"], train, val, test, controls, calibration)


@dataclass(frozen=True, slots=True)
class SplitSequence:
    """Splits of one data set in order of growing shift, with where they come from.

    Provenance (fingerprints, encoder, measure, search, seed, options) may be None in an imported
    file. `renamed` maps class names as they were published to the names used here. The k-shot
    episodes are a recipe, or lists of images as they were published, or absent.
    """

    dataset: str
    splits: tuple[Split, ...]
    class_fingerprint: str | None = None
    content_fingerprint: str | None = None
    encoder: EncoderSpec | None = None
    measure: str | None = None
    search: str | None = None
    seed: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    episodes: EpisodeRecipe | None = None
    published_episodes: tuple[PublishedEpisode, ...] = ()

    def __post_init__(self) -> None:
        if not self.splits:
            raise SplitError(
                f"The sequence of {self.dataset!r} has no split; expected at least one."
            )
        ranks = [split.rank for split in self.splits]
        if ranks != list(range(1, len(ranks) + 1)):
            raise SplitError(f"Ranks are {ranks}; expected 1 to {len(ranks)} in order.")
        shifts = [split.shift for split in self.splits if split.shift is not None]
        if any(high <= low for low, high in pairwise(shifts)):
            raise SplitError(f"Shifts are {shifts}; expected each larger than the one before.")

    @property
    def digest(self) -> str:
        """Covers version, data set, class lists, order of ranks and episodes: never a float."""
        lists = [split.lists() for split in self.splits]
        facts = {"version": 1, "dataset": self.dataset, "splits": lists}
        return digest({**facts, **self._episodes()})

    def _episodes(self) -> dict[str, Any]:
        """The episodes as JSON; no key where there are none, so that no digest knows of them."""
        record: dict[str, Any] = {}
        if self.episodes:
            record["episodes"] = self.episodes.to_json()
        if self.published_episodes:
            record["published_episodes"] = [e.to_json() for e in self.published_episodes]
        return record

    @property
    def classes(self) -> Names:
        """All classes of all splits, in name order."""
        return tuple(sorted({name for s in self.splits for name in s.train + s.val + s.test}))

    def at(self, rank: int) -> Split:
        if not 1 <= rank <= len(self.splits):
            raise SplitError(
                f"There is no split {rank}; this sequence has 1 to {len(self.splits)}."
            )
        return self.splits[rank - 1]

    def control(self, rank: int, index: int) -> Split:
        """Control `index`, from 0, of split `rank`, as a split of its own shift.

        Its validation classes are drawn as those of any split; it has none where the split has
        none.
        """
        split = self.at(rank)
        if not 0 <= index < len(split.controls):
            raise SplitError(
                f"There is no control {index} of split {rank}; it has {len(split.controls)}, "
                "counted from 0. oodml splits build --controls R draws them."
            )
        control = split.controls[index]
        return self._divided(split, control.shift, split.without(control.test), control.test)

    def part(self, part: Part) -> Split:
        """A split itself, or one of its controls; swapped, what it trains on is what it tested on.

        Swapped, its validation classes are drawn as those of a control.
        """
        split = self.at(part.rank)
        found = split if part.control is None else self.control(part.rank, part.control)
        if not part.swapped:
            return found
        return self._divided(split, found.shift, found.test, found.train_side)

    def _divided(self, split: Split, shift: float | None, side: Names, test: Names) -> Split:
        """Other sides of the classes of `split`; no validation classes where that one has none."""
        drawn = validation_classes(side, seed=self.seed or 0, rank=split.rank)
        val = drawn if split.val else ()
        return Split(split.rank, shift, tuple({*side} - {*val}), val, test)

    def parts(self, *, controls: bool = False, both_ways: bool = False) -> tuple[Part, ...]:
        """Every split; with `controls` followed by its own, with `both_ways` each also swapped.

        Raises `SplitError` where controls are asked for and there are none at all.
        """
        if controls and not any(split.controls for split in self.splits):
            raise SplitError(
                f"The splits of {self.dataset!r} hold no controls; build them again with oodml "
                "splits build --controls 5."
            )
        return tuple(
            Part(split.rank, control, swapped)
            for split in self.splits
            for control in (None, *range(len(split.controls) if controls else 0))
            for swapped in ((False, True) if both_ways else (False,))
        )

    def to_json(self) -> dict[str, Any]:
        names = ("dataset", "class_fingerprint", "content_fingerprint", "measure", "search", "seed")
        record = {name: getattr(self, name) for name in names}
        record["encoder"] = self.encoder and self.encoder.to_json()
        record["options"] = dict(self.options)
        record["renamed"] = dict(self.renamed)
        record["splits"] = [split.to_json() for split in self.splits]
        return {**record, **self._episodes(), "digest": self.digest}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> SplitSequence:
        """The sequence of a JSON object; `FormatError` where it is malformed or was changed."""
        fields = {key: value for key, value in record.items() if key != "digest"}
        try:
            splits = tuple(Split.from_json(split) for split in fields.pop("splits"))
            encoder = EncoderSpec.from_json(fields.pop("encoder"))
            recipe = EpisodeRecipe.from_json(fields.pop("episodes", None))
            published = map(PublishedEpisode.from_json, fields.pop("published_episodes", ()))
            sequence = cls(
                splits=splits,
                encoder=encoder,
                episodes=recipe,
                published_episodes=tuple(published),
                **fields,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FormatError(f"This is no split sequence: {error!r}.") from None
        if record.get("digest") != sequence.digest:
            raise FormatError(
                "The class lists were changed after they were written: digest "
                f"{sequence.digest[:12]}, "
                f"recorded {str(record.get('digest'))[:12]}; restore the file or build it again."
            )
        return sequence


def validation_classes(train: Names, *, seed: int, rank: int) -> Names:
    """A quarter of the train side, rounded up, as in the published splits; drawn by seed and rank.

    Never so many that fewer than two train classes are left.
    """
    count = max(0, min(len(train) - (3 * len(train)) // 4, len(train) - 2))
    rng = np.random.default_rng([seed, rank])
    chosen = rng.permutation(len(train))[:count]
    return tuple(sorted(train[row] for row in chosen))


def require_classes(sequence: SplitSequence, data: Dataset | EmbeddingSet) -> None:
    """Raise `SplitError` unless the data has every class of the sequence."""
    missing = sorted(set(sequence.classes) - set(data.classes))
    if missing:
        name = data.name if isinstance(data, Dataset) else data.dataset
        raise SplitError(
            f"{len(missing)} of {len(sequence.classes)} classes of the splits of "
            f"{sequence.dataset!r} are not in {name!r}, such as {missing[0]!r}; use "
            "the data set that they were made for."
        )


def shifts_comparable(sequence: SplitSequence, embeddings: EmbeddingSet) -> bool:
    """Whether the recorded shifts were measured on these vectors: bare ones are their own content.

    They are not where a file, as the published ones, does not say what they were measured on.
    """
    if sequence.encoder and embeddings.encoder:
        return sequence.encoder.identity() == embeddings.encoder.identity()
    bare = sequence.encoder is None and embeddings.encoder is None
    return bare and sequence.content_fingerprint == embeddings.content_fingerprint


def write_sequence(path: Path, sequence: SplitSequence) -> None:
    """Write a split file (`oodml.splits`, version 1)."""
    write_json(path, "splits", sequence.to_json())


def read_sequence(path: Path) -> SplitSequence:
    """The sequence of a split file; raises `FormatError` or `SplitError` naming the file."""
    try:
        return SplitSequence.from_json(read_json(path, "splits"))
    except (FormatError, SplitError) as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from None
