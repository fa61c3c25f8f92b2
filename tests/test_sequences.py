"""Several sequences of one search."""

from dataclasses import replace

import numpy as np
import pytest
from curve_cards import SHIFTS, make_cards

from oodml.curve import across_sequences, ags, build_curve
from oodml.errors import RunError


def cards_of(sequences=3, methods=("a",), seeds=(0, 1, 2)):
    return [
        replace(card, sequence=f"{number}" * 64, search="optimal")
        for number in range(sequences)
        for at, method in enumerate(methods)
        for card in make_cards(method, 0.6 - 0.1 * at + 0.01 * number, seeds, rng=number)
    ]


def test_the_mean_over_sequences_has_the_variance_between_them():
    cards = cards_of()
    (spread,) = across_sequences(cards)
    curves = [build_curve([c for c in cards if c.sequence[0] == str(n)]) for n in range(3)]
    each = [curve.ags for curve in curves]
    assert [curve.ags for curve in spread.curves] == pytest.approx(each)
    assert spread.ags.value == pytest.approx(np.mean(each))
    assert spread.between == pytest.approx(np.std(each, ddof=1))
    seeds = [
        [
            ags(SHIFTS, [c.values["recall@1"] for c in cards if (c.sequence[0], c.seed) == key])
            for key in ((str(n), 0), (str(n), 1), (str(n), 2))
        ]
        for n in range(3)
    ]
    within = np.mean([np.var(values, ddof=1) / 3 for values in seeds])
    assert spread.within == pytest.approx(np.sqrt(within))
    assert spread.ags.error**2 > np.var(each, ddof=1) / 3


def test_classes_are_drawn_together_for_all_sequences():
    """Sequences with the same cards differ in nothing: only the choice of classes is left."""
    cards = [replace(c, sequence=n * 64, search="x") for n in "123" for c in make_cards(seeds=(0,))]
    (spread,) = across_sequences(cards)
    alone = build_curve([c for c in cards if c.sequence[0] == "1"])
    assert spread.between == pytest.approx(0, abs=1e-12)
    assert spread.ags.error == pytest.approx(alone.area.error)
    assert spread.within is None


def test_methods_come_in_order_and_as_json():
    cards = [*cards_of(methods=("low", "lower")), *cards_of(methods=("frozen",), seeds=(None,))]
    spreads = across_sequences(cards)
    assert [spread.label for spread in spreads] == ["frozen", "low", "lower"]
    record = spreads[1].to_json()
    assert record["sequences"] == [n * 64 for n in "012"]
    assert record["ags"] == pytest.approx(np.mean(record["each"]))
    (gain,) = across_sequences([c for c in cards if c.method != "lower"], view="minus-frozen")
    assert gain.ags.value == pytest.approx(spreads[1].ags.value - spreads[0].ags.value)


def test_what_is_no_set_of_sequences_is_one_sentence():
    with pytest.raises(RunError, match="There are 1 sequences"):
        across_sequences(cards_of(1))
    mixed = [replace(c, search="ooDML") if c.sequence[0] == "0" else c for c in cards_of()]
    with pytest.raises(RunError, match="two or more of one known search"):
        across_sequences(mixed)
    some = [c for c in cards_of(methods=("a", "b")) if (c.method, c.sequence[0]) != ("b", "2")]
    with pytest.raises(RunError, match="'b' has results on 2 of 3 sequences"):
        across_sequences(some)
    with pytest.raises(RunError, match="no results at rank 4"):
        across_sequences([c for c in cards_of() if (c.sequence[0], c.rank) != ("1", 4)])
    with pytest.raises(RunError, match="has no AGS on sequence 0000"):
        across_sequences([replace(card, shift=None) for card in cards_of()])
    with pytest.raises(RunError, match="differ in data set"):
        across_sequences([*cards_of(), *(replace(c, dataset="x") for c in make_cards("a"))])
    with pytest.raises(RunError, match="of one known search"):
        across_sequences([replace(card, search=None) for card in cards_of()])


def test_of_a_distance_the_lowest_comes_first():
    cards = [
        replace(card, sums={}, others={"intra": card.values["recall@1"]})
        for card in cards_of(methods=("high", "low"))
    ]
    assert [spread.label for spread in across_sequences(cards, "intra")] == ["low", "high"]
