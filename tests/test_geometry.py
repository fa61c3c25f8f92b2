"""Geometry: equal to plain loops, lawful for every member, the same in blocks, safe at edges."""

from __future__ import annotations

import math

import numpy as np
import oracles_structure as oracles
import pytest
from toys_structure import metric_of

from oodml.errors import DataError, UnknownNameError
from oodml.metrics import geometry, rows
from oodml.metrics.geometry import GEOMETRY_METRICS
from oodml.registry import Name

ORACLES = {
    "intra": oracles.intra,
    "inter": oracles.inter,
    "intra/inter": oracles.intra_over_inter,
    "spectral-decay": lambda vectors, _: oracles.spectral_decay(vectors, 1),
    "spectral-decay@3": lambda vectors, _: oracles.spectral_decay(vectors, 3),
    "spectral-decay@-1": lambda vectors, _: oracles.spectral_decay(vectors, -1),
    "spectral-decay@-2": lambda vectors, _: oracles.spectral_decay(vectors, -2),
    "uniformity": oracles.uniformity,
    "alignment": oracles.alignment,
    "norm-mean": oracles.norm_mean,
    "norm-cv": oracles.norm_cv,
}
every_metric = pytest.mark.parametrize("name", ORACLES)
of_directions = pytest.mark.parametrize("name", [at for at in ORACLES if "norm" not in at])
SEEDS = range(4)


def find(name):
    return metric_of(GEOMETRY_METRICS, name)


def value(name, vectors, groups):
    metric = find(name)
    vectors = np.asarray(vectors, np.float32)
    vectors.flags.writeable = False  # as a memory map comes in
    values = metric.value(metric.observe(vectors, np.asarray(groups)))
    assert values.shape == (1,)
    assert values.dtype == np.float64
    assert metric.low <= values[0] <= metric.high
    return float(values[0])


def data(seed, d=6):
    """Clustered vectors of uneven classes, two of them of one image."""
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(np.arange(7), [1, 1, 2, 3, 4, 6, 8]))
    vectors = rng.normal(size=(7, d))[groups] + 0.7 * rng.normal(size=(len(groups), d))
    return vectors.astype(np.float32), groups


# Oracles -----------------------------------------------------------------------------------------


@every_metric
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("d", [3, 40])
def test_values_equal_the_oracle(name, seed, d):
    vectors, groups = data(seed, d)
    expected = ORACLES[name](vectors.tolist(), groups.tolist())
    assert value(name, vectors, groups) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@every_metric
def test_the_functions_are_the_metrics(name):
    vectors, groups = data(0)
    key, _, k = name.partition("@")
    function = {
        "intra/inter": geometry.intra_over_inter,
        "spectral-decay": lambda v: geometry.spectral_decay(v, int(k or 1)),
    }.get(key) or getattr(geometry, key.replace("-", "_"))
    of_classes = key in ("intra", "inter", "intra/inter", "alignment")
    found = function(vectors, groups) if of_classes else function(vectors)
    assert found == value(name, vectors, groups)


def test_small_singular_values_are_right():
    """A tenth of a millionth of the largest: the Gram matrix, whose values are squares, has noise
    where its square root should be."""
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    rows = np.linalg.qr(rng.normal(size=(4000, 5)))[0] * [1, 1, 1, 1, 3e-7] @ turn
    units = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    exact = units.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    found = geometry.singular_values(units)
    assert found[-1] / found[0] < 1e-6
    np.testing.assert_allclose(found, np.linalg.svd(exact, compute_uv=False), rtol=1e-8)


@every_metric
@pytest.mark.parametrize("block_bytes", [1, 200, 1000])
def test_values_are_the_same_in_any_blocks(name, block_bytes, monkeypatch):
    vectors, groups = data(2)
    whole = value(name, vectors, groups)
    monkeypatch.setattr(rows, "BLOCK_BYTES", block_bytes)
    assert len(list(rows.row_blocks(vectors))) > 1
    assert value(name, vectors, groups) == pytest.approx(whole, rel=1e-12, abs=1e-14)


def test_a_memory_map_is_read_in_blocks(tmp_path, monkeypatch):
    vectors, groups = data(3)
    np.save(tmp_path / "vectors.npy", vectors)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    monkeypatch.setattr(rows, "BLOCK_BYTES", 300)
    for name in ORACLES:
        metric = find(name)
        found = metric.value(metric.observe(mapped, groups))[0]
        assert found == pytest.approx(value(name, vectors, groups), rel=1e-12, abs=1e-14)


# Laws that a metric declares ---------------------------------------------------------------------


def obeys_image_order(name, seed):
    vectors, groups = data(seed)
    order = np.random.default_rng(seed).permutation(len(groups))
    moved = value(name, vectors[order], groups[order])
    assert moved == pytest.approx(value(name, vectors, groups), rel=1e-12, abs=1e-14)


def obeys_class_names(name, seed):
    vectors, groups = data(seed)
    renamed = np.random.default_rng(seed).permutation(7)[groups]
    found = value(name, vectors, renamed)
    assert found == pytest.approx(value(name, vectors, groups), rel=1e-12, abs=1e-14)


def obeys_rotation(name, seed):
    """Up to the rounding of what comes in, which is float32."""
    vectors, groups = data(seed)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(6, 6)))[0]
    assert value(name, vectors @ turn, groups) == pytest.approx(
        value(name, vectors, groups), rel=1e-5
    )


def obeys_row_scaling(name, seed):
    vectors, groups = data(seed)
    scales = 10 ** np.random.default_rng(seed).uniform(-30, 30, size=(len(groups), 1))
    assert value(name, vectors * scales, groups) == pytest.approx(
        value(name, vectors, groups), rel=1e-5
    )


def obeys_scaling(name, seed):
    vectors, groups = data(seed)
    for scale in (1e-20, 3, 1e20):
        found = value(name, vectors * np.float64(scale), groups)
        assert found == pytest.approx(value(name, vectors, groups), rel=1e-5)


def obeys_scales_along(name, seed):
    vectors, groups = data(seed)
    assert value(name, 3 * vectors, groups) == pytest.approx(
        3 * value(name, vectors, groups), rel=1e-5
    )


def obeys_tighter_is_lower(name, seed):
    vectors, groups = data(seed)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    values = []
    for share in (0.0, 0.3, 0.6):
        moved = units.copy()
        for group in range(7):
            images = groups == group
            moved[images] += share * (units[images].mean(axis=0) - units[images])
        values.append(value(name, moved, groups))
    assert values[0] > values[1] > values[2]


def obeys_perfect_is_low(name, seed):
    vectors, groups = data(seed)
    perfect = np.random.default_rng(seed).normal(size=(7, 6))[groups]
    assert value(name, perfect, groups) == pytest.approx(find(name).low, abs=1e-12)
    assert value(name, vectors, groups) > find(name).low + 1e-3


def obeys_orthogonal_is_one(name, seed):
    _, groups = data(seed)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(7, 7)))[0]
    assert value(name, turn[groups], groups) == pytest.approx(1, abs=1e-6)


def obeys_opposite_is_high(name, seed):
    one = np.random.default_rng(seed).normal(size=6)
    assert value(name, [one, -one, -2 * one], [0, 1, 1]) == pytest.approx(find(name).high)


def obeys_opposite_is_low(name, seed):
    one = np.random.default_rng(seed).normal(size=6)
    assert value(name, [one, -one], [0, 1]) == pytest.approx(find(name).low)


def obeys_all_equal_is_high(name, seed):
    one = np.random.default_rng(seed).normal(size=6)
    found = value(name, np.tile(one, (9, 1)), np.arange(9) % 3)
    assert found == pytest.approx(find(name).high, abs=1e-12)


def obeys_flat_is_low(name, seed):
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(6, 6)))[0]
    many = np.concatenate([turn, -turn, turn])  # as many times in each direction
    assert value(name, many, np.arange(18) % 4) == pytest.approx(find(name).low, abs=1e-6)


def obeys_equal_norms_are_low(name, seed):
    vectors, groups = data(seed)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert value(name, 5 * units, groups) == pytest.approx(find(name).low, abs=1e-6)
    assert value(name, vectors, groups) > 0.1


LAWS = {
    name.removeprefix("obeys_").replace("_", "-"): law
    for name, law in list(globals().items())
    if name.startswith("obeys_")
}


@every_metric
def test_every_metric_states_its_laws(name):
    assert find(name).laws
    assert find(name).laws <= LAWS.keys()
    assert {"image-order", "class-names", "rotation"} <= find(name).laws


def test_every_member_has_an_example_and_every_law_a_metric():
    assert {Name.parse(name).key for name in ORACLES} == GEOMETRY_METRICS.keys()
    assert set().union(*(find(name).laws for name in ORACLES)) == LAWS.keys()


@every_metric
@pytest.mark.parametrize("seed", SEEDS)
def test_metrics_obey_their_laws(name, seed):
    for law in sorted(find(name).laws):
        LAWS[law](name, seed)


# What is shared, and names -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ["intra", "inter", "intra/inter", "alignment"],
        ["spectral-decay", "spectral-decay@-1", "spectral-decay@10"],
        ["norm-mean", "norm-cv"],
    ],
)
def test_metrics_share_their_work(names):
    assert len({id(find(name).observe) for name in names}) == 1


@every_metric
def test_a_name_makes_the_metric_of_that_name(name):
    assert find(name).name == name
    assert find("spectral-decay@1").name == "spectral-decay"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("spectral-decay@0", "expected spectral-decay@k with a whole k other than 0"),
        ("spectral-decay@1.5", "expected spectral-decay@k"),
        ("spectral-decay@-", "expected spectral-decay@k"),
        ("intra@2", "'intra@2' is no metric; expected intra."),
        ("norm-cv@x", "expected norm-cv"),
        ("uniformity?t=3", "it takes: none"),
    ],
)
def test_wrong_names_are_refused(name, message):
    with pytest.raises(UnknownNameError, match=message):
        find(name)


# Edges -------------------------------------------------------------------------------------------


@of_directions
def test_zero_vectors_are_refused(name):
    vectors, groups = data(0)
    vectors[[3, 7]] = 0
    with pytest.raises(DataError, match=r"2 of 25 vectors are zero.*\(rows 3, 7\)"):
        value(name, vectors, groups)


@pytest.mark.parametrize("name", ["intra", "intra/inter", "alignment"])
def test_classes_of_one_image_have_no_inner_distance(name):
    with pytest.raises(DataError, match="None of the 7 classes has two images"):
        value(name, np.eye(7), np.arange(7))


@pytest.mark.parametrize("name", ["inter", "intra/inter"])
def test_one_class_has_no_distance_to_another(name):
    with pytest.raises(DataError, match="All images are of one class"):
        value(name, np.eye(4), np.zeros(4, int))


def test_a_class_without_a_mean_direction_is_at_distance_one():
    x, y = [1, 0, 0], [0, 1, 0]
    vectors = [x, np.multiply(x, -3.3), y, y, x]
    assert value("inter", vectors, [0, 0, 1, 1, 2]) == pytest.approx(1)
    assert value("intra", vectors, [0, 0, 1, 1, 2]) == pytest.approx((2 + 0) / 2)


def test_equal_classes_make_a_large_ratio_and_no_more():
    assert value("intra/inter", [[1, 0], [-1, 0], [1, 0], [-1, 0]], [0, 0, 1, 1]) == 2
    mixed = [[1, 0], [0, 1], [1, 0], [0, 1]]
    assert value("intra/inter", mixed, [0, 0, 1, 1]) == pytest.approx(1e8, rel=1e-6)


def test_the_spectrum_of_a_collapsed_set_is_finite():
    equal = np.tile(np.arange(1, 7), (9, 1))
    eps = 2.0**-23
    shares = np.array([1] + 5 * [eps]) / (1 + 5 * eps)
    assert value("spectral-decay", equal, np.zeros(9, int)) == pytest.approx(
        -np.log(6 * shares).mean()
    )
    assert value("spectral-decay@-1", equal, np.zeros(9, int)) == pytest.approx(
        math.log(6), rel=1e-4
    )
    assert value("spectral-decay@2", equal, np.zeros(9, int)) == pytest.approx(0)


def test_more_values_dropped_than_there_are():
    vectors, groups = data(0)
    assert value("spectral-decay@6", vectors, groups) == 0  # one value is flat
    with pytest.raises(DataError, match="drops the 6 largest of the singular values; there are 6"):
        value("spectral-decay@7", vectors, groups)
    with pytest.raises(DataError, match="there are 3"):
        value("spectral-decay@-4", vectors[:3], groups[:3])
    with pytest.raises(ValueError, match="k is 0"):
        geometry.spectral_decay(vectors, 0)


def test_norms_of_zero_vectors():
    assert value("norm-mean", np.zeros((3, 2)), [0, 1, 1]) == 0
    assert value("norm-cv", [[3, 4], [0, 0]], [0, 1]) == pytest.approx(1)
    with pytest.raises(DataError, match="All vectors are zero"):
        value("norm-cv", np.zeros((3, 2)), [0, 1, 1])


def test_uniformity_needs_a_pair():
    with pytest.raises(DataError, match="Uniformity needs at least 2 images; there are 1"):
        geometry.uniformity(np.ones((1, 3), np.float32))


def test_vectors_of_any_size_are_told_apart():
    """Squares of these do not fit float32."""
    vectors = np.array([[1e30, 0], [1e-30, 0], [0, 1e30], [0, 1e-30]])
    assert value("intra", vectors, [0, 0, 1, 1]) == 0
    assert value("inter", vectors, [0, 0, 1, 1]) == pytest.approx(1)
    assert value("norm-mean", vectors, [0, 0, 1, 1]) == pytest.approx(5e29, rel=1e-6)
