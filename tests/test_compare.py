"""Methods against each other."""

from dataclasses import replace

import numpy as np
import pytest
from curve_cards import SHIFTS, make_cards

from oodml.curve import build_curve, build_curves, gains, rank_correlation
from oodml.errors import RunError

# Two curves --------------------------------------------------------------------------------------


def test_gains_are_differences_of_means_on_the_same_queries():
    ours, frozen = make_cards(level=0.7), make_cards("frozen", 0.5, (None,))
    x, gain = gains([*ours, *frozen], "triplet")
    below, above = build_curves([*ours, *frozen])
    np.testing.assert_array_equal(x, SHIFTS)
    np.testing.assert_allclose(gain, above.mean - below.mean)
    with pytest.raises(RunError, match="frozen: no results at rank 3, 4"):
        gains([*ours, *frozen[:2]], "triplet")


def test_gains_need_one_curve_each_and_the_same_queries():
    ours, frozen = make_cards(), make_cards("frozen", 0.5, (None,))
    with pytest.raises(RunError, match="'margin', found 0"):
        gains([*ours, *frozen], "margin")
    with pytest.raises(RunError, match="'frozen' with encoder 'oodml:hog', found 0"):
        gains([*ours, *(replace(card, encoder="oodml:pixels") for card in frozen)], "triplet")
    fewer = [replace(card, counts=card.counts + 1) for card in frozen]
    with pytest.raises(RunError, match="different queries"):
        gains([*ours, *fewer], "triplet")


def test_rank_correlation():
    assert rank_correlation([1, 2, 3, 4], [1, 8, 9, 100]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert rank_correlation([1, 2, 3], [5, 5, 5]) is None
    for x, y in (([1], [2]), ([1, 2], [1]), ([1, 2], [1, float("nan")])):
        with pytest.raises(ValueError, match="Expected"):
            rank_correlation(x, y)


def test_unknown_shifts_leave_no_ags_and_are_null():
    cards = [replace(card, shift=None) for card in make_cards()]
    curve = build_curve(cards)
    assert curve.ags is None
    assert "the shift does not grow" in curve.note
    assert curve.to_json()["x"] == [None] * 4
    assert curve.ranks == (1, 2, 3, 4)
