"""Methods against each other."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from curve_cards import SHIFTS, make_cards

from oodml.curve import (
    ags,
    benjamini_hochberg,
    build_curves,
    compare_methods,
    gains,
    holm,
    rank_correlation,
)
from oodml.errors import RunError


def several(*levels, seeds=(0, 1, 2), **options):
    """Cards of methods a, b, c, ... at some levels, on the same classes."""
    return [
        card
        for at, level in enumerate(levels)
        for card in make_cards("abcdefgh"[at], level, seeds, **options)
    ]


# Many tests at once ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_holm_rejects_what_the_step_down_rule_rejects(seed):
    rng = np.random.default_rng(seed)
    p = np.round(rng.random(rng.integers(1, 9)) ** 3, 2)  # with ties
    for level in (0.01, 0.05, 0.2, 0.5):
        rejected = set()
        for step, at in enumerate(np.argsort(p, kind="stable")):
            if p[at] * (len(p) - step) > level:
                break
            rejected.add(int(at))
        assert set(np.flatnonzero(holm(p) <= level)) == rejected


@pytest.mark.parametrize("seed", range(20))
def test_benjamini_hochberg_is_that_of_scipy(seed):
    from scipy.stats import false_discovery_control

    rng = np.random.default_rng(seed)
    p = np.round(rng.random(rng.integers(1, 9)) ** 3, 2)
    np.testing.assert_allclose(benjamini_hochberg(p), false_discovery_control(p), rtol=1e-12)


def test_adjusted_p_values_are_never_smaller_and_keep_their_order():
    p = np.random.default_rng(0).random(12)
    for adjust in (holm, benjamini_hochberg):
        found = adjust(p)
        assert (found >= p).all()
        assert (found <= 1).all()
        assert (np.diff(found[np.argsort(p)]) >= 0).all()
        assert adjust([0.2]).tolist() == [0.2]
        assert adjust([]).tolist() == []
        for wrong in ([0.5, 1.5], [float("nan")], [[0.5]]):
            with pytest.raises(ValueError, match="p values from 0 to 1"):
                adjust(wrong)


# Differences -------------------------------------------------------------------------------------


def slow_difference(one, other):
    """AGS of the difference on the same draws of classes; both methods' seeds are apart."""
    from scipy.stats import t as student

    union = sorted({name for card in one for name in card.classes})
    place = {name: at for at, name in enumerate(union)}
    draws = []
    for drawn in np.random.default_rng(0).integers(len(union), size=(2000, len(union))):
        weights = np.bincount(drawn, minlength=len(union))
        curves = []
        for cards in (one, other):
            by_rank = {rank: [] for rank in range(1, 5)}
            for card in cards:
                own = weights[[place[name] for name in card.classes]]
                by_rank[card.rank].append(own @ card.sums["recall@1"] / (own @ card.counts))
            curves.append([np.mean(values) for values in by_rank.values()])
        draws.append(ags(SHIFTS, np.subtract(*curves)))
    parts = [(np.var(draws, ddof=1), len(union) - 1)]
    means = []
    for cards in (one, other):
        seeds = sorted({card.seed for card in cards})
        values = [
            ags(SHIFTS, [card.values["recall@1"] for card in cards if card.seed == seed])
            for seed in seeds
        ]
        means.append(np.mean(values))
        if len(seeds) > 1:
            parts.append((np.var(values, ddof=1) / len(seeds), len(seeds) - 1))
    total = sum(variance for variance, _ in parts)
    freedom = total**2 / sum(variance**2 / df for variance, df in parts)
    value, error = means[0] - means[1], total**0.5
    half = student.ppf(0.975, freedom) * error
    return value, value - half, value + half, 2 * student.sf(abs(value) / error, freedom)


@pytest.mark.parametrize("seeds", [(0, 1, 2), (0, 1, 2, 3, 4)])
def test_a_difference_equals_the_slow_one(seeds):
    one, other = make_cards("a", 0.62), make_cards("b", 0.6, seeds, rng=7)
    shared = {card.rank: card for card in one}
    other = [  # of the other cards, recalls on the classes and counts of the first ones
        replace(
            card,
            classes=shared[card.rank].classes,
            counts=shared[card.rank].counts,
            sums={"recall@1": card.sums["recall@1"] / card.counts * shared[card.rank].counts},
        )
        for card in other
    ]
    (pair,) = compare_methods([*one, *other]).differences
    if pair.one == "b":
        one, other = other, one
    value, low, high, p = slow_difference(one, other)
    assert pair.ags.value == pytest.approx(value)
    assert (pair.ags.low, pair.ags.high) == pytest.approx((low, high))
    assert pair.p == pytest.approx(p)
    assert pair.adjusted == pair.p


def test_pairing_finds_what_the_intervals_of_single_methods_hide():
    """The classes are of very different difficulty, but the same for both methods."""
    easy = make_cards("a", 0.60, (None,), spread=0.3, classes=60)
    better = [
        replace(
            card,
            method="b",
            sums={"recall@1": np.minimum(card.sums["recall@1"] + 0.03 * card.counts, card.counts)},
        )
        for card in easy
    ]
    above, below = build_curves([*easy, *better])
    assert above.area.low < below.area.high
    comparison = compare_methods([*easy, *better])
    assert comparison.differences[0].significant
    assert [(place.method, place.best, place.worst) for place in comparison.places] == [
        ("b", 1, 1),
        ("a", 2, 2),
    ]


def test_places_count_the_significantly_better_and_worse():
    comparison = compare_methods(several(0.75, 0.752, 0.6, 0.4))
    better = {name: set() for name in "abcd"}
    for pair in comparison.differences:
        if pair.adjusted < 0.05:
            ahead, behind = (pair.one, pair.other)[:: 1 if pair.ags.value > 0 else -1]
            better[behind].add(ahead)
    for place in comparison.places:
        worse = sum(place.method in names for names in better.values())
        assert (place.best, place.worst) == (1 + len(better[place.method]), 4 - worse)
    assert {str(place) for place in comparison.places} == {"1–2", "3", "4"}
    assert len(comparison.differences) == 6


def test_of_a_distance_the_lowest_is_the_best():
    cards = several(0.7, 0.5)
    cards = [
        replace(
            card,
            sums={},
            others={"intra": card.values["recall@1"]},
            replicates={"intra": card.values["recall@1"] + np.linspace(-1e-3, 1e-3, 20)},
        )
        for card in cards
    ]
    comparison = compare_methods(cards, "intra")
    assert [(place.method, str(place)) for place in comparison.places] == [("b", "1"), ("a", "2")]
    assert comparison.order.best_first == "b"
    assert comparison.order.changes is None


def test_order_of_cards_seeds_and_methods_is_irrelevant():
    cards = [*several(0.62, 0.6, 0.58), *make_cards("frozen", 0.5, (None,))]
    expected = json.dumps(compare_methods(cards).to_json())
    for seed in range(3):
        shuffled = [cards[at] for at in np.random.default_rng(seed).permutation(len(cards))]
        assert json.dumps(compare_methods(shuffled).to_json()) == expected
    turned = [replace(c, seed=None if c.seed is None else 2 - c.seed) for c in cards]
    for pair, other in zip(
        compare_methods(cards).differences, compare_methods(turned).differences, strict=True
    ):
        assert pair.ags.error == pytest.approx(other.ags.error)
    names = dict(zip("abc", "cab", strict=True))
    renamed = [replace(card, method=names.get(card.method, card.method)) for card in cards]
    for pair, other in zip(
        compare_methods(cards).differences, compare_methods(renamed).differences, strict=True
    ):
        assert (names.get(pair.one, pair.one), names.get(pair.other, pair.other)) == (
            other.one,
            other.other,
        )
        assert pair.p == other.p


def test_a_method_equals_itself():
    cards = make_cards("a")
    twin = [replace(card, method="b") for card in cards]
    (pair,) = compare_methods([*cards, *twin]).differences
    assert pair.ags.value == 0
    assert pair.p == 1
    alone = [replace(card, seed=None) for card in make_cards(seeds=(0,))]
    (pair,) = compare_methods(
        [*alone, *(replace(card, method="other") for card in alone)]
    ).differences
    assert (pair.ags.value, pair.ags.error, pair.p) == (0, 0, 1)


@pytest.mark.parametrize("seeds", [2, 3, 5, 7])
def test_rounding_is_no_difference(seeds):
    """The mean of equal seeds may differ from one of them in its last bit."""
    for rng in range(10):
        one = make_cards(seeds=(0,), rng=rng)
        frozen = [replace(card, method="frozen", seed=None) for card in one]
        twins = [replace(card, seed=seed) for card in one for seed in range(seeds)]
        comparison = compare_methods([*frozen, *twins])
        (pair,) = comparison.differences
        assert (pair.ags.value, pair.p, pair.significant) == (0, 1, False)
        assert comparison.order.tau is None


def test_different_queries_have_no_paired_difference():
    ours, theirs = several(0.6, 0.5), make_cards("c", 0.55)
    theirs = [replace(card, counts=card.counts + 1) for card in theirs]
    comparison = compare_methods([*ours, *theirs])
    assert [(pair.one, pair.other) for pair in comparison.differences] == [("a", "b")]
    assert comparison.left_out == 2
    assert comparison.order is None
    assert [str(place) for place in comparison.places if place.method == "c"] == ["1–3"]


def test_what_cannot_be_compared_is_one_sentence():
    with pytest.raises(RunError, match="no results at rank 2"):
        compare_methods([card for card in several(0.6, 0.5) if card.rank != 2])
    with pytest.raises(RunError, match="'a' has no AGS to compare"):
        compare_methods([replace(card, shift=None) for card in several(0.6, 0.5)])
    with pytest.raises(RunError, match="differ in data set and sequence"):
        compare_methods([*make_cards("a"), *(replace(c, sequence="b") for c in make_cards("b"))])
    one = compare_methods(make_cards())
    assert (one.differences, one.order) == ((), None)
    assert one.places[0].best == one.places[0].worst == 1


def test_one_seed_is_not_tested():
    """Nothing is known of the luck of seeds; a deterministic method has none."""
    cards = [*several(0.9, seeds=(0,)), *make_cards("b", 0.2), *make_cards("frozen", 0.5, (None,))]
    comparison = compare_methods(cards)
    for pair in comparison.differences:
        alone = "a" in (pair.one, pair.other)
        assert (pair.p is None) == (pair.adjusted is None) == alone
        assert pair.significant != alone
        assert pair.ags.low is not None
    places = {place.method: str(place) for place in comparison.places}
    assert places == {"a": "1–3", "frozen": "1–2", "b": "2–3"}


def test_without_intervals_nothing_is_significant():
    cards = [
        replace(card, sums={}, others={"nmi": card.values["recall@1"]})
        for card in several(0.7, 0.2)
    ]
    comparison = compare_methods(cards, "nmi")
    assert comparison.differences[0].p is None
    assert not comparison.differences[0].significant
    assert [str(place) for place in comparison.places] == ["1–2", "1–2"]


# The order of methods ----------------------------------------------------------------------------


def crossing(seeds=(0, 1, 2, 3), noise=0.0, rng=0):
    """Four methods whose order at the last split is the reverse of that at the first."""
    rng = np.random.default_rng(rng)
    cards = []
    for at, name in enumerate("abcd"):
        for card in make_cards(name, seeds=seeds, classes=40):
            level = 0.6 + (0.02 if card.rank == 1 else -0.02) * at + rng.normal(0, noise)
            cards.append(replace(card, sums={"recall@1": level * card.counts}))
    return cards


def test_an_order_that_turns_is_told_from_noise():
    order = compare_methods(crossing()).order
    assert (order.tau, order.ceiling, order.between) == pytest.approx((-1, 1, -1))
    assert (order.best_first, order.best_last, order.changes) == ("d", "a", 1.0)
    order = compare_methods(crossing(noise=0.2)).order
    assert order.ceiling < 0.9
    same = [card for card in crossing() if card.rank < 4]
    same = [replace(card, levels=3) for card in same]
    turned = [
        replace(c, sums={"recall@1": c.sums["recall@1"] * (1 if c.rank == 1 else -1)}) for c in same
    ]
    order = compare_methods(turned).order
    assert order.best_first == "d"


def test_halves_of_the_seeds_equal_the_slow_ones():
    from scipy.stats import kendalltau

    cards = crossing((0, 1, 2, 3, 4), noise=0.03)
    value = {(c.method, c.seed, c.rank): c.values["recall@1"] for c in cards}
    same, across = [], []
    for one in itertools.combinations(range(5), 2):
        for other in itertools.combinations(sorted({*range(5)} - {*one}), 2):
            rows = {
                (half, rank): [np.mean([value[m, s, rank] for s in half]) for m in "abcd"]
                for half in (one, other)
                for rank in (1, 4)
            }
            same += [kendalltau(rows[one, rank], rows[other, rank]).statistic for rank in (1, 4)]
            across.append(kendalltau(rows[one, 1], rows[other, 4]).statistic)
    order = compare_methods(cards).order
    assert order.ceiling == pytest.approx(np.mean(same))
    assert order.between == pytest.approx(np.mean(across))


def test_many_seeds_are_halved_at_random_always_in_the_same_way():
    cards = crossing(tuple(range(14)), noise=0.03)
    first, second = compare_methods(cards).order, compare_methods(cards[::-1]).order
    assert first == second
    assert 0 < first.ceiling < 1


def test_the_best_method_changes_as_often_as_its_lead_is_luck():
    def changes(gap):
        rng = np.random.default_rng(1)
        cards = []
        for name, level in (("a", 0.6 + gap), ("b", 0.6)):
            for card in make_cards(name, seeds=(None,), classes=100):
                share = np.clip(level + rng.normal(0, 0.15, len(card.counts)), 0, 1)
                cards.append(replace(card, sums={"recall@1": share * card.counts}))
        return compare_methods(cards).order.changes

    assert changes(0.4) == 0.0
    assert 0.05 < changes(0.0) < 0.95
    assert compare_methods(make_cards("a")).order is None
    for one in (several(0.6, 0.5, seeds=(0,)), [*several(0.6, 0.5), *make_cards("c", seeds=(0,))]):
        order = compare_methods(one).order
        assert (order.ceiling, order.between, order.changes) == (None, None, None)
        assert order.tau is not None


# Gains -------------------------------------------------------------------------------------------


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
