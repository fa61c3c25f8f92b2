"""`ScoreCard`: what one model scored on one split, so that every later number can be derived."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from oodml.errors import FormatError
from oodml.store import frozen


@dataclass(frozen=True, slots=True, eq=False)
class ScoreCard:
    """Scores of one encoder on the test classes of one split, number `rank` of `levels`.

    `classes` are the test classes with at least one query, `counts` (c,) their queries, and
    `sums[metric]` (c,) the metric summed over the queries of each class: a decomposable metric is
    `sums.sum() / counts.sum()`, and resampling classes needs nothing else. `replicates[metric]` are
    the values (g,) of the metrics that do not decompose without each of g groups of classes (NaN
    where it is not defined then), `others[metric]` their values. `excluded` queries
    had no other image of their class; `tied` ones had a negative as near as their best positive.
    `chance` is the expectation under random order. `shift` is None where the sequence does not say
    it, else in the unit of `measure`; `excess` is the shift above that of random partitions of the
    same classes, where the sequence is calibrated. `control` is the number of the control that was
    scored, None for the split itself; `swapped` says that it was the other way round, tested on
    the train side. `features` is the digest of the vectors that were read, `spec` that of the run;
    `search` is the name of what found the splits, where it is known.
    """

    dataset: str
    sequence: str
    rank: int
    levels: int
    shift: float | None
    method: str
    encoder: str
    seed: int | None
    protocol: str
    metric_version: int
    content_fingerprint: str
    features: str
    classes: tuple[str, ...]
    counts: np.ndarray[Any, Any]
    sums: Mapping[str, np.ndarray[Any, Any]]
    chance: Mapping[str, float]
    excluded: int = 0
    tied: int = 0
    measure: str | None = None
    similarity: str = "cosine"
    selection: str | None = None
    budget: Mapping[str, int] = field(default_factory=dict)
    shots: int | None = None
    episode: int | None = None
    others: Mapping[str, float] = field(default_factory=dict)
    replicates: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    spec: str | None = None
    control: int | None = None
    excess: float | None = None
    swapped: bool = False
    search: str | None = None

    def __post_init__(self) -> None:
        counts = frozen(np.asarray(self.counts, dtype=np.int64))
        sums = {name: frozen(np.asarray(row, dtype=np.float64)) for name, row in self.sums.items()}
        replicates = {
            name: frozen(np.asarray(row, dtype=np.float64)) for name, row in self.replicates.items()
        }
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "sums", sums)
        object.__setattr__(self, "replicates", replicates)
        shapes = {counts.shape, *(row.shape for row in sums.values())}
        if shapes != {(len(self.classes),)} or not self.classes or (counts < 1).any():
            raise FormatError(
                f"Score card of {self.method!r}, rank {self.rank}: {len(self.classes)} classes "
                "but per-class "
                f"rows of shapes {sorted(shapes)}; expected one positive count and one sum a class."
            )

    @property
    def values(self) -> dict[str, float]:
        """The score of every metric, the mean over all queries."""
        total = int(self.counts.sum())
        decomposed = {name: float(row.sum()) / total for name, row in self.sums.items()}
        return {**decomposed, **self.others}

    def to_json(self) -> dict[str, Any]:
        record = {name: getattr(self, name) for name in self.__slots__}
        record["classes"] = list(self.classes)
        record["counts"] = self.counts.tolist()
        record["sums"] = {name: row.tolist() for name, row in self.sums.items()}
        record["replicates"] = {
            name: [None if np.isnan(value) else value for value in row.tolist()]
            for name, row in self.replicates.items()
        }
        record["chance"] = dict(self.chance)
        record["budget"] = dict(self.budget)
        record["others"] = dict(self.others)
        return {**record, "values": self.values}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> ScoreCard:
        """The card of a JSON object; `values` is derived again, not read."""
        fields = {name: value for name, value in record.items() if name != "values"}
        try:
            return cls(**{**fields, "classes": tuple(fields["classes"])})
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"This is no score card: {error}.") from None
