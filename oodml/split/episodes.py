"""k-shot episodes: which images of the test classes are labelled; the others are queries.

A sequence holds either a recipe, from which every episode is drawn again, or lists of images as
they were published. In ooDML all test classes take part in every episode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from oodml.errors import DataError, SplitError

Support = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class EpisodeRecipe:
    """`count` episodes for each number of `shots`, drawn from `seed`."""

    seed: int
    shots: tuple[int, ...]
    count: int

    def __post_init__(self) -> None:
        if self.count < 1 or not self.shots or min(self.shots) < 1:
            raise SplitError(
                f"Episodes of {self.shots} shots, {self.count} each; expected positive numbers."
            )

    def to_json(self) -> dict[str, Any]:
        return {"seed": self.seed, "shots": list(self.shots), "count": self.count}

    @classmethod
    def from_json(cls, record: Mapping[str, Any] | None) -> EpisodeRecipe | None:
        if record is None:
            return None
        return cls(int(record["seed"]), tuple(record["shots"]), int(record["count"]))

    def support(
        self, images: Mapping[str, Iterable[str]], *, rank: int, shots: int, index: int
    ) -> Support:
        """The support: ids of each class, drawn by `[seed, rank, shots, index]` in sorted order.

        `images` are the ids of every test class. Classes are drawn in name order. Raises
        `SplitError` where a class would have no query left.
        """
        if shots not in self.shots or not 0 <= index < self.count:
            raise SplitError(
                f"There is no episode {index} of {shots} shots; there are {self.count} of each of "
                f"{', '.join(map(str, self.shots))}."
            )
        ids = {name: sorted(images[name]) for name in sorted(images)}
        if small := [name for name, own in ids.items() if len(own) <= shots]:
            raise SplitError(
                f"{len(small)} classes have no more than {shots} images, such as {small[0]!r}; "
                f"{shots} shots and a query need {shots + 1}."
            )
        rng = np.random.default_rng([self.seed, rank, shots, index])
        drawn = {name: rng.choice(len(own), shots, replace=False) for name, own in ids.items()}
        return {name: tuple(ids[name][i] for i in sorted(rows)) for name, rows in drawn.items()}


@dataclass(frozen=True, slots=True)
class PublishedEpisode:
    """The support of one episode as it was published: image ids of each test class."""

    rank: int
    shots: int
    index: int
    support: Support

    def to_json(self) -> dict[str, Any]:
        support = {name: list(ids) for name, ids in sorted(self.support.items())}
        return {"rank": self.rank, "shots": self.shots, "index": self.index, "support": support}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> PublishedEpisode:
        support = {name: tuple(ids) for name, ids in record["support"].items()}
        return cls(int(record["rank"]), int(record["shots"]), int(record["index"]), support)


def require_images(episodes: Iterable[PublishedEpisode], ids: Iterable[str]) -> None:
    """Raise one `DataError` with their number where images of episodes are not in the data."""
    wanted = {name for e in episodes for own in e.support.values() for name in own}
    if missing := sorted(wanted - set(ids)):
        raise DataError(
            f"{len(missing)} of {len(wanted)} images of the published episodes are not in the "
            "data, "
            f"such as {missing[0]!r}; use the whole data set, or draw episodes with --shots."
        )
