"""Searches among many classes: the large path, forced on small data, keeps the same promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from test_search_paper import oracle_walk
from toys import toy_embeddings

import oodml
from oodml.cli import main
from oodml.embed import EmbeddingSet, write_embeddings
from oodml.shift import frechet, moments
from oodml.split import SplitSequence, build, build_splits
from oodml.split.build import make_problem
from oodml.split.constraints import OUT, TEST, TRAIN, two_sided
from oodml.split.exchange import State, Terrain
from oodml.split.many import Route, best_exchanges, climb_slope
from oodml.split.meter import Meter
from oodml.split.optimal import OPTIMAL, PROMISED
from oodml.split.paper import walk_oodml

MANY = 20


@pytest.fixture(autouse=True)
def large_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """From `MANY` classes on, everything goes the way of many classes."""
    monkeypatch.setattr(frechet, "LARGEST", MANY)


def split(embeddings: EmbeddingSet, search: str, levels: int = 9, **options: Any) -> SplitSequence:
    return oodml.build_splits(embeddings, search=search, levels=levels, options=options)


def terrain_of(embeddings: EmbeddingSet, **options: Any) -> Terrain:
    problem = make_problem(embeddings)
    chosen = {**OPTIMAL.options, **options}
    return Terrain(two_sided(problem, chosen), Meter(problem, None))


def named(embeddings: EmbeddingSet, rows: np.ndarray) -> list[str]:
    return [embeddings.classes[row] for row in rows]


# The paper's search ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("classes", "d", "swaps"), [(40, 12, 3), (60, 8, 8), (150, 20, 10)])
def test_every_state_is_that_of_the_published_procedure(
    classes: int, d: int, swaps: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moments, "_ROWS_AT_ONCE", 17)
    embeddings = toy_embeddings(classes, 2, d, seed=seed)
    walked = walk_oodml(make_problem(embeddings), swaps)
    expected = oracle_walk(embeddings, swaps)
    assert len(walked) == len(expected)
    for ours, ((_, train), (_, test), distance) in zip(walked, expected, strict=True):
        assert named(embeddings, ours.sides.train) == train
        assert named(embeddings, ours.sides.test) == test
        assert ours.shift == pytest.approx(distance, rel=1e-6)


# Promises ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("search", "options"),
    [
        ("optimal", {}),
        ("optimal", {"fraction": 0.3}),
        ("optimal", {"per_side": 90}),
        ("optimal", {"train": ["class 000", "class 007"], "test": ["class 001"]}),
        ("fixed-test", {}),
        ("fixed-test", {"per_side": 120}),
    ],
)
def test_a_sequence_keeps_its_promises(search: str, options: dict[str, Any]) -> None:
    embeddings = toy_embeddings(400, 1, 12, seed=1)
    before = embeddings.digest()
    sequence = split(embeddings, search, **options)
    assert embeddings.digest() == before
    assert len(sequence.splits) == 9
    for one in sequence.splits:
        assert not set(one.train_side) & set(one.test)
        assert set(options.get("train", ())) <= set(one.train_side)
        assert set(options.get("test", ())) <= set(one.test)
    sizes = {(len(one.train_side), len(one.test)) for one in sequence.splits}
    assert len(sizes) == 1
    if search == "fixed-test":
        assert len({one.test for one in sequence.splits}) == 1
    if "per_side" in options:
        assert sizes.pop()[0] == options["per_side"]
    facts = sequence.options["found"]
    assert max(map(abs, facts["error"])) < PROMISED * facts["step"]
    shifts = [one.shift for one in sequence.splits]
    assert all(a is not None and b is not None and a < b for a, b in pairwise(shifts))
    np.testing.assert_allclose(oodml.split.measure_shifts(sequence, embeddings), shifts, rtol=1e-8)
    assert split(embeddings, search, **options) == sequence


@pytest.mark.parametrize("seed", range(3))
def test_the_ends_are_beyond_those_of_the_paper_s_search(seed: int) -> None:
    embeddings = toy_embeddings(300, 1, 10, seed=seed)
    paper = [state.shift for state in walk_oodml(make_problem(embeddings), 3, remove=False)]
    low, high = split(embeddings, "optimal", 2).options["found"]["range"]
    assert low < min(paper)
    assert high > max(paper)


def test_a_single_target_is_hit() -> None:
    embeddings = toy_embeddings(300, 1, 8)
    low, high = split(embeddings, "optimal", 2).options["found"]["range"]
    goal = 0.3 * low + 0.7 * high
    (only,) = split(embeddings, "optimal", target=goal).splits
    assert only.shift == pytest.approx(goal, abs=PROMISED * (high - low) / 8)


def test_neighbours_share_most_of_their_classes() -> None:
    sequence = split(toy_embeddings(300, 1, 8), "optimal")
    for one, other in pairwise(sequence.splits):
        assert len(set(one.train_side) & set(other.train_side)) > 150 // 2


def test_other_measures_and_groups_go_their_own_way() -> None:
    embeddings = toy_embeddings(30, 2, 4)
    assert len(oodml.build_splits(embeddings, search="optimal", measure="energy").splits) > 5


# The pieces --------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"per_side": 30}])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_exchanges_are_apart_gain_and_come_in_order(options: dict[str, Any], sign: float) -> None:
    terrain = terrain_of(toy_embeddings(120, 1, 6), **options)
    rng = np.random.default_rng(0)
    place = terrain.board.filled(rng.permutation(120).tolist())
    (state,) = terrain.states([place])
    found = best_exchanges(terrain, state, sign)
    units = np.concatenate([found.u, found.v])
    assert len(set(units.tolist())) == len(units)
    assert (place[found.u] != place[found.v]).all()
    assert (found.gains > 0).all()
    assert (np.diff(found.gains) <= 0).all()
    made = found.made(place, 5)
    assert (terrain.board.counts(made) == terrain.board.counts(place)).all()
    assert (made != place).sum() == 10
    assert (found.one(place, 2) != place).nonzero()[0].tolist() == sorted([found.u[2], found.v[2]])


def test_estimates_come_true_where_classes_are_many() -> None:
    terrain = terrain_of(toy_embeddings(4000, 1, 5))
    # Sides that are apart; between random ones, the square of a change is as large as the change.
    along = terrain.meter.field.points[:, 0] + np.random.default_rng(0).normal(size=4000)
    (state,) = terrain.states([terrain.board.filled(np.argsort(along).tolist())])
    place = state.place
    found = best_exchanges(terrain, state, 1.0)
    for index in (20, 200):
        (new,) = terrain.states([found.one(place, index)])
        assert new.shift - state.shift == pytest.approx(found.gains[index], rel=0.1)


@pytest.mark.parametrize("aim", [np.inf, -np.inf])
def test_a_climb_only_improves(aim: float) -> None:
    terrain = terrain_of(toy_embeddings(200, 1, 6))
    place = terrain.board.filled(np.random.default_rng(0).permutation(200).tolist())
    (state,) = terrain.states([place])
    top = climb_slope(terrain, state, aim)
    assert np.sign(aim) * top.shift > np.sign(aim) * state.shift
    assert top.shift == terrain.states([top.place])[0].shift
    assert isinstance(top, State)


@pytest.mark.parametrize("seed", range(4))
def test_a_route_keeps_the_sizes_and_arrives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.permutation(np.repeat([TRAIN, TEST, OUT], [20, 15, 10]))
    high = rng.permutation(low)
    route = Route.between(low, high)
    for k in range(len(route) + 1):
        assert (np.bincount(route.at(k)) == [20, 15, 10]).all()
        assert ((route.at(k) == low) | (route.at(k) == high)).all()
    np.testing.assert_array_equal(route.at(0), low)
    np.testing.assert_array_equal(route.at(len(route)), high)


@pytest.mark.parametrize("search", ["ooDML", "optimal", "fixed-test"])
@pytest.mark.parametrize("classes", [18, 60])
def test_progress_grows_to_its_total(search: str, classes: int) -> None:
    embeddings = toy_embeddings(classes, 1, 4)
    told: list[tuple[int, int]] = []
    build_splits(
        embeddings,
        search=search,
        levels=4,
        progress=lambda *step: told.append(step),
        partitions=0,
        controls=0,
    )
    done, totals = zip(*told, strict=True)
    assert len(set(totals)) == 1
    assert list(done) == sorted(done)
    assert done[-1] == totals[0]


def test_means_in_a_file_give_the_same_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings = toy_embeddings(120, 1, 6)
    for search in build.SEARCHES:
        whole = split(embeddings, search, 4)
        with monkeypatch.context() as small:
            small.setattr(moments, "MAPPED", 1000)
            assert make_problem(embeddings).means.dtype == np.float32
            assert split(embeddings, search, 4).digest == whole.digest


def test_the_bar_of_a_build_is_fed_and_silent_without_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_embeddings(tmp_path / "v.npz", toy_embeddings(30, 2, 4))
    order = ["splits", "build", "--embeddings", str(tmp_path / "v.npz"), "--levels", "3"]
    result = CliRunner().invoke(main, [*order, "-o", str(tmp_path / "s.json")])
    assert (result.exit_code, result.stderr) == (0, "")
    told: list[tuple[int, int]] = []

    @contextmanager
    def bar(what: str) -> Iterator[Callable[[int, int], None]]:
        assert what == "Building splits"
        yield lambda done, total: told.append((done, total))

    monkeypatch.setattr(import_module("oodml.cli.splits"), "progress_bar", bar)
    order += ["--search", "optimal", "-o", str(tmp_path / "t.json")]
    assert CliRunner().invoke(main, order).exit_code == 0
    assert len(told) > 5
