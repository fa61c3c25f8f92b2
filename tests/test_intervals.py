"""Intervals of curves against slow ones, one class and one replicate at a time."""

from dataclasses import replace

import numpy as np
import pytest
from curve_cards import SHIFTS, make_cards

from oodml.curve import build_curve

# Intervals ---------------------------------------------------------------------------------------


def slow_value(card, union, draw):
    """The recall of a card on the classes drawn; None where none of them is its own."""
    top, bottom = 0.0, 0
    for index in draw:
        if union[index] in card.classes:
            at = card.classes.index(union[index])
            top += card.sums["recall@1"][at]
            bottom += card.counts[at]
    return top / bottom if bottom else None


def slow_half_width(class_values, seed_values, classes):
    from scipy.stats import t as student

    kept = [value for value in class_values if value is not None]
    v1, d1 = np.var(kept, ddof=1), classes - 1
    v2, d2 = np.var(seed_values, ddof=1) / len(seed_values), len(seed_values) - 1
    freedom = (v1 + v2) ** 2 / (v1**2 / d1 + v2**2 / d2)
    return student.ppf(0.975, freedom) * (v1 + v2) ** 0.5


def slow_area(y):
    x = [(shift - SHIFTS[0]) / (SHIFTS[-1] - SHIFTS[0]) for shift in SHIFTS]
    return sum((x[i + 1] - x[i]) * (y[i] + y[i + 1]) / 2 for i in range(3))


def test_intervals_equal_the_slow_ones():
    """Section 9 of the design, one class, one replicate and one card at a time."""
    seeds, ranks = (0, 1, 2), (1, 2, 3, 4)
    cards = make_cards(seeds=seeds, classes=12, spread=0.05)
    of = {(card.seed, card.rank): card for card in cards}
    union = sorted({name for card in cards for name in card.classes})
    resampled = {rank: [] for rank in ranks}
    for draw in np.random.default_rng(0).integers(len(union), size=(2000, len(union))):
        for rank in ranks:
            values = [slow_value(of[seed, rank], union, draw) for seed in seeds]
            resampled[rank].append(None if None in values else np.mean(values))
    areas = [
        None if None in row else slow_area(row) for row in zip(*resampled.values(), strict=True)
    ]
    assert None in areas, "no replicate left a split empty; the test needs fewer classes"
    curve = build_curve(cards)
    for at, rank in enumerate(ranks):
        values = [of[seed, rank].values["recall@1"] for seed in seeds]
        half = slow_half_width(resampled[rank], values, 6)
        assert curve.mean[at] == pytest.approx(np.mean(values))
        assert curve.high[at] == pytest.approx(min(1, np.mean(values) + half), rel=1e-9)
        assert curve.low[at] == pytest.approx(max(0, np.mean(values) - half), rel=1e-9)
    values = [slow_area([of[seed, rank].values["recall@1"] for rank in ranks]) for seed in seeds]
    half = slow_half_width(areas, values, len(union))
    assert curve.ags == pytest.approx(np.mean(values))
    assert curve.area.high == pytest.approx(np.mean(values) + half, rel=1e-9)
    assert curve.area.low == pytest.approx(np.mean(values) - half, rel=1e-9)


def test_class_part_is_near_the_textbook_standard_error():
    (card,) = make_cards(seeds=(None,), splits=1, classes=400)
    curve = build_curve([card])
    residuals = card.sums["recall@1"] - curve.mean[0] * card.counts
    error = np.sqrt(np.sum(residuals**2)) / card.counts.sum()
    assert curve.high[0] - curve.mean[0] == pytest.approx(1.97 * error, rel=0.06)


def test_many_classes_are_drawn_in_blocks_with_the_same_result(monkeypatch):
    cards = make_cards()
    whole = build_curve(cards)
    monkeypatch.setattr("oodml.curve.bootstrap._BLOCK", 1000)
    blocks = build_curve(cards)
    np.testing.assert_allclose(blocks.low, whole.low, rtol=1e-9)


def test_intervals_stay_between_0_and_1():
    for level in (0.01, 0.99):
        curve = build_curve(make_cards(level=level, classes=8, spread=0.3))
        assert (curve.low >= 0).all()
        assert (curve.high <= 1).all()
        assert (curve.low <= curve.mean).all()
        assert (curve.mean <= curve.high).all()
    assert (build_curve(make_cards(level=0.01, classes=8)).low == 0).any()


def test_a_perfect_score_has_an_interval_of_no_width():
    curve = build_curve(make_cards(level=2.0))
    np.testing.assert_array_equal(curve.low, 1.0)
    assert curve.ags == curve.area.low == curve.area.high == 1.0


def test_more_seeds_never_hide_that_there_was_one():
    assert build_curve(make_cards()).note == ""
    one = build_curve(make_cards(seeds=(7,)))
    assert one.note == "one seed: intervals cover the choice of classes only"
    assert one.seeds == (7,)
    fixed = build_curve(make_cards(seeds=(None,)))
    assert fixed.note == "deterministic: intervals cover the choice of classes only"
    assert fixed.seeds == ()


def test_one_test_class_says_nothing_on_others():
    cards = make_cards()
    lone = [
        replace(
            card, classes=card.classes[:1], counts=card.counts[:1], sums={"recall@1": [card.rank]}
        )
        if card.rank == 2
        else card
        for card in cards
    ]
    curve = build_curve(lone)
    assert np.isnan(curve.low).tolist() == [False, True, False, False]
    assert curve.ags is not None
    assert curve.area.low is None
    assert "one test class at rank 2" in curve.note
    assert curve.to_json()["low"][1] is None


def test_episodes_of_a_seed_share_its_model_and_are_averaged():
    first, second = make_cards(seeds=(0, 1)), make_cards(seeds=(0, 1), rng=0, level=0.5)
    episodes = [
        replace(card, episode=number, shots=2)
        for number, cards in enumerate((first, second))
        for card in cards
    ]
    curve = build_curve(episodes)
    plain = [build_curve(cards).mean for cards in (first, second)]
    np.testing.assert_allclose(curve.mean, np.mean(plain, axis=0))
    assert curve.seeds == (0, 1)
    alone = build_curve([card for card in episodes if card.seed == 0])
    assert alone.note.endswith("cover the choice of classes and of labelled images only")
