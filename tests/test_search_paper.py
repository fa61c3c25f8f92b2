"""The search `ooDML` against the published procedure, followed literally."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracles_search import split_maker, split_maker_with_class_removal
from toys import toy_embeddings

import oodml
from oodml.shift import class_moments
from oodml.split.build import make_problem
from oodml.split.paper import (
    EASIER_STEPS,
    HARDER_STEPS,
    REMOVAL_STEPS,
    SMALLEST_SIDE,
    walk_oodml,
)

CASES = [(24, 40, 1), (24, 40, 2), (31, 5, 2), (40, 12, 3), (52, 60, 2), (60, 8, 8), (9, 3, 1)]


def oracle_walk(embeddings, swaps, *, remove=True):
    """All states as (train names, test names, distance), in the order of `walk_oodml`."""
    problem = make_problem(embeddings)
    sides = (problem.start.train.tolist(), problem.start.test.tolist())
    start = tuple(
        ([problem.means[row] for row in rows], [problem.names[row] for row in rows])
        for rows in sides
    )
    easier = split_maker(start, swaps, EASIER_STEPS, inverse=True)
    harder = split_maker(start, swaps, HARDER_STEPS)
    removal = []
    if remove:
        last = harder[-1][0]
        removal = split_maker_with_class_removal(last, swaps, REMOVAL_STEPS, SMALLEST_SIDE)[1:]
    states = [*reversed(easier[1:]), *harder, *removal]
    return [(state[0], state[1], distance) for state, distance in states]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("classes", "d", "swaps"), CASES)
def test_every_state_is_that_of_the_published_procedure(
    classes: int, d: int, swaps: int, seed: int
) -> None:
    embeddings = toy_embeddings(classes, 2, d, seed=seed)
    problem = make_problem(embeddings)
    means = problem.means.copy()
    walked = walk_oodml(problem, swaps)
    expected = oracle_walk(embeddings, swaps)
    assert len(walked) == len(expected)
    for ours, (train, test, distance) in zip(walked, expected, strict=True):
        for rows, (vectors, names) in ((ours.sides.train, train), (ours.sides.test, test)):
            assert [problem.names[row] for row in rows] == names
            # Each name keeps its vector.
            np.testing.assert_array_equal(problem.means[rows], np.array(vectors))
        assert ours.shift == pytest.approx(distance, rel=1e-6)
    np.testing.assert_array_equal(problem.means, means)


@pytest.mark.parametrize("seed", range(4))
def test_swaps_conserve_the_union_and_removal_only_shrinks_it(seed: int) -> None:
    problem = make_problem(toy_embeddings(40, 2, 10, seed=seed))
    everything = set(range(40))
    swapped = walk_oodml(problem, 2, remove=False)
    for state in swapped:
        assert set(state.sides.train) | set(state.sides.test) == everything
        assert len(state.sides.train) == len(state.sides.test) == 20
    before = everything
    for state in walk_oodml(problem, 2)[len(swapped) :]:
        train, test = set(state.sides.train), set(state.sides.test)
        assert not train & test
        assert train | test <= before
        assert len(train) == len(test)
        before = train | test
    assert before < everything


def test_the_states_cannot_be_edited() -> None:
    state = walk_oodml(make_problem(toy_embeddings(12)), 1)[0]
    with pytest.raises(ValueError, match="read-only"):
        state.sides.train[0] = 3


def test_equal_scores_are_settled_by_name_and_not_by_row() -> None:
    # Every class mean occurs twice, so that scores are equal in pairs.
    embeddings = toy_embeddings(20, 1, 6)
    vectors = np.repeat(embeddings.vectors[:10], 2, axis=0)
    twice = replace(embeddings, vectors=vectors)
    rows = np.random.default_rng(0).permutation(20)
    turned = twice.of([twice.classes[row] for row in rows])
    a, b = (
        [
            (
                frozenset(p.names[r] for r in s.sides.train),
                frozenset(p.names[r] for r in s.sides.test),
            )
            for s in walk_oodml(p, 2)
        ]
        for p in (make_problem(twice), make_problem(turned))
    )
    assert a == b


def test_the_search_is_deterministic_and_leaves_the_embeddings_alone() -> None:
    embeddings = toy_embeddings(30)
    digest = embeddings.digest()
    first, again = (oodml.build_splits(embeddings, levels=5) for _ in range(2))
    assert first == again
    assert embeddings.digest() == digest


def test_the_paper_s_numbers_of_steps_and_swaps() -> None:
    problem = make_problem(toy_embeddings(200, 1, 16))
    states = walk_oodml(problem, 2, remove=False)
    start = states[EASIER_STEPS - 1]
    np.testing.assert_array_equal(start.sides.train, problem.start.train)
    exchanged = [
        len(set(s.sides.test) & set(problem.start.train)) for s in states[EASIER_STEPS - 1 :]
    ]
    assert exchanged[:5] == [0, 2, 4, 6, 8]
    means = class_moments(toy_embeddings(200, 1, 16)).means
    np.testing.assert_array_equal(problem.means, means)
