"""Measures: equal to the oracle, lawful as they declare, safe at edges."""

from __future__ import annotations

import doctest
import subprocess
import sys
from dataclasses import replace

import numpy as np
import oracles_shift as oracles
import pytest

import oodml.shift
from oodml.embed import EmbeddingSet
from oodml.errors import DataError, SplitError, UnknownNameError
from oodml.shift import (
    MEASURES,
    SampleMoments,
    bures,
    energy,
    find_measure,
    frechet_samples,
    mmd,
    pairs,
    transport,
)
from oodml.shift.frechet import frechet_distance
from oodml.shift.measure import name_variant
from oodml.shift.sample_moments import add_moments, moments_distance, quick_moments_distance

# Every member of the registry by example, with the oracle of each.
MEMBERS = {
    "energy": {"energy": oracles.energy},
    "frechet": {"frechet": oracles.frechet},
    "frechet-pca": {
        "frechet-pca": oracles.frechet_pca(32),
        "frechet-pca?components=2": oracles.frechet_pca(2),
    },
    "frechet-samples": {"frechet-samples": oracles.frechet_samples},
    "mmd": {"mmd": oracles.mmd, "mmd?kernel=polynomial": oracles.mmd_polynomial},
    "sliced-wasserstein": {
        "sliced-wasserstein": oracles.sliced_wasserstein(256, 0),
        "sliced-wasserstein?projections=50&seed=3": oracles.sliced_wasserstein(50, 3),
    },
    "transport": {
        "transport": oracles.transport,
        "transport?diagonal=1": oracles.transport_diagonal,
    },
}
ORACLES = {name: oracle for examples in MEMBERS.values() for name, oracle in examples.items()}
every_measure = pytest.mark.parametrize("name", ORACLES)
SEEDS = range(3)


def test_every_member_is_tested():
    assert set(MEMBERS) == set(MEASURES)
    assert all(name.partition("?")[0] == key for key in MEMBERS for name in MEMBERS[key])


# Data --------------------------------------------------------------------------------------------


def embeddings_of(vectors, labels):
    labels = np.asarray(labels)
    return EmbeddingSet(
        dataset="made",
        classes=tuple(f"c{i:04d}" for i in range(labels.max() + 1)),
        labels=labels,
        ids=tuple(str(i) for i in range(len(labels))),
        vectors=np.asarray(vectors, dtype=np.float64),  # laws hold to float64's rounding
        content_fingerprint="made",
    )


def some_classes(seed, sizes, d):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    spread = 1 / np.arange(1, d + 1)
    vectors = (
        2 * rng.normal(size=(len(sizes), d))[labels] + rng.normal(size=(len(labels), d))
    ) * spread
    return embeddings_of(vectors + 0.5, labels)


def narrow(seed):
    """More images than dimensions, on either side and in some classes; one class of one image."""
    return some_classes(seed, (1, 2, 3, 4, 5, 6, 7, 8, 9, 3, 5), 4)


def wide(seed):
    """Fewer images than dimensions, whichever side."""
    return some_classes(seed, (1, 2, 3, 4, 1, 3, 2, 5), 40)


def doubled(seed):
    """Every class twice, and every image of the second half equal to one of the first."""
    half = some_classes(seed, (1, 4, 2, 3), 5)
    vectors = np.concatenate([half.vectors, half.vectors])
    return embeddings_of(vectors, np.concatenate([half.labels, half.labels + 4]))


def one_dimension(seed):
    return some_classes(seed, (2, 3, 4, 5, 1, 3, 2), 1)


every_shape = pytest.mark.parametrize("make", [narrow, wide, doubled, one_dimension])


def halves(embeddings, seed=0, share=0.5):
    rows = np.random.default_rng(seed).permutation(len(embeddings.classes))
    cut = round(share * len(rows))
    return rows[:cut], rows[cut:]


def class_means(embeddings, rows):
    return oracles.means(embeddings, rows)


def value(name, embeddings, x, y):
    return find_measure(name).on(embeddings)(x, y)


def values(name, embeddings, x, y):
    """Both ways of asking: on the embeddings, and the short form on class means."""
    short = find_measure(name)(class_means(embeddings, x), class_means(embeddings, y))
    return np.array([value(name, embeddings, x, y), short])


def changed(embeddings, function):
    return replace(embeddings, vectors=function(np.asarray(embeddings.vectors)))


def rotation(rng, d):
    return np.linalg.qr(rng.normal(size=(d, d)))[0]


def assert_close(found, expected, relative=1e-9):
    """Equal to so much, where 0 is what rounding leaves of numbers about 1."""
    np.testing.assert_allclose(found, expected, rtol=relative, atol=1e-12)


# Oracles -----------------------------------------------------------------------------------------


@every_measure
@every_shape
@pytest.mark.parametrize("share", [0.5, 0.3])
@pytest.mark.parametrize("seed", SEEDS)
def test_values_equal_the_oracle(name, make, share, seed):
    embeddings = make(seed)
    x, y = halves(embeddings, seed, share)
    # The oracle takes roots of squares, which leaves half of the digits where S is singular.
    expected = ORACLES[name](embeddings, x, y)
    assert value(name, embeddings, x, y) == pytest.approx(expected, rel=1e-6, abs=2e-7)


@every_measure
@pytest.mark.parametrize("make", [narrow, wide])
def test_some_classes_may_be_on_no_side(name, make):
    embeddings = make(7)
    x, y = np.array([1, 4, 6]), np.array([0, 2])
    expected = ORACLES[name](embeddings, x, y)
    assert value(name, embeddings, x, y) == pytest.approx(expected, rel=1e-6, abs=2e-7)


@pytest.mark.parametrize(("n", "m", "d"), [(9, 7, 3), (4, 6, 8), (2, 2, 5), (3, 9, 6)])
@pytest.mark.parametrize("seed", SEEDS)
def test_frechet_has_12_digits(n, m, d, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, d)), 0.3 + rng.normal(size=(m, d)) / np.arange(1, d + 1)
    expected = oracles.exact_gaussian_distance(x, y)
    assert MEASURES["frechet"](x, y) == pytest.approx(expected, rel=1e-12)
    together = embeddings_of(np.concatenate([x, y]), np.arange(n + m))
    for name in ("frechet", "frechet-samples", "frechet-pca?components=100"):
        found = value(name, together, np.arange(n), np.arange(n, n + m))
        assert found == pytest.approx(expected, rel=1e-12)


def test_frechet_equals_the_matrix_root():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(90, 30)), rng.normal(size=(80, 30)) * rng.uniform(0.5, 2, size=30)
    assert MEASURES["frechet"](x, y) == pytest.approx(oracles.sqrtm_distance(x, y), rel=1e-11)


def test_frechet_of_commuting_covariances_is_known():
    """In a common basis of few classes and many dimensions: |gap|^2 + sum (s_x - s_y)^2."""
    rng = np.random.default_rng(1)
    basis = rotation(rng, 300)[:, :12]
    frame = np.linalg.qr(np.column_stack([np.ones(13), rng.normal(size=(13, 12))]))[0][:, 1:]
    s_x, s_y, gap = rng.uniform(0.1, 3, size=(3, 12))
    x = frame * s_x * np.sqrt(12) @ basis.T
    y = (frame * s_y * np.sqrt(12) + gap) @ basis.T
    expected = (gap**2).sum() + ((s_x - s_y) ** 2).sum()
    for name in ("frechet", "frechet-samples", "frechet-pca"):
        assert find_measure(name)(x, y) == pytest.approx(expected, rel=1e-12)


def test_frechet_in_one_dimension_is_that_of_two_gaussians():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(7, 1)), 3 + 2 * rng.normal(size=(5, 1))
    expected = (x.mean() - y.mean()) ** 2 + (x.std(ddof=1) - y.std(ddof=1)) ** 2
    for name in ("frechet", "frechet-samples", "frechet-pca"):
        assert find_measure(name)(x, y) == pytest.approx(expected, rel=1e-12)


def test_pca_with_all_components_is_frechet():
    for make in (narrow, wide):
        embeddings = make(0)
        x, y = halves(embeddings)
        found = value("frechet-pca?components=100", embeddings, x, y)
        assert found == pytest.approx(value("frechet", embeddings, x, y), rel=1e-12)


def test_pca_leaves_out_what_the_components_do_not_see():
    embeddings = narrow(3)
    x, y = halves(embeddings)
    shifts = [value(f"frechet-pca?components={k}", embeddings, x, y) for k in (1, 2, 3, 4)]
    assert shifts == sorted(shifts)
    assert shifts[0] < 0.9 * shifts[-1]


@pytest.mark.parametrize("seed", SEEDS)
def test_transport_of_means_is_the_best_assignment(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    costs = ((x[:, None] - y[None]) ** 2).sum(axis=2)
    assert MEASURES["transport"](x, y) == pytest.approx(oracles.best_assignment(costs), rel=1e-12)


def test_transport_between_equal_numbers_equals_pot():
    import ot

    costs = np.random.default_rng(0).random((20, 20))
    assert transport.optimal_cost(costs) == pytest.approx(ot.emd2([], [], costs), rel=1e-12)


def test_bures_costs_equal_those_of_pot():
    import ot

    embeddings = some_classes(0, (9, 12, 7, 30), 3)
    found = bures.bures_costs(embeddings)
    for i in range(4):
        for j in range(4):
            x, y = oracles.class_vectors(embeddings, i), oracles.class_vectors(embeddings, j)
            expected = ot.gaussian.bures_wasserstein_distance(
                x.mean(axis=0), y.mean(axis=0), np.cov(x.T), np.cov(y.T)
            )
            assert found[i, j] == pytest.approx(expected**2, rel=1e-9, abs=1e-12)


def test_sliced_wasserstein_is_the_square_of_pots():
    import ot

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 3)), rng.normal(size=(6, 3))
    directions = oodml.shift.sliced_wasserstein.draw_directions(3, 256, 0)
    expected = ot.sliced_wasserstein_distance(x, y, projections=directions.T, p=2)
    assert MEASURES["sliced-wasserstein"](x, y) == pytest.approx(expected**2, rel=1e-10)


def test_sliced_wasserstein_of_a_translation_is_its_square_over_the_dimensions():
    x = np.random.default_rng(0).normal(size=(10, 20))
    found = find_measure("sliced-wasserstein?projections=5000")(x, x + 2)
    assert found == pytest.approx(4, rel=0.05)


def test_mmd_with_the_polynomial_kernel_equals_sklearns():
    from sklearn.metrics.pairwise import polynomial_kernel

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 5)), rng.normal(size=(6, 5)) + 1

    def kernel(a, b):
        return polynomial_kernel(a, b, degree=3, gamma=1 / 5, coef0=1).mean()

    expected = kernel(x, x) + kernel(y, y) - 2 * kernel(x, y)
    assert find_measure("mmd?kernel=polynomial")(x, y) == pytest.approx(expected, rel=1e-12)


# Laws that every measure owes --------------------------------------------------------------------


@every_measure
@every_shape
@pytest.mark.parametrize("seed", SEEDS)
def test_a_distance(name, make, seed):
    embeddings = make(seed)
    x, y = halves(embeddings, seed, 0.4)
    scale = values(name, embeddings, x, y).max()
    assert np.isfinite(values(name, embeddings, x, y)).all()
    assert (values(name, embeddings, x, y) >= 0).all()
    assert_close(values(name, embeddings, x, y), values(name, embeddings, y, x))
    for side in (x, y, x[::-1]):
        assert (values(name, embeddings, side, side) <= 1e-12 * max(scale, 1)).all()
        assert value(name, embeddings, side, side[::-1]) <= 1e-12 * max(scale, 1)


@every_measure
@every_shape
def test_a_side_and_its_copy_are_at_no_distance(name, make):
    embeddings = make(0)
    twice = embeddings_of(
        np.concatenate([embeddings.vectors, embeddings.vectors]),
        np.concatenate([embeddings.labels, embeddings.labels + len(embeddings.classes)]),
    )
    rows = np.arange(len(embeddings.classes))
    assert (values(name, twice, rows, rows + len(rows)) <= 1e-12).all()


@every_measure
@every_shape
@pytest.mark.parametrize("seed", SEEDS)
def test_order_of_classes_changes_nothing(name, make, seed):
    embeddings = make(seed)
    x, y = halves(embeddings, seed)
    expected = values(name, embeddings, x, y)
    assert_close(values(name, embeddings, x[::-1], np.roll(y, 1)), expected)
    order = np.random.default_rng(seed).permutation(len(embeddings.classes))
    place = np.argsort(order)
    shuffled = replace(embeddings, labels=place[embeddings.labels])
    assert_close(values(name, shuffled, place[x], place[y]), expected)


@every_measure
@pytest.mark.parametrize("make", [narrow, wide, one_dimension])
def test_grows_with_separation(name, make):
    embeddings = make(1)
    x, y = halves(embeddings)
    centred = changed(embeddings, lambda vectors: vectors - vectors.mean(axis=0))
    direction = np.random.default_rng(0).normal(size=embeddings.vectors.shape[1])
    moving = np.isin(embeddings.labels, y)[:, None] * direction / np.linalg.norm(direction)
    moved = [changed(centred, lambda v, t=t: v + t * moving) for t in (1, 2, 4, 8)]
    shifts = np.array([values(name, one, x, y) for one in moved])
    assert (np.diff(shifts, axis=0) > 0).all()


@every_measure
@every_shape
def test_same_bytes_every_time_and_inputs_unchanged(name, make):
    embeddings = make(2)
    x, y = halves(embeddings)
    before = embeddings.vectors.copy(), x.copy(), y.copy()
    distance = find_measure(name).on(embeddings)
    first = distance(x, y)
    distance(y, x[:2])
    assert distance(x, y) == first
    assert value(name, embeddings, x, y) == first
    a, b = class_means(embeddings, x), class_means(embeddings, y)
    a.flags.writeable = b.flags.writeable = False
    assert find_measure(name)(a, b) == find_measure(name)(a.tolist(), b.tolist())
    for array, copy in zip((embeddings.vectors, x, y), before, strict=True):
        np.testing.assert_array_equal(array, copy)


@every_measure
@every_shape
@pytest.mark.parametrize("share", [0.5, 0.4])
def test_the_short_form_takes_every_class_as_one_image(name, make, share):
    """On all classes; where means are all that is needed, with any number of images."""
    embeddings = make(0)
    x, y = halves(embeddings, 0, share)
    every = class_means(embeddings, range(len(embeddings.classes)))
    single = embeddings_of(every, np.arange(len(every)))
    needy = find_measure(name).needs != "means"
    on, short = values(name, single if needy else embeddings, x, y)
    assert_close(on, short)


# Laws that a measure declares --------------------------------------------------------------------


@every_measure
@every_shape
@pytest.mark.parametrize("seed", SEEDS)
def test_translation(name, make, seed):
    embeddings = make(seed)
    x, y = halves(embeddings, seed)
    before = values(name, embeddings, x, y)
    after = values(name, changed(embeddings, lambda v: v - 3.7), x, y)
    if find_measure(name).laws.translation:
        assert_close(after, before)
    else:
        assert (np.abs(after - before) > 1e-3 * before).all(), "declare that translation holds"


@every_measure
@every_shape
@pytest.mark.parametrize("factor", [1e-3, 7.0, 1e3])
def test_power_under_scaling(name, make, factor):
    embeddings = make(0)
    x, y = halves(embeddings)
    before = values(name, embeddings, x, y)
    after = values(name, changed(embeddings, lambda v: v * factor), x, y)
    power = find_measure(name).laws.power
    if power is None:
        powers = np.log(after / before) / np.log(factor)
        assert (np.abs(powers - np.round(powers)) > 1e-6).all(), "declare this power"
    else:
        np.testing.assert_allclose(after, before * factor**power, rtol=1e-9)


@every_measure
@pytest.mark.parametrize("make", [narrow, wide, doubled])
@pytest.mark.parametrize("seed", SEEDS)
def test_rotation(name, make, seed):
    embeddings = make(seed)
    x, y = halves(embeddings, seed)
    rng = np.random.default_rng(seed)
    before = values(name, embeddings, x, y)
    turns = [rotation(rng, embeddings.vectors.shape[1]) for _ in range(20)]
    after = np.array([values(name, changed(embeddings, lambda v, r=r: v @ r), x, y) for r in turns])
    match find_measure(name).laws.rotation:
        case "exact":
            assert_close(after, np.tile(before, (20, 1)))
        case "statistical":
            error = after.std(axis=0, ddof=1)
            assert (error > 1e-6 * before).all(), "declare that rotation is exact"
            assert (error < 0.3 * before).all()
            assert (np.abs(after.mean(axis=0) - before) < 5 * error).all()
        case None:
            assert (after[:, 0].std() > 1e-6 * before[0]).all(), "declare that rotation is exact"


# What is fixed once per embedding set ------------------------------------------------------------


def test_the_bandwidth_is_the_median_over_all_classes():
    embeddings = narrow(0)
    points = pairs.centred(class_means(embeddings, range(11)))
    apart = [np.linalg.norm(points[i] - points[j]) for i in range(11) for j in range(i)]
    assert mmd.median_distance(points) == pytest.approx(np.median(apart), rel=1e-12)
    x, y, others = np.array([0, 1, 2]), np.array([3, 4]), np.array([5, 6])
    alone = embeddings.of(embeddings.classes[row] for row in (*x, *y))
    fixed = value("mmd", embeddings, x, y)
    assert fixed != pytest.approx(value("mmd", alone, np.arange(3), np.arange(3, 5)), rel=1e-3)
    assert value("mmd", embeddings, x, others) > 0


def test_the_bandwidth_of_many_classes_is_near_the_median(monkeypatch):
    points = pairs.centred(np.random.default_rng(0).normal(size=(600, 3)))
    exact = mmd.median_distance(points)
    monkeypatch.setattr(mmd, "_MEDIAN_CLASSES", 100)
    assert mmd.median_distance(points) == pytest.approx(exact, rel=0.03)
    shuffled = points[np.random.default_rng(1).permutation(600)]
    assert mmd.median_distance(shuffled) == mmd.median_distance(points)


def test_the_bandwidth_does_not_count_equal_classes():
    points = pairs.centred(np.repeat([[0.0], [3.0]], [9, 1], axis=0))
    assert mmd.median_distance(points) == pytest.approx(3, rel=1e-12)
    assert mmd.median_distance(0 * points) == 0


def test_the_seed_draws_other_directions():
    embeddings = narrow(0)
    x, y = halves(embeddings)
    names = ("sliced-wasserstein", "sliced-wasserstein?seed=1", "sliced-wasserstein?seed=2")
    found = [value(name, embeddings, x, y) for name in names]
    assert len({*found}) == 3
    assert np.ptp(found) < 0.3 * np.mean(found)


@pytest.mark.parametrize("make", [narrow, doubled])
def test_moments_of_classes_add_up_to_those_of_sides(make, monkeypatch):
    embeddings = make(0)
    x, y = halves(embeddings)
    expected = value("frechet-samples", embeddings, x, y)
    monkeypatch.setattr(frechet_samples, "_IMAGES", 0)
    assert value("frechet-samples", embeddings, x, y) == pytest.approx(expected, rel=1e-10)
    monkeypatch.setattr(frechet_samples, "_BUDGET", 0)
    assert value("frechet-samples", embeddings, x, y) == expected


def test_large_sets_take_other_ways_to_the_same_value(monkeypatch):
    embeddings = narrow(4)
    x, y = halves(embeddings)
    expected = {name: values(name, embeddings, x, y) for name in ORACLES}
    monkeypatch.setattr(pairs, "CACHED_CLASSES", 0)
    monkeypatch.setattr(transport, "CACHED_CLASSES", 0)
    monkeypatch.setattr(pairs, "_BLOCK", 3)
    monkeypatch.setattr(bures, "_TILE_ROWS", 5)
    for name in ORACLES:
        assert_close(values(name, embeddings, x, y), expected[name], relative=1e-11)
        assert (values(name, embeddings, x, x) <= 1e-12).all()


# Moments of samples ------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_streamed_moments_equal_one_pass(offset):
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(5000, 6)) + offset).astype(np.float32)
    exact = vectors.astype(np.float64)
    parts = [SampleMoments.of(part) for part in np.split(vectors, [1, 2, 700, 702, 4400])]
    left = parts[0]
    for part in parts[1:]:
        left = left.merge(part)
    right = parts[5].merge(parts[4]).merge(parts[3].merge(parts[2])).merge(parts[1].merge(parts[0]))
    for moments in (SampleMoments.of(vectors), left, right, add_moments(parts)):
        assert moments.count == 5000
        np.testing.assert_allclose(moments.mean, exact.mean(axis=0), rtol=1e-13, atol=1e-15)
        covariance = np.cov(exact, rowvar=False)
        np.testing.assert_allclose(moments.covariance(), covariance, rtol=1e-9, atol=1e-11)
        with pytest.raises(ValueError, match="read-only"):
            moments.scatter[0, 0] = 1


@pytest.mark.parametrize(
    ("n", "d", "power"), [(70, 40, 0), (400, 40, 1), (45, 40, 1), (300, 40, 2)]
)
@pytest.mark.parametrize("seed", SEEDS)
def test_moments_have_9_digits(n, d, power, seed):
    rng = np.random.default_rng(seed)
    spread = np.arange(1.0, d + 1) ** -power
    x, y = (rng.normal(size=(n, d)) * spread @ rotation(np.random.default_rng(9), d) for _ in "xy")
    found = moments_distance(SampleMoments.of(x), SampleMoments.of(y))
    assert found == pytest.approx(frechet_distance(x, y), rel=1e-9)
    if power < 2:  # beyond, the oracle's own rounding shows
        assert found == pytest.approx(oracles.gaussian_distance(x, y), rel=1e-9)


@pytest.mark.parametrize("rank", [1, 3, 10])
def test_moments_of_singular_covariances(rank):
    """More images than dimensions, in few directions: constant pixels, say, or equal features."""
    rng = np.random.default_rng(rank)
    turn = rotation(rng, 30)
    x, y = (rng.normal(size=(50, rank)) @ turn[:rank] + 1 for _ in "xy")
    one, other = SampleMoments.of(x), SampleMoments.of(y)
    assert quick_moments_distance(one, other) is None
    expected = frechet_distance(x, y)
    assert moments_distance(one, other) == pytest.approx(expected, rel=1e-9)
    full = SampleMoments.of(rng.normal(size=(50, 30)))
    assert moments_distance(one, full) == pytest.approx(moments_distance(full, one), rel=1e-7)
    together = embeddings_of(np.concatenate([x, y]), np.repeat(np.arange(4), 25))
    found = value("frechet-samples", together, np.array([0, 1]), np.array([2, 3]))
    assert found == pytest.approx(expected, rel=1e-12)


def test_moments_without_any_spread():
    one, other = SampleMoments.of(np.ones((5, 3))), SampleMoments.of(np.full((4, 3), 2.0))
    assert moments_distance(one, other) == pytest.approx(3, rel=1e-12)
    assert moments_distance(one, one) == 0


def test_moments_that_cannot_be():
    with pytest.raises(ValueError, match="The covariance of 1 image"):
        SampleMoments.of(np.ones((1, 3))).covariance()
    with pytest.raises(ValueError, match="Moments of 0 images"):
        SampleMoments.of(np.ones((0, 3)))
    with pytest.raises(ValueError, match=r"mean of shape \(2,\), scatter of shape \(3, 3\)"):
        SampleMoments(4, np.zeros(2), np.eye(3))


# Edges -------------------------------------------------------------------------------------------


@every_measure
@pytest.mark.parametrize("d", [1, 3, 50])
@pytest.mark.parametrize("images", [1, 4])
def test_identical_means_are_at_no_distance(name, d, images):
    vector = np.random.default_rng(d).normal(size=d).astype(np.float32)
    equal = embeddings_of(np.tile(vector, (6 * images, 1)), np.repeat(np.arange(6), images))
    for x, y in ((np.arange(3), np.arange(3, 6)), (np.arange(2), np.arange(2, 6))):
        assert values(name, equal, x, y).tolist() == [0, 0]


@pytest.mark.parametrize("name", ["transport", "transport?diagonal=1"])
def test_classes_of_one_image_have_no_covariance(name):
    embeddings = some_classes(0, (1, 1, 1, 1, 1), 4)
    on, short = values(name, embeddings, np.array([0, 1]), np.array([2, 3, 4]))
    assert on == pytest.approx(short, rel=1e-12)


def test_transport_counts_the_spread_of_classes():
    """Two classes of one mean, spread along different axes: the cost is of covariances alone."""
    a = np.array([[1.0, 0], [-1, 0]])
    pairs_of = np.concatenate([a, a + 10, a[:, ::-1], a[:, ::-1] + 10])
    embeddings = embeddings_of(pairs_of, np.repeat(np.arange(4), 2))
    for name in ("transport", "transport?diagonal=1"):
        on, short = values(name, embeddings, np.array([0, 1]), np.array([2, 3]))
        assert on == pytest.approx(4, rel=1e-12)
        assert short == pytest.approx(0, abs=1e-12)


@every_measure
def test_one_class_a_side_is_refused(name):
    embeddings = narrow(0)
    two, one = np.array([0, 1]), np.array([2])
    for x, y in ((two, one), (one, two), (two, two[:0])):
        with pytest.raises(ValueError, match=f"Sides of {len(x)} and {len(y)} classes"):
            value(name, embeddings, x, y)
        with pytest.raises(ValueError, match=f"Sides of {len(x)} and {len(y)} classes"):
            find_measure(name)(embeddings.vectors[x], embeddings.vectors[y])


@every_measure
@pytest.mark.parametrize(
    ("x", "y"),
    [((3, 2), (3, 4)), ((3,), (3,)), ((3, 2), (3,)), ((3, 0), (3, 0)), ((2, 3, 1), (2, 3))],
)
def test_shapes_that_do_not_agree_are_refused(name, x, y):
    with pytest.raises(ValueError, match=r"Sides of shapes .* expected \(n, d\) and \(m, d\)"):
        find_measure(name)(np.zeros(x), np.zeros(y))


@every_measure
@pytest.mark.parametrize("what", [np.nan, np.inf])
def test_vectors_that_are_no_numbers_are_refused(name, what):
    good, bad = np.eye(4), np.eye(4)
    bad[2, 1] = what
    with pytest.raises(DataError, match=r"second side: 1 rows hold NaN or infinity \(rows 2\)"):
        find_measure(name)(good, bad)
    with pytest.raises(DataError, match="first side"):
        find_measure(name)(bad, good)
    with pytest.raises(DataError, match="NaN or infinity"):
        embeddings_of(bad, [0, 1, 2, 3])


def test_transport_of_many_classes_needs_diagonals():
    labels = np.arange(transport.MOST_CLASSES + 1)
    embeddings = embeddings_of(np.random.default_rng(0).normal(size=(len(labels), 2)), labels)
    with pytest.raises(SplitError, match=r"'made' has 2001 classes; .* use transport\?diagonal=1"):
        find_measure("transport").on(embeddings)
    x, y = labels[:40], labels[40:90]
    found = value("transport?diagonal=1", embeddings, x, y)
    short = MEASURES["transport"](embeddings.vectors[x], embeddings.vectors[y])
    assert found == pytest.approx(short, rel=1e-12)


def test_transport_of_too_many_images_needs_diagonals(monkeypatch):
    monkeypatch.setattr(bures, "_BUDGET", 1 << 10)
    embeddings = narrow(0)
    with pytest.raises(SplitError, match=r"'made' take 0\.0 GiB; .* use transport\?diagonal=1"):
        value("transport", embeddings, *halves(embeddings))


def test_a_transport_that_is_not_found_says_so(monkeypatch):
    monkeypatch.setattr(transport, "_ITERATIONS", 1)
    rng = np.random.default_rng(0)
    with (
        pytest.warns(UserWarning, match="numItermax reached"),
        pytest.raises(SplitError, match="No optimal transport of 20 to 30 classes was found"),
    ):
        MEASURES["transport"](rng.normal(size=(20, 3)), rng.normal(size=(30, 3)))


# Names -------------------------------------------------------------------------------------------


@every_measure
def test_a_measure_bears_the_name_it_is_found_by(name):
    measure = find_measure(name)
    assert measure.name == name
    assert (measure.variant is None) == (not measure.parameters)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("mmd?kernel=rbf", "mmd"),
        ("transport?diagonal=0", "transport"),
        ("transport?diagonal=true", "transport?diagonal=1"),
        ("frechet-pca?components=32", "frechet-pca"),
        ("sliced-wasserstein?seed=1&projections=9", "sliced-wasserstein?projections=9&seed=1"),
        ("sliced-wasserstein?seed=0&projections=256", "sliced-wasserstein"),
    ],
)
def test_a_variant_has_one_name(name, short):
    assert find_measure(name).name == short


def test_members_are_the_variants_with_defaults():
    for name, measure in MEASURES.items():
        assert measure.name == name
        assert find_measure(name).parameters == measure.parameters
        if measure.variant is not None:
            assert measure.variant().name == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("frechett", "'frechett' is not among the measures; nearest: frechet"),
        ("frechet?eps=1", "has no parameter 'eps'; it takes: none"),
        ("frechet:means", "'frechet:means' is no measure"),
        ("mmd?kernel=cubic", "'cubic' is not among the kernels of mmd: rbf, polynomial"),
        ("mmd?bandwidth=1", "no parameter 'bandwidth'; it takes: kernel"),
        ("frechet-pca?components=0", "with 0 components; expected at least 1"),
        ("frechet-pca?components=few", "components is 'few'; expected a int such as 32"),
        ("sliced-wasserstein?projections=0", "with 0 projections and seed 0"),
        ("sliced-wasserstein?seed=-1", "with 256 projections and seed -1"),
        ("transport?diagonal=2", "diagonal is '2'"),
    ],
)
def test_unknown_names_say_what_is_possible(name, message):
    with pytest.raises(UnknownNameError, match=message):
        find_measure(name)


# The module --------------------------------------------------------------------------------------


def test_public_names_are_there():
    names = oodml.shift.__all__
    assert sorted(names) == sorted({*names})
    assert all(hasattr(oodml.shift, name) for name in names)


def test_examples_in_docstrings():
    for module in (energy, transport, oodml.shift.frechet, oodml.shift.measure):
        assert doctest.testmod(module) == (0, 1)
    assert name_variant("a", {"b": 1}, {"b": 1}) == "a"


def test_measuring_loads_nothing_heavy():
    code = """
import sys
import numpy as np
from oodml.shift import MEASURES
for measure in MEASURES.values():
    measure(np.eye(4), np.eye(4)[::-1] + 1)
print({"torch", "ot", "sklearn", "matplotlib"} & {*sys.modules})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
