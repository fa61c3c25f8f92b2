"""The search `optimal`: its promises, constraints, and the exact enumeration as an oracle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import toy_embeddings

import oodml
from oodml.embed import EmbeddingSet
from oodml.errors import SplitError, UnknownNameError
from oodml.shift import class_moments
from oodml.shift.frechet import FrechetField, frechet_distance
from oodml.split import SplitSequence
from oodml.split import enumerate as enumeration
from oodml.split.build import make_problem
from oodml.split.paper import walk_oodml


def build(embeddings: EmbeddingSet, levels: int = 9, **options: Any) -> SplitSequence:
    measure = options.pop("measure", "frechet")
    return oodml.build_splits(
        embeddings, search="optimal", measure=measure, levels=levels, options=options
    )


def found(sequence: SplitSequence) -> Mapping[str, Any]:
    facts: Mapping[str, Any] = sequence.options["found"]
    return facts


def worst_error(sequence: SplitSequence) -> float:
    """The largest distance of a level from its target, in steps between levels."""
    facts = found(sequence)
    return float(max(abs(error) for error in facts["error"]) / facts["step"])


def all_distances(embeddings: EmbeddingSet) -> list[float]:
    """The distance of every partition into halves, by the definition."""
    means = class_moments(embeddings).means
    everything = range(len(means))
    halves = combinations(everything, len(means) // 2)
    return [
        frechet_distance(means[list(half)], means[[i for i in everything if i not in half]])
        for half in halves
    ]


def local(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, nothing is enumerated."""
    monkeypatch.setattr(enumeration, "MOST_CLASSES", 0)


# Laws --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("classes", "d"), [(8, 4), (13, 5), (30, 6), (61, 100)])
def test_a_sequence_keeps_its_promises(classes: int, d: int) -> None:
    embeddings = toy_embeddings(classes, 3, d)
    before = embeddings.digest()
    sequence = build(embeddings)
    assert embeddings.digest() == before
    for split in sequence.splits:
        assert not set(split.train_side) & set(split.test)
        assert set(split.train_side) | set(split.test) == set(embeddings.classes)
    assert len({(len(s.train_side), len(s.test)) for s in sequence.splits}) == 1
    assert abs(len(sequence.splits[0].test) - classes / 2) <= 0.5
    shifts = [split.shift for split in sequence.splits]
    assert all(a is not None and b is not None and a < b for a, b in pairwise(shifts))
    np.testing.assert_allclose(oodml.split.measure_shifts(sequence, embeddings), shifts, rtol=1e-8)
    facts = found(sequence)
    measured = np.array(facts["targets"]) + np.array(facts["error"])
    np.testing.assert_allclose(measured, np.array(shifts, dtype=float), rtol=1e-7)
    assert build(embeddings) == sequence


@pytest.mark.parametrize("classes", [12, 30])
def test_the_order_of_classes_does_not_matter(classes: int) -> None:
    embeddings = toy_embeddings(classes, 2, 6)
    turned = embeddings.of(embeddings.classes[::-1])
    assert build(turned, 5).digest == build(embeddings, 5).digest


def test_the_file_keeps_targets_and_errors(tmp_path: Path) -> None:
    sequence = build(toy_embeddings(10, 2, 4), 4, train=("class 003",))
    oodml.split.write_sequence(tmp_path / "s.json", sequence)
    again = oodml.split.read_sequence(tmp_path / "s.json")
    assert again.digest == sequence.digest
    assert found(again) == found(sequence)
    assert found(again)["method"] == "enumeration"


# Enumeration, and local search against it --------------------------------------------------------


@pytest.mark.parametrize("classes", [4, 6, 8, 10])
@pytest.mark.parametrize("seed", range(3))
def test_enumeration_finds_the_global_ends(classes: int, seed: int) -> None:
    embeddings = toy_embeddings(classes, 2, 5, seed=seed)
    distances = all_distances(embeddings)
    low, high = found(build(embeddings))["range"]
    assert low == pytest.approx(min(distances), rel=1e-8)
    assert high == pytest.approx(max(distances), rel=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_enumeration_hits_targets_as_well_as_any_split(seed: int) -> None:
    embeddings = toy_embeddings(10, 2, 5, seed=seed)
    distances = np.array(all_distances(embeddings))
    facts = found(build(embeddings, 7))
    best = np.abs(distances[:, None] - np.array(facts["targets"])).min(axis=0)
    np.testing.assert_allclose(np.abs(facts["error"]), best, atol=0.0011 * facts["step"])


@pytest.mark.parametrize(
    ("classes", "d", "options"),
    [
        (12, 8, {}),
        (14, 3, {}),
        (16, 12, {}),
        (18, 30, {}),
        (13, 8, {"fraction": 0.3}),
        (12, 8, {"per_side": 4}),
        (14, 6, {"train": ["class 000"], "test": ["class 001"]}),
        (12, 6, {"measure": "energy"}),
    ],
)
def test_local_search_comes_near_the_global_ends(
    classes: int, d: int, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gaps = []
    for seed in range(3):
        embeddings = toy_embeddings(classes, 2, d, seed=seed)
        exact = found(build(embeddings, 3, **options))
        with monkeypatch.context() as patch:
            local(patch)
            ours = found(build(embeddings, 3, **options))
        assert (exact["method"], ours["method"]) == ("enumeration", "local search")
        (low, high), (near, far) = exact["range"], ours["range"]
        assert near >= low * (1 - 1e-8)
        assert far <= high * (1 + 1e-8)
        gaps += [(near - low) / (high - low), (high - far) / (high - low)]
    assert max(gaps) < 0.03
    assert np.median(gaps) < 1e-6


def test_estimates_of_exchanges_order_them_as_the_distance_does() -> None:
    rng = np.random.default_rng(0)
    means = rng.standard_normal((40, 100)) * np.linspace(3, 0.2, 100)
    field = FrechetField.of(means)
    train, test, out = np.arange(15), np.arange(15, 33), np.arange(33, 40)
    changes = field.around(train, test)
    assert changes.start == pytest.approx(frechet_distance(means[train], means[test]), rel=1e-10)
    zones = {0: train, 1: test, 2: out}
    for a, b in ((0, 1), (0, 2), (1, 2)):
        estimates = changes.exchanged(zones[a], zones[b], (a, b))
        true = np.empty_like(estimates)
        for i, u in enumerate(zones[a]):
            for j, v in enumerate(zones[b]):
                swap = {u: v, v: u}
                sides = [[swap.get(r, r) for r in rows] for rows in (train, test)]
                true[i, j] = frechet_distance(means[sides[0]], means[sides[1]])
        assert np.corrcoef(estimates.ravel(), true.ravel())[0, 1] > 0.93
        assert np.abs(estimates - true).mean() < 0.35 * np.abs(true - changes.start).mean()


@pytest.mark.parametrize(("n", "m"), [(10, 10), (8, 13), (20, 6)])
@pytest.mark.parametrize("d", [3, 60])
def test_the_estimate_is_exact_in_the_own_terms_of_a_class(n: int, m: int, d: int) -> None:
    """tr (S_X' S_Y')^(1/2) where one class's rank-one terms are added to both covariances."""

    def root_trace(s: Any, t: Any) -> float:
        return float(np.sqrt(np.linalg.eigvals(s @ t).real.clip(min=0)).sum())

    means = np.random.default_rng(d).standard_normal((n + m, d)) * np.linspace(2, 0.3, d)
    train, test = np.arange(n), np.arange(n, n + m)
    changes = FrechetField.of(means).around(train, test)
    s, t = np.cov(means[train], rowvar=False), np.cov(means[test], rowvar=False)
    typical = []
    for row in (0, 3):
        p, q = means[row] - means[train].mean(axis=0), means[row] - means[test].mean(axis=0)
        leaves = s - (1 + 1 / n) / (n - 1) * np.outer(p, p)
        enters = t + (1 - 1 / m) / (m - 1) * np.outer(q, q)
        expected = root_trace(leaves, enters) - root_trace(s, t)
        typical.append(abs(root_trace(leaves, t) - root_trace(s, t)))
        estimate = changes._nuclear(np.array([row]), 0, 1)[0]
        assert estimate == pytest.approx(expected, abs=0.01 * max(typical))


@pytest.mark.parametrize(("c", "d", "n"), [(20, 50, 8), (60, 5, 20), (12, 1, 5)])
def test_the_field_measures_the_frechet_distance(c: int, d: int, n: int) -> None:
    rng = np.random.default_rng(1)
    means = rng.standard_normal((c, d)) + 5
    splits = np.stack([rng.permutation(c) for _ in range(4)])
    distances = FrechetField.of(means).distances(splits[:, :n], splits[:, n:])
    expected = [frechet_distance(means[row[:n]], means[row[n:]]) for row in splits]
    np.testing.assert_allclose(distances, expected, rtol=1e-9)


# Many classes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("classes", "d", "options"),
    [
        (60, 8, {}),
        (75, 90, {}),
        (60, 16, {"per_side": 12}),
        (60, 16, {"fraction": 0.75}),
        (60, 8, {"measure": "energy"}),
        (60, 8, {"measure": "mmd"}),
    ],
)
def test_levels_of_sixty_classes_are_within_half_a_percent_of_a_step(
    classes: int, d: int, options: dict[str, Any], seed: int
) -> None:
    sequence = build(toy_embeddings(classes, 3, d, seed=seed), **options)
    assert len(sequence.splits) == 9
    assert worst_error(sequence) < 0.005


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("classes", "d"), [(40, 10), (80, 60)])
def test_the_range_contains_that_of_the_paper_s_search(classes: int, d: int, seed: int) -> None:
    embeddings = toy_embeddings(classes, 3, d, seed=seed)
    states = walk_oodml(make_problem(embeddings), 1)
    low, high = found(build(embeddings, 2))["range"]
    full = [state.shift for state in states if len(state.sides.train) == classes // 2]
    assert low <= min(full) * (1 + 1e-8)
    assert high >= max(full) * (1 - 1e-8)
    # Where classes are removed, compare at the same class counts.
    smallest = states[-1]
    n = len(smallest.sides.train)
    at_size = [state.shift for state in states if len(state.sides.train) == n]
    assert found(build(embeddings, 2, per_side=n))["range"][1] >= max(at_size) * (1 - 1e-8)


def test_neighbours_share_most_classes_and_rank_one_is_turned_to_the_start() -> None:
    embeddings = toy_embeddings(60, 2, 20)
    sequence = build(embeddings)
    half = len(embeddings.classes) // 2
    for a, b in pairwise(
        [sorted(embeddings.classes)[:half], *(s.train_side for s in sequence.splits)]
    ):
        assert len(set(a) & set(b)) >= half / 2
    moved = [len(set(a.train_side) & set(b.test)) for a, b in pairwise(sequence.splits)]
    assert max(moved) <= half / 2
    assert sum(moved) < 2 * half


def check_range(embeddings: EmbeddingSet) -> None:
    """All levels on target, and a range that contains that of the paper's search."""
    states = walk_oodml(make_problem(embeddings), 1, remove=False)
    sequence = build(embeddings)
    low, high = found(sequence)["range"]
    assert low <= min(state.shift for state in states) * (1 + 1e-8)
    assert high >= max(state.shift for state in states) * (1 - 1e-8)
    assert worst_error(sequence) < 0.005


@pytest.mark.slow
def test_the_range_on_glyphs_contains_that_of_the_paper_s_search() -> None:
    embeddings = oodml.embed_data(oodml.load_data("glyphs"), "oodml:hog")
    check_range(embeddings.of(embeddings.classes[::5]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cub127", "cars196_half"])
def test_the_range_on_photographs_contains_that_of_the_paper_s_search(
    test_data: Path, name: str
) -> None:
    folder = test_data / name / "images"
    if not folder.is_dir():
        pytest.skip(f"no {name} in {test_data}")
    check_range(oodml.embed_data(oodml.load_data(f"folder:{folder}"), "oodml:hog"))


# Options -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [12, 30])
def test_pinned_classes_stay_where_they_are(classes: int) -> None:
    embeddings = toy_embeddings(classes, 2, 6)
    train, test = embeddings.classes[-2:], embeddings.classes[:3]
    for split in build(embeddings, 5, train=train, test=test).splits:
        assert set(train) <= set(split.train_side)
        assert set(test) <= set(split.test)


@pytest.mark.parametrize(("fraction", "expected"), [(0.25, 10), (0.6, 24)])
def test_the_train_fraction(fraction: float, expected: int) -> None:
    for split in build(toy_embeddings(40, 2, 6), 4, fraction=fraction).splits:
        assert (len(split.train_side), len(split.test)) == (expected, 40 - expected)


def test_classes_per_side() -> None:
    embeddings = toy_embeddings(40, 2, 6)
    few, all_ = build(embeddings, 4, per_side=8), build(embeddings, 4)
    assert {(len(s.train_side), len(s.test)) for s in few.splits} == {(8, 8)}
    assert found(few)["range"][1] > found(all_)["range"][1]


@pytest.mark.parametrize(("classes", "per_group"), [(18, 3), (60, 4), (60, None)])
def test_groups_stay_whole_and_counts_are_within_half_the_largest(
    classes: int, per_group: int | None
) -> None:
    names = [i // per_group if per_group else int(i**0.5) for i in range(classes)]
    groups = tuple(f"group {name}" for name in names)
    embeddings = replace(toy_embeddings(classes, 2, 8), groups=groups)
    slack = max(groups.count(group) for group in groups) // 2
    sequence = build(embeddings, 5, groups=True)
    group_of = dict(zip(embeddings.classes, groups, strict=True))
    assert len(sequence.splits) > 2
    for split in sequence.splits:
        assert not {group_of[n] for n in split.train_side} & {group_of[n] for n in split.test}
        assert abs(len(split.train_side) - classes / 2) <= slack + 0.5


def test_classes_with_few_images_are_left_out() -> None:
    embeddings = toy_embeddings(24, 4, 6)
    kept = np.flatnonzero((embeddings.labels > 5) | (np.arange(len(embeddings)) % 4 < 2))
    fewer = replace(
        embeddings,
        vectors=embeddings.vectors[kept],
        labels=embeddings.labels[kept],
        ids=tuple(embeddings.ids[row] for row in kept),
    )
    sequence = build(fewer, 3, min_images=3)
    assert set(sequence.classes) == set(embeddings.classes[6:])


@pytest.mark.parametrize("classes", [14, 40])
def test_a_single_target(classes: int) -> None:
    embeddings = toy_embeddings(classes, 2, 6)
    low, high = found(build(embeddings))["range"]
    goal = 0.3 * low + 0.7 * high
    (split,) = build(embeddings, target=goal).splits
    assert split.shift == pytest.approx(goal, abs=0.02 * (high - low))
    assert build(embeddings, target="max").splits[0].shift == pytest.approx(high, rel=1e-8)
    assert build(embeddings, target="min").splits[0].shift == pytest.approx(low, rel=1e-8)
    with pytest.raises(SplitError, match=f"from {low:.6g} to {high:.6g}"):
        build(embeddings, target=2 * high)


def test_other_measures_are_tried_a_bounded_number_of_times() -> None:
    embeddings = toy_embeddings(40, 2, 6)
    sequence = build(embeddings, 5, measure="energy", trials=300)
    assert found(sequence)["distances"] < 900
    assert len(sequence.splits) > 2


def test_fewer_levels_where_they_would_repeat() -> None:
    sequence = build(toy_embeddings(4, 2, 3), 9)
    assert len(sequence.splits) == 3  # four classes have three partitions into pairs


# Bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fraction": 0.05}, "1 classes on one side"),
        ({"fraction": 1.5}, "between 0 and 1"),
        ({"per_side": 1}, "at least 2"),
        ({"per_side": 7}, "at most 6"),
        ({"per_side": 3, "fraction": 0.5}, "give one of them"),
        ({"train": ["class 000"], "test": ["class 000"]}, "pinned to the train side and to"),
        ({"train": ["nobody"]}, "'nobody', which is no class of the data"),
        ({"train": [f"class {i:03}" for i in range(8)]}, "8 classes are pinned to the train side"),
        ({"groups": True}, "have no groups"),
        ({"min_images": 100}, "lower min_images"),
        ({"target": 1e9}, "the distances found go from"),
        ({"target": "far"}, "'min' or 'max'"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SplitError, match=message) as caught:
        build(toy_embeddings(12), **options)
    assert str(caught.value).count(". ") == 0


def test_bad_groups() -> None:
    embeddings = replace(toy_embeddings(12), groups=("a", "b", "c") * 4)
    with pytest.raises(SplitError, match="pinned to both sides"):
        build(embeddings, groups=True, train=["class 000"], test=["class 003"])
    with pytest.raises(SplitError, match="in one group"):
        build(replace(embeddings, groups=("a",) * 12), groups=True)
    with pytest.raises(SplitError, match="No sides of 6 and 6"):
        build(replace(embeddings, groups=("a",) * 11 + ("b",)), groups=True)


def test_bad_embeddings() -> None:
    with pytest.raises(SplitError, match="at least 4"):
        build(toy_embeddings(3))
    for classes in (12, 30):
        flat = replace(toy_embeddings(classes), vectors=np.ones((6 * classes, 3), np.float32))
        with pytest.raises(SplitError, match="equal"):
            build(flat)
    with pytest.raises(UnknownNameError, match="no option 'swaps'"):
        build(toy_embeddings(12), swaps=2)
    assert len(build(toy_embeddings(30, 3, 1)).splits) > 2  # one dimension is enough
