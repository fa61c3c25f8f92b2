"""Views and axes of curves, and what sums them up."""

from dataclasses import replace

import numpy as np
import pytest
from curve_cards import SHIFTS, make_cards

from oodml.curve import ags, build_curve, build_curves, compare_methods, retention, slope
from oodml.errors import RunError

TRAINED, FROZEN = make_cards(level=0.7), make_cards("frozen", 0.5, (None,))


# Slope and retention -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_slope_is_that_of_the_least_squares_line(seed):
    rng = np.random.default_rng(seed)
    shift, recall = np.cumsum(rng.uniform(0.1, 9, 7)), rng.random(7)
    x = (shift - shift.min()) / np.ptp(shift)
    assert slope(shift, recall) == pytest.approx(np.polyfit(x, recall, 1)[0])
    assert slope(shift, 0.8 - 0.3 * x) == pytest.approx(-0.3)
    assert slope(shift, np.full(7, 0.4)) == pytest.approx(0, abs=1e-12)
    assert slope(5 * shift + 2, recall) == pytest.approx(slope(shift, recall))


def test_retention_is_what_is_left_above_chance():
    assert retention([0.9, 0.5, 0.5], [0.1, 0.1, 0.1]) == pytest.approx(0.5)
    assert retention([0.9, 0.9], [0.1, 0.1]) == 1
    assert retention([0.9, 0.2], [0.1, 0.2]) == 0
    assert retention([0.5, 0.4], [0.0, 0.2]) == pytest.approx(0.4)
    for recall, chance, message in (
        ([0.1, 0.2], [0.1, 0.1], "not above chance"),
        ([0.1], [0.0], "one chance for each"),
        ([0.1, 0.2], [0.0], "one chance for each"),
        ([float("nan"), 0.2], [0.0, 0.0], "not above chance"),
    ):
        with pytest.raises(ValueError, match=message):
            retention(recall, chance)


def slow_interval(summary, cards):
    """A summary of the mean over seeds, with its half interval; one class and draw at a time."""
    from scipy.stats import t as student

    union = sorted({name for card in cards for name in card.classes})
    place = {name: at for at, name in enumerate(union)}
    seeds = sorted({card.seed for card in cards})
    draws = []
    for drawn in np.random.default_rng(0).integers(len(union), size=(2000, len(union))):
        weights = np.bincount(drawn, minlength=len(union))
        rows = [
            np.mean(
                [
                    (own := weights[[place[name] for name in card.classes]])
                    @ card.sums["recall@1"]
                    / (own @ card.counts)
                    for card in cards
                    if card.rank == rank
                ]
            )
            for rank in range(1, 5)
        ]
        draws.append(summary(rows))
    values = [[c.values["recall@1"] for c in cards if c.seed == seed] for seed in seeds]
    units = [summary(row) for row in values]
    parts = [
        (np.var(draws, ddof=1), len(union) - 1),
        (np.var(units, ddof=1) / len(seeds), len(seeds) - 1),
    ]
    total = sum(variance for variance, _ in parts)
    freedom = total**2 / sum(variance**2 / df for variance, df in parts)
    return summary(np.mean(values, axis=0)), student.ppf(0.975, freedom) * total**0.5


def test_summaries_and_their_intervals_equal_the_slow_ones():
    curve = build_curve(TRAINED)
    for found, summary in (
        (curve.area, lambda row: ags(SHIFTS, row)),
        (curve.slope, lambda row: slope(SHIFTS, row)),
        (curve.retention, lambda row: retention(row, [0.02] * 4)),
    ):
        value, half = slow_interval(summary, TRAINED)
        assert found.value == pytest.approx(value)
        assert found.half == pytest.approx(half)


def test_retention_is_undefined_at_chance_and_unsure_near_it():
    at = [replace(card, chance={"recall@1": 0.9}) for card in TRAINED]
    assert build_curve(at).retention is None
    first = min(c.values["recall@1"] for c in TRAINED if c.rank == 1)
    near = [replace(card, chance={"recall@1": first - 0.005}) for card in TRAINED]
    found = build_curve(near).retention
    assert found.value is not None
    assert found.low is None
    assert "no interval of retention" in build_curve(near).note
    assert build_curve([replace(card, chance={}) for card in TRAINED]).retention is None


# Above the frozen encoder ------------------------------------------------------------------------


def test_minus_frozen_takes_off_what_the_frozen_encoder_scores():
    below, above = build_curves([*TRAINED, *FROZEN])
    (curve,) = build_curves([*TRAINED, *FROZEN], view="minus-frozen")
    assert (curve.method, curve.view) == ("triplet", "minus-frozen")
    np.testing.assert_allclose(curve.mean, above.mean - below.mean)
    assert curve.ags == pytest.approx(above.ags - below.ags)
    assert curve.slope.value == pytest.approx(above.slope.value - below.slope.value)
    assert curve.retention is None
    assert np.isnan(curve.chance).all()
    (pair,) = compare_methods([*TRAINED, *FROZEN]).differences
    for name in ("value", "error", "low", "high"):
        assert getattr(curve.area, name) == pytest.approx(getattr(pair.ags, name))


def test_of_methods_that_find_the_same_classes_hard_the_difference_is_surer():
    trained = make_cards(seeds=(0,), classes=80, spread=0.2)
    frozen = [
        replace(card, method="frozen", seed=None, sums={"recall@1": 0.9 * card.sums["recall@1"]})
        for card in trained
    ]
    _, alone = build_curves([*trained, *frozen])
    (curve,) = build_curves([*trained, *frozen], view="minus-frozen")
    assert (curve.high - curve.low < 0.2 * (alone.high - alone.low)).all()


def test_controls_of_a_method_are_less_those_of_the_frozen_encoder():
    controls = [
        replace(card, control=index, sums={"recall@1": (0.5 + 0.1 * index) * card.counts})
        for card in TRAINED
        for index in range(2)
    ]
    theirs = [
        replace(card, control=index, sums={"recall@1": 0.25 * card.counts})
        for card in FROZEN
        for index in range(2)
    ]
    (curve,) = build_curves([*TRAINED, *FROZEN, *controls, *theirs], view="minus-frozen")
    np.testing.assert_allclose(curve.control, 0.3)
    np.testing.assert_allclose(curve.control_low, 0.25)
    np.testing.assert_allclose(curve.control_high, 0.35)


def test_minus_frozen_needs_the_frozen_encoder_on_the_same_queries():
    with pytest.raises(RunError, match="no results of the frozen encoder 'oodml:hog'"):
        build_curves(TRAINED, view="minus-frozen")
    with pytest.raises(RunError, match="Only the frozen encoder is here"):
        build_curves(FROZEN, view="minus-frozen")
    other = [replace(card, encoder="oodml:pixels") for card in FROZEN]
    with pytest.raises(RunError, match="'oodml:hog' to compare"):
        build_curves([*TRAINED, *other], view="minus-frozen")
    short = [card for card in FROZEN if card.rank < 4]
    with pytest.raises(RunError, match="frozen has no results at rank 4"):
        build_curves([*TRAINED, *short], view="minus-frozen", partial=True)
    both = [*FROZEN, *(replace(card, swapped=True) for card in FROZEN)]
    with pytest.raises(RunError, match="run both alike"):
        build_curves([*TRAINED, *both], view="minus-frozen")
    fewer = [replace(card, counts=card.counts + 1) for card in FROZEN]
    with pytest.raises(RunError, match="different queries"):
        build_curves([*TRAINED, *fewer], view="minus-frozen")


# Galleries of equal size -------------------------------------------------------------------------


def test_equal_galleries_show_recall_in_galleries_of_m_classes():
    cards = [
        replace(card, sums={**card.sums, "recall@1|10": card.sums["recall@1"] * 1.1})
        for card in TRAINED
    ]
    curve = build_curve(cards, view="equal-galleries")
    assert (curve.metric, curve.view) == ("recall@1|10", "equal-galleries")
    np.testing.assert_allclose(curve.mean, 1.1 * build_curve(cards).mean)
    both = [replace(c, sums={**c.sums, "recall@1|5": c.sums["recall@1"]}) for c in cards]
    assert build_curve(both, view="equal-galleries").metric == "recall@1|10"
    assert build_curve(both, "recall@1|5", view="equal-galleries").metric == "recall@1|5"
    some = [*cards[:5], *TRAINED[5:]]
    with pytest.raises(RunError, match=r"oodml run --metric 'recall@1\|15' adds it"):
        build_curve(some, view="equal-galleries")
    nmi = [replace(card, others={"nmi": 0.5}) for card in TRAINED]
    with pytest.raises(RunError, match="Only recall@k has a value for galleries of equal size"):
        build_curve(nmi, "nmi", view="equal-galleries")


# What a curve is drawn against -------------------------------------------------------------------


def test_axes_change_nothing_but_x():
    cards = [replace(card, excess=card.shift - 0.5) for card in TRAINED]
    shift = build_curve(cards)
    for axis, x in (
        ("shift", SHIFTS),
        ("excess", [0.5, 1.5, 3.5, 8.5]),
        ("normalised", [0, 0.125, 0.375, 1]),
        ("rank", [1, 2, 3, 4]),
    ):
        curve = build_curve(cards, x=axis)
        np.testing.assert_allclose(curve.x, x)
        assert (curve.area, curve.slope, curve.axis) == (shift.area, shift.slope, axis)
        np.testing.assert_array_equal(curve.high, shift.high)
    with pytest.raises(ValueError, match="drawn against shift, excess, normalised, rank; not 'y'"):
        build_curve(cards, x="y")


# Both ways ---------------------------------------------------------------------------------------


def test_both_directions_are_averaged_within_a_seed():
    back = [replace(card, swapped=True) for card in make_cards(level=0.5, rng=3)]
    curve = build_curve([*TRAINED, *back])
    ways = [build_curve(cards) for cards in (TRAINED, back)]
    np.testing.assert_allclose(curve.mean, np.mean([way.mean for way in ways], axis=0))
    assert curve.ags == pytest.approx(np.mean([way.ags for way in ways]))
    assert curve.seeds == (0, 1, 2)
    assert curve.note == "both directions averaged"
    some = [card for card in back if card.seed == 0]
    with pytest.raises(RunError, match="no results of seed 1 the other way round, seed 2 the"):
        build_curve([*TRAINED, *some])
    classes = {c for card in [*TRAINED, *back] if card.rank == 1 for c in card.classes}
    assert curve.classes[0] == len(classes)


def test_a_saturated_split_is_said_to_be_no_certainty():
    full = [
        replace(card, sums={"recall@1": card.counts}) if card.rank == 1 else card
        for card in TRAINED
    ]
    curve = build_curve(full)
    assert (curve.low[0], curve.high[0]) == (1, 1)
    assert "all classes score the same at rank 1" in curve.note
    assert "all classes" not in build_curve(TRAINED).note
    frozen = [replace(c, method="frozen", seed=None) for c in full if c.seed == 0]
    (gain,) = build_curves([*full, *frozen], view="minus-frozen")
    assert (gain.mean[0], gain.low[0], gain.high[0]) == (0, 0, 0)
    assert "all classes score the same at rank 1" in gain.note
