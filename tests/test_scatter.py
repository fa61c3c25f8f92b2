"""Many classes: remembered scatters give the distance, whatever was asked before."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import oracles_shift as oracles
import pytest
from toys import toy_embeddings

from oodml.shift import ClassMoments, class_moments, frechet, moments, scatter
from oodml.shift.frechet import FRECHET, FrechetField, frechet_distance
from oodml.shift.pairs import centred
from oodml.shift.sample_moments import SampleMoments, moments_distance
from oodml.shift.scatter import ClassScatters


def made_means(classes: int, d: int, *, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(classes, d)) / np.arange(1, d + 1) ** 0.7 + 3.0


def flat(means: np.ndarray) -> np.ndarray:
    """The same in one dimension more that is always 0, and one that repeats another."""
    return np.column_stack([means, np.zeros(len(means)), 2 * means[:, 0]])


def sequences(classes: int, seed: int, length: int = 60):
    """Sides as a search may ask for them: changed a little, or much, turned round, incomplete."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(classes)
    for _ in range(length):
        what = rng.integers(6)
        if what <= 2:
            pairs = (
                rng.integers(classes // 2, size=3),
                classes // 2 + rng.integers(classes // 2, size=3),
            )
            rows = rows.copy()
            rows[np.concatenate(pairs)] = rows[np.concatenate(pairs[::-1])]
            rows = np.unique(rows, return_index=False)[rng.permutation(len(np.unique(rows)))]
            rows = np.concatenate([rows, np.setdiff1d(np.arange(classes), rows)])
        elif what == 3:
            rows = rng.permutation(classes)
        cut = classes // 2 if what != 4 else rng.integers(12, classes - 12)
        left = classes if what != 5 else classes - 7
        x, y = rows[:cut], rows[cut:left]
        yield (x, y) if rng.random() < 0.8 else (y, x)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", [lambda m: m, flat])
def test_values_do_not_depend_on_what_was_asked_before(shape, seed):
    means = shape(made_means(90, 9, seed=seed))
    scatters = ClassScatters(means)
    assert scatters.rank == 9
    for x, y in sequences(90, seed):
        expected = frechet_distance(means[x], means[y])
        assert scatters.distance(x, y) == pytest.approx(expected, rel=1e-9)
        assert ClassScatters(means).distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_values_have_nine_digits_of_sixty():
    means = made_means(40, 4)
    scatters = ClassScatters(means)
    for x, y in list(sequences(40, 1, 6)):
        expected = oracles.exact_gaussian_distance(means[x], means[y])
        assert scatters.distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_rounding_does_not_add_up_over_updates(monkeypatch):
    means = made_means(300, 12)
    rng = np.random.default_rng(0)
    rows = rng.permutation(300)
    monkeypatch.setattr(scatter, "REFRESH", 10**9)
    scatters = ClassScatters(means)
    for _ in range(500):
        i, j = rng.integers(150), 150 + rng.integers(150)
        rows[[i, j]] = rows[[j, i]]
        found = scatters.distance(rows[:150], rows[150:])
    assert scatters._known[0].age > 400
    expected = frechet_distance(means[rows[:150]], means[rows[150:]])
    assert found == pytest.approx(expected, rel=1e-9)


def test_small_changes_are_updates_and_the_count_is_limited(monkeypatch):
    monkeypatch.setattr(scatter, "REFRESH", 3)
    scatters = ClassScatters(made_means(80, 5))
    ages = []
    for k in range(6):
        rows = np.arange(80)
        rows[k], rows[40 + k] = 40 + k, k
        scatters.distance(rows[:40], rows[40:])
        ages.append(scatters._known[0].age)
    assert ages == [0, 1, 2, 3, 0, 1]
    scatters.distance(rows[40:], rows[:40])
    assert scatters._known[0].age == 0


@pytest.mark.parametrize(("n", "m"), [(2, 60), (60, 2), (9, 50), (10, 11), (11, 30)])
def test_singular_sides_are_right(n, m):
    means = made_means(70, 10)
    rows = np.random.default_rng(0).permutation(70)
    x, y = rows[:n], rows[n : n + m]
    expected = oracles.gaussian_distance(means[x], means[y])
    assert ClassScatters(means).distance(x, y) == pytest.approx(expected, rel=1e-6)
    assert ClassScatters(means).distance(x, y) == pytest.approx(
        frechet_distance(means[x], means[y]), rel=1e-12
    )


def test_a_side_that_is_flat_by_itself_is_right():
    means = made_means(80, 6)
    means[:40, 2:] = 1.0
    found = ClassScatters(means).distance(np.arange(40), np.arange(40, 80))
    assert found == pytest.approx(frechet_distance(means[:40], means[40:]), rel=1e-12)


def test_equal_sides_are_at_no_distance_and_small_distances_keep_their_digits():
    half = made_means(40, 6)
    twice = np.concatenate([half, half])
    assert ClassScatters(twice).distance(np.arange(40), np.arange(40, 80)) == 0
    for shift in (1e-2, 1e-4):
        moved = np.concatenate([half, half + shift])
        found = ClassScatters(moved).distance(np.arange(40), np.arange(40, 80))
        assert found == pytest.approx(6 * shift**2, rel=1e-6)


def test_rows_may_repeat():
    means = made_means(60, 5)
    rng = np.random.default_rng(0)
    scatters = ClassScatters(means)
    for _ in range(4):
        x, y = rng.integers(30, size=30), 30 + rng.integers(30, size=30)
        expected = frechet_distance(means[x], means[y])
        assert scatters.distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_equal_means_are_at_no_distance():
    assert ClassScatters(np.ones((20, 3))).distance(np.arange(10), np.arange(10, 20)) == 0


def test_too_few_classes_are_refused():
    with pytest.raises(ValueError, match="at least 2"):
        ClassScatters(made_means(20, 3)).distance(np.arange(1), np.arange(1, 20))


def test_threads_do_not_disturb_each_other():
    means = made_means(80, 6)
    asked = list(sequences(80, 5, 40))
    expected = [frechet_distance(means[x], means[y]) for x, y in asked]
    scatters = ClassScatters(means)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda sides: scatters.distance(*sides), asked))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("rows_at_once", [1, 7, 1000])
def test_blocks_change_nothing(rows_at_once, monkeypatch):
    means = made_means(60, 5)
    x, y = np.arange(30), np.arange(30, 60)
    monkeypatch.setattr(moments, "_ROWS_AT_ONCE", rows_at_once)
    scatters = ClassScatters(means)
    expected = frechet_distance(means[x], means[y])
    assert scatters.distance(x, y) == pytest.approx(expected, rel=1e-12)
    assert scatters.distance_of_roots(x, y) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(moments.mean_of_rows(means, x), means[x].mean(axis=0), rtol=1e-14)


# Slopes ------------------------------------------------------------------------------------------


def weighted(means, weights, count):
    """The moments of weighted classes, with the covariance's n - 1 of `count` classes."""
    mean = weights @ means
    apart = means - mean
    return SampleMoments(count, mean, (apart * weights[:, None]).T @ apart * count)


@pytest.mark.parametrize("shape", [(60, 5, 30), (60, 5, 20), (200, 30, 100)])
def test_slopes_are_the_derivatives(shape):
    classes, d, n = shape
    means = made_means(classes, d, seed=2)
    x, y = np.arange(n), np.arange(n, classes)
    m = classes - n
    scatters = ClassScatters(means)
    one, other = scatters.slopes(x, y)
    both = scatters.heights(one.less(other))
    alone = scatters.heights(one)
    p, q = (np.bincount(rows, minlength=classes) / len(rows) for rows in (x, y))
    step = 1e-5
    scale = float(np.abs(both).max())
    for u, v in [(0, n), (3, n + 5), (n - 1, classes - 1)]:
        move = np.zeros(classes)
        move[u], move[v] = -step, step

        def at(sign, train, test, move=move):
            a = weighted(means, p + sign * move / n * train, n)
            return moments_distance(a, weighted(means, q - sign * move / m * test, m))

        for heights, train, test in ((both, 1, 1), (alone, 1, 0)):
            slope = (at(1, train, test) - at(-1, train, test)) / (2 * step)
            assert heights[v] - heights[u] == pytest.approx(slope, abs=2e-5 * scale)


def test_slopes_of_singular_sides_are_finite():
    means = made_means(60, 40)
    scatters = ClassScatters(means)
    for x, y in ((np.arange(30), np.arange(30, 60)), (np.arange(5), np.arange(5, 60))):
        for slope in scatters.slopes(x, y):
            assert np.isfinite(scatters.heights(slope)).all()


def test_leading_components_keep_the_distances_of_the_field(monkeypatch):
    means = made_means(70, 6)
    whole = FrechetField.of(means)
    monkeypatch.setattr(frechet, "LARGEST", 20)
    many = FrechetField.of(means)
    assert (whole.exact, many.exact) == (True, False)
    np.testing.assert_allclose(np.abs(many.points), np.abs(whole.points), atol=1e-9)


# Class means in a file ---------------------------------------------------------------------------


@pytest.mark.parametrize("per_class", [1, 3])
def test_means_in_a_file_are_those_in_memory(per_class, monkeypatch):
    embeddings = toy_embeddings(50, per_class, 6)
    whole = class_moments(embeddings)
    monkeypatch.setattr(moments, "MAPPED", 1000)
    mapped = class_moments(embeddings)
    assert (whole.means.dtype, mapped.means.dtype) == (np.float64, np.float32)
    assert np.shares_memory(mapped.means, embeddings.vectors) == (per_class == 1)
    np.testing.assert_allclose(mapped.means, whole.means, rtol=1e-7)
    np.testing.assert_array_equal(mapped.counts, whole.counts)
    np.testing.assert_allclose(mapped.gram(), whole.gram(), rtol=1e-5, atol=1e-5)
    assert centred(mapped.means).dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        mapped.means[0, 0] = 1
    x, y = np.arange(25), np.arange(25, 50)
    monkeypatch.setattr(frechet, "LARGEST", 20)
    near = FRECHET.on(embeddings)(x, y)
    assert near == pytest.approx(frechet_distance(whole.means[x], whole.means[y]), rel=1e-6)


def test_one_vector_a_class_out_of_order_is_put_in_order(monkeypatch):
    embeddings = toy_embeddings(20, 1, 5)
    whole = class_moments(embeddings)
    turned = embeddings.of(embeddings.classes[::-1])
    monkeypatch.setattr(moments, "MAPPED", 100)
    np.testing.assert_array_equal(class_moments(turned).means, whole.means[::-1])


def test_class_means_given_as_lists_are_float64():
    assert ClassMoments(("a", "b"), [1, 1], [[1, 2], [3, 4]]).means.dtype == np.float64
