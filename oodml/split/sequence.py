"""`Split` and `SplitSequence`: sides at growing distance, and the file that carries them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from oodml.embed import EncoderSpec
from oodml.errors import FormatError, SplitError
from oodml.split.episodes import EpisodeRecipe, PublishedEpisode
from oodml.store import digest, read_json, write_json

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """One split: `rank` 1 is the easiest; `shift` is the distance of train side and test side.

    The train side is `train` and `val` together; `val` are its validation classes. `controls` are
    partitions of the same classes into sides of the same sizes, drawn at random: (train, test)
    pairs.
    """

    rank: int
    shift: float | None
    train: Names
    val: Names
    test: Names
    controls: tuple[tuple[Names, Names], ...] = ()

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

    @property
    def train_side(self) -> Names:
        """Train and validation classes: what shift and counts are about."""
        return tuple(sorted(self.train + self.val))

    def to_json(self) -> dict[str, Any]:
        record: dict[str, Any] = {"rank": self.rank, "shift": self.shift}
        record |= {side: list(getattr(self, side)) for side in ("train", "val", "test")}
        if self.controls:
            record["controls"] = [{"train": list(a), "test": list(b)} for a, b in self.controls]
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Split:
        controls = tuple((tuple(c["train"]), tuple(c["test"])) for c in record.get("controls", ()))
        train, val, test = (tuple(record[side]) for side in ("train", "val", "test"))
        return cls(int(record["rank"]), record["shift"], train, val, test, controls)


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
        lists = [
            {key: value for key, value in split.to_json().items() if key != "shift"}
            for split in self.splits
        ]
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
