"""Scoring embeddings on the test classes of a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from oodml.embed import EmbeddingSet
from oodml.errors import DataError
from oodml.methods import FeatureEncoder
from oodml.metrics import (
    DEFAULT_METRICS,
    METRIC_VERSION,
    by_kind,
    class_groups,
    leave_groups_out,
    score_vectors,
    sum_by_class,
)
from oodml.score.card import ScoreCard
from oodml.score.roles import role_masks, uses_roles
from oodml.split import Part, SplitSequence

Array = np.ndarray[Any, Any]
_BLOCK = 8192


@dataclass(frozen=True, slots=True)
class Subject:
    """Who is scored, on what of a split and how: what a card says of the model.

    `features` is the digest of the embeddings, where the caller has it already. `control` is the
    number of a control to be scored instead of the split itself; `swapped` scores the train side.
    """

    method: str = "frozen"
    seed: int | None = None
    protocol: str = "head"
    selection: str | None = None
    budget: Mapping[str, int] = field(default_factory=dict)
    features: str | None = None
    similarity: str = "cosine"
    spec: str | None = None
    control: int | None = None
    swapped: bool = False


def score_split(
    embeddings: EmbeddingSet,
    sequence: SplitSequence,
    rank: int,
    *,
    subject: Subject,
    trained: FeatureEncoder | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    **computing: Any,
) -> ScoreCard:
    """The card of the test classes of split `rank`.

    Queries and gallery are all of their images, or apart where `uses_roles` says so. Swapped, the
    test classes are those of the train side. A control is compared with the random partitions of
    its split. With `trained`, the vectors are passed through it first. `computing` is how the ranks
    are computed (`oodml.metrics.rank_stream`: device, budget_mb, ...), of which no value depends.
    """
    split = sequence.part(Part(rank, subject.control, subject.swapped))
    test = embeddings.of(split.test)
    vectors = test.vectors if trained is None else transform(trained, test.vectors)
    if subject.similarity == "cosine":
        _require_directions(test.ids, vectors)
    apart = not subject.swapped and uses_roles(embeddings, sequence)
    masks = role_masks(test) if apart else {}
    scores = score_vectors(
        vectors, test.labels, metrics, similarity=subject.similarity, **masks, **computing
    )
    scored, _, counts = sum_by_class(np.zeros(len(scores.labels)), scores.labels)
    replicates = _replicates(test, vectors, metrics, sequence)
    return ScoreCard(
        # Bare vectors do not know what they are of; the splits do.
        dataset=embeddings.dataset if embeddings.encoder else sequence.dataset,
        sequence=sequence.digest,
        rank=rank,
        levels=len(sequence.splits),
        shift=split.shift,
        method=subject.method,
        encoder=embeddings.source,
        seed=subject.seed,
        protocol=subject.protocol,
        metric_version=METRIC_VERSION,
        content_fingerprint=embeddings.content_fingerprint,
        features=subject.features or embeddings.digest(),
        measure=sequence.measure,
        similarity=subject.similarity,
        selection=subject.selection,
        budget=subject.budget,
        classes=tuple(test.classes[label] for label in scored),
        counts=counts,
        sums={
            name: sum_by_class(values, scores.labels)[1]
            for name, values in scores.per_query.items()
        },
        chance=scores.chance,
        excluded=scores.excluded,
        tied=scores.tied,
        others={name: scores.values[name] for name in scores.others},
        replicates=replicates,
        spec=subject.spec,
        control=subject.control,
        excess=_excess(sequence, rank, split.shift),
        roles=bool(masks),
        terms=embeddings.terms,
        swapped=subject.swapped,
        search=sequence.search,
    )


def _replicates(
    test: EmbeddingSet, vectors: Array, metrics: Sequence[str], sequence: SplitSequence
) -> dict[str, Array]:
    """The metrics that are no means over queries, without each of 20 groups of classes.

    The groups are those of the whole sequence, so that one group left out everywhere also says how
    sure the area under a curve is.
    """
    sets = by_kind(metrics)[1]
    names = np.array(test.classes)[test.labels]
    return leave_groups_out(vectors, names, sets, class_groups(sequence.classes))


def _excess(sequence: SplitSequence, rank: int, shift: float | None) -> float | None:
    """How far a split, or a control of it, is above random partitions of its classes."""
    calibration = sequence.at(rank).calibration
    return None if calibration is None or shift is None else calibration.excess(shift)


def _require_directions(ids: tuple[str, ...], vectors: Array) -> None:
    """Raise `DataError` naming images whose vector is zero: they have no cosine with any other."""
    if len(zero := np.flatnonzero(~vectors.any(axis=1))):
        raise DataError(
            f"{len(zero)} images have a zero vector, such as {ids[zero[0]]!r} (blank?), and so no "
            "cosine with any other; remove them or use another encoder."
        )


def transform(encoder: FeatureEncoder, vectors: Array) -> Array:
    """`(n, d)` vectors through an encoder on features, in blocks: `(n, dim)` float32."""
    import torch

    with torch.inference_mode():
        blocks = (
            encoder(torch.from_numpy(np.array(vectors[start : start + _BLOCK], dtype=np.float32)))
            for start in range(0, len(vectors), _BLOCK)
        )
        return np.concatenate([block.numpy() for block in blocks])
