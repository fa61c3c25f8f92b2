"""The search `fixed-test`: the test classes stay, the train side moves away."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from toys import toy_embeddings

import oodml
from oodml.embed import EmbeddingSet
from oodml.errors import SplitError
from oodml.shift import class_moments
from oodml.shift.frechet import frechet_distance
from oodml.split import SplitSequence
from oodml.split import enumerate as enumeration


def build(
    embeddings: EmbeddingSet, levels: int = 9, seed: int = 0, **options: Any
) -> SplitSequence:
    return oodml.build_splits(
        embeddings, search="fixed-test", levels=levels, seed=seed, options=options
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("classes", [12, 36, 75])
def test_test_classes_and_sizes_stay_along_the_curve(classes: int, seed: int) -> None:
    embeddings = toy_embeddings(classes, 3, 8)
    sequence = build(embeddings, seed=seed)
    test = set(sequence.splits[0].test)
    assert len(test) == round(classes / 3)
    assert len(sequence.splits) > 4
    for split in sequence.splits:
        assert set(split.test) == test
        assert not test & set(split.train_side)
        assert set(split.train_side) <= set(embeddings.classes)
        assert len(split.train_side) == (classes - len(test)) // 2
    shifts = [split.shift for split in sequence.splits]
    assert all(a is not None and b is not None and a < b for a, b in pairwise(shifts))
    assert build(embeddings, seed=seed) == sequence
    if classes >= 60:
        facts = sequence.options["found"]
        assert max(map(abs, facts["error"])) < 0.005 * facts["step"]


def test_seeds_draw_different_test_sets() -> None:
    embeddings = toy_embeddings(36, 2, 6)
    drawn = {build(embeddings, 2, seed).splits[0].test for seed in range(3)}
    assert len(drawn) == 3


@pytest.mark.parametrize("way", ["enumeration", "local search"])
@pytest.mark.parametrize("seed", range(3))
def test_the_ends_are_those_of_all_train_sides(
    seed: int, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "local search":
        monkeypatch.setattr(enumeration, "MOST_CLASSES", 0)
    embeddings = toy_embeddings(12, 2, 5, seed=seed)
    sequence = build(embeddings, per_side=3)
    means = class_moments(embeddings).means
    test = [embeddings.classes.index(name) for name in sequence.splits[0].test]
    rest = [row for row in range(12) if row not in test]
    all_ = [frechet_distance(means[list(t)], means[test]) for t in combinations(rest, 3)]
    low, high = sequence.options["found"]["range"]
    assert sequence.options["found"]["method"] == way
    gap = 1e-8 if way == "enumeration" else 0.03
    assert low == pytest.approx(min(all_), abs=gap * max(all_))
    assert high == pytest.approx(max(all_), abs=gap * max(all_))


def test_given_test_classes_and_train_size() -> None:
    embeddings = toy_embeddings(30, 2, 6)
    names = embeddings.classes[3:9]
    sequence = build(embeddings, 4, test=list(names), per_side=10)
    for split in sequence.splits:
        assert split.test == names
        assert len(split.train_side) == 10
    assert len(build(embeddings, 3, test_fraction=0.5).splits[0].test) == 15


def test_the_order_of_classes_does_not_matter() -> None:
    embeddings = toy_embeddings(30, 2, 6)
    turned = embeddings.of(embeddings.classes[::-1])
    assert build(turned, 4).digest == build(embeddings, 4).digest


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test": ["class 001"]}, "1 test classes"),
        ({"test": ["nobody"]}, "no class of the data"),
        ({"per_side": 9}, "per_side can be at most 8"),
        ({"per_side": 1}, "at least 2"),
        ({"test_fraction": 0}, "between 0 and 1"),
        ({"test_fraction": 0.95}, "a side needs at least 2"),
        ({"min_images": 7}, "lower min_images"),
        ({"target": 1e9}, "the distances found go from"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SplitError, match=message):
        build(toy_embeddings(12), **options)


def test_equal_class_means_are_an_error() -> None:
    flat = replace(toy_embeddings(12), vectors=np.ones((72, 3), np.float32))
    with pytest.raises(SplitError, match="equal"):
        build(flat)
