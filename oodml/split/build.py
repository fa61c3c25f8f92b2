"""Building a sequence: measure, search, levels, validation classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypedDict, Unpack

import numpy as np

from oodml.embed import EmbeddingSet
from oodml.errors import SplitError, UnknownNameError
from oodml.registry import Registry
from oodml.shift import class_moments, find_measure
from oodml.split.calibration import nine_digits
from oodml.split.chance import calibrate
from oodml.split.fixed_test import FIXED_TEST
from oodml.split.meter import blas_threads
from oodml.split.optimal import OPTIMAL
from oodml.split.paper import OODML
from oodml.split.problem import Candidate, Problem, Progress, Search, Sides
from oodml.split.sequence import Names, Split, SplitSequence, validation_classes

SEARCHES: Registry[Search] = Registry(
    "searches", {"ooDML": OODML, "optimal": OPTIMAL, "fixed-test": FIXED_TEST}
)
FEWEST_CLASSES = 4


class Chance(TypedDict, total=False):
    """What `calibrate` is asked for; its defaults where absent."""

    partitions: int | None
    controls: int
    progress: Progress | None


def build_splits(
    embeddings: EmbeddingSet,
    *,
    search: str = "ooDML",
    measure: str = "frechet",
    levels: int = 9,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    **chance: Unpack[Chance],
) -> SplitSequence:
    """At most `levels` splits of growing shift, with a quarter of each train side for validation.

    The search starts from the data set's published halves, else from the halves in name order.
    Every split carries a calibration over random `partitions` of its classes (200, or 20 above
    5,000 classes; 0 for none) and 5 `controls`: see `calibrate`, which takes these arguments.
    Raises `SplitError` where there are fewer than 4 classes, or the classes cannot be told apart.
    """
    problem = make_problem(embeddings, measure, levels=levels, seed=seed)
    if progress := chance.get("progress"):
        problem = replace(problem, progress=progress)
    return calibrate(_solved(embeddings, problem, search, options or {}), embeddings, **chance)


def _solved(
    embeddings: EmbeddingSet, problem: Problem, search: str, options: Mapping[str, Any]
) -> SplitSequence:
    """The splits that a search finds for a problem of these embeddings."""
    method = SEARCHES[search]
    chosen = _resolved(search, method, options)
    lowest, highest = problem.means.min(axis=0), problem.means.max(axis=0)
    if (highest - lowest).max() <= 1e-12 * max(highest.max(), -lowest.min()):
        raise SplitError(
            f"All class means of {embeddings.dataset!r} are equal; splits need classes that differ."
        )
    with blas_threads(len(embeddings.classes)):
        found = method.find(problem, chosen)
    splits = (
        make_split(embeddings.classes, candidate, rank, problem.seed)
        for rank, candidate in enumerate(found.levels, start=1)
    )
    return SplitSequence(
        dataset=embeddings.dataset,
        splits=tuple(splits),
        class_fingerprint=embeddings.class_fingerprint(),
        content_fingerprint=embeddings.content_fingerprint,
        encoder=embeddings.encoder,
        measure=problem.measure,
        search=search,
        seed=problem.seed,
        options={**chosen, **({"found": dict(found.facts)} if found.facts else {})},
    )


def make_problem(
    embeddings: EmbeddingSet, measure: str = "frechet", *, levels: int = 9, seed: int = 0
) -> Problem:
    """What a search is given: class means, the measure on these embeddings, and the start."""
    _check(embeddings, levels)
    moments = class_moments(embeddings)
    found = find_measure(measure)
    return Problem(
        names=embeddings.classes,
        counts=moments.counts,
        groups=embeddings.groups,
        measure=found.name,
        means=moments.means,
        name_rank=np.argsort(np.argsort(np.array(embeddings.classes))),
        distance=found.on_means(moments) if found.on_means else found.on(embeddings),
        start=start_sides(embeddings),
        levels=levels,
        seed=seed,
    )


def _check(embeddings: EmbeddingSet, levels: int) -> None:
    count = len(embeddings.classes)
    if count < FEWEST_CLASSES:
        raise SplitError(
            f"{embeddings.dataset!r} has {count} classes; a split needs at least {FEWEST_CLASSES}, "
            "two on either side."
        )
    if levels < 1:
        raise SplitError(f"{levels} levels were asked for; expected at least 1.")


def _resolved(search: str, method: Search, options: Mapping[str, Any]) -> dict[str, Any]:
    if unknown := options.keys() - method.options.keys():
        raise UnknownNameError(
            f"Search {search!r} has no option {min(unknown)!r}; it takes: "
            f"{', '.join(method.options)}."
        )
    return {**method.options, **options}


def start_sides(embeddings: EmbeddingSet) -> Sides:
    """The published halves, else the first and second half of the classes in name order."""
    index = {name: row for row, name in enumerate(embeddings.classes)}
    if embeddings.default is not None:
        train, test = embeddings.default
    else:
        names = sorted(embeddings.classes)
        train, test = tuple(names[: len(names) // 2]), tuple(names[len(names) // 2 :])
    return Sides(np.array([index[n] for n in train]), np.array([index[n] for n in test]))


def make_split(classes: Names, candidate: Candidate, rank: int, seed: int) -> Split:
    """The split of a candidate: names for rows, and validation classes from the train side."""
    train = tuple(sorted(classes[row] for row in candidate.sides.train))
    test = tuple(classes[row] for row in candidate.sides.test)
    val = validation_classes(train, seed=seed, rank=rank)
    kept = tuple(name for name in train if name not in set(val))
    return Split(rank, nine_digits(candidate.shift), kept, val, test)
