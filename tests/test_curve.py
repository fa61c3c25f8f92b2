"""Which cards make a curve, and its summaries."""

import json
from dataclasses import replace

import numpy as np
import pytest
from curve_cards import make_cards

from oodml.curve import ags, build_curve, build_curves, labels
from oodml.errors import RunError, UnknownNameError


def the_same(curve, other):
    return json.dumps(curve.to_json()) == json.dumps(other.to_json())


# AGS ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_ags_of_a_constant_is_that_constant(seed):
    rng = np.random.default_rng(seed)
    shift = np.cumsum(rng.uniform(0.1, 9, 7))
    assert ags(shift, np.full(7, 0.37)) == pytest.approx(0.37, abs=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_ags_is_linear_in_recall_and_blind_to_units_of_shift(seed):
    rng = np.random.default_rng(seed)
    shift, a, b = np.cumsum(rng.uniform(0.1, 9, 6)), rng.random(6), rng.random(6)
    assert ags(shift, a + 2 * b) == pytest.approx(ags(shift, a) + 2 * ags(shift, b))
    assert ags(3 * shift + 5, a) == pytest.approx(ags(shift, a))
    assert a.min() <= ags(shift, a) <= a.max()


@pytest.mark.parametrize(
    ("shift", "recall", "message"),
    [
        ([1], [0.5], "at least 2 points"),
        ([1, 2], [0.5], "one recall for each shift"),
        ([[1, 2]], [[0.5, 0.5]], "one recall for each shift"),
        ([1, 1], [0.5, 0.5], "grows"),
        ([2, 1], [0.5, 0.5], "grows"),
        ([1, 2], [0.5, float("nan")], "finite"),
        ([1, float("nan")], [0.5, 0.5], "finite"),
    ],
)
def test_ags_refuses_what_has_no_area(shift, recall, message):
    with pytest.raises(ValueError, match=message):
        ags(shift, recall)


METHODS = ("Margin", "MS", "ArcFace", "ProxyAnchor", "R-Margin", "UniformPrior", "DiVA", "S2SD")
# AGS in the paper's figure (Milbich et al. 2021): the bars of METHODS, by data set.
BARS = {
    "cub": (0.6361, 0.6431, 0.6334, 0.6513, 0.6542, 0.6575, 0.6635, 0.6769),
    "cars": (0.7447, 0.7611, 0.7319, 0.7664, 0.7728, 0.7584, 0.787, 0.8018),
    "sop": (0.746, 0.7461, 0.7388, 0.7398, 0.7494, 0.7459, 0.7503, 0.7507),
}


@pytest.mark.parametrize("name", BARS)
def test_ags_of_the_published_curves_equals_the_published_bars(test_data, name):
    file = test_data / "oodml_official" / "reported.json"
    if not file.is_file():
        pytest.skip(f"the numbers read off the paper's figures are not at {file}")
    reported = json.loads(file.read_text(encoding="utf-8"))
    curves = reported["recall1"][name]
    assert set(curves) == set(METHODS)
    for method, bar in zip(METHODS, BARS[name], strict=True):
        found = ags(reported["fid"][name], curves[method])
        assert found == pytest.approx(bar, abs=0.001), method


# Which cards make a curve ------------------------------------------------------------------------


def test_order_of_cards_and_of_seeds_is_irrelevant():
    cards = [*make_cards(), *make_cards("frozen", 0.5, (None,))]
    shuffled = [cards[at] for at in np.random.default_rng(3).permutation(len(cards))]
    for curve, other in zip(build_curves(cards), build_curves(shuffled), strict=True):
        assert the_same(curve, other)
    renamed = [replace(card, seed=2 - card.seed) for card in make_cards()]
    first, second = build_curve(make_cards()), build_curve(renamed)
    np.testing.assert_allclose(first.high, second.high, rtol=1e-12)
    assert first.area.low == pytest.approx(second.area.low)


def test_frozen_comes_first_then_the_highest_ags():
    cards = [
        *make_cards("a", 0.5),
        *make_cards("b", 0.7),
        *make_cards("frozen", 0.4, (None,)),
        *make_cards("c", 0.6)[:-1],
    ]
    assert [curve.method for curve in build_curves(cards, partial=True)] == [
        "frozen",
        "b",
        "a",
        "c",
    ]


def test_of_a_distance_the_lowest_ags_comes_first():
    cards = [
        replace(card, sums={}, others={"intra": card.values["recall@1"]})
        for card in [*make_cards("high", 0.7), *make_cards("low", 0.3)]
    ]
    assert [curve.method for curve in build_curves(cards, "intra")] == ["low", "high"]


def test_controls_without_the_metric_stay_out():
    cards = [replace(c, others={"nmi": 0.5}) for c in make_cards()]
    controls = [replace(card, control=0) for card in make_cards()]
    curve = build_curve([*cards, *controls], "nmi")
    assert np.isnan(curve.control).all()
    assert not np.isnan(build_curve([*cards, *controls]).control).any()


def test_a_curve_for_each_method_encoder_protocol_and_shots():
    cards = make_cards()
    others = [
        *(replace(card, encoder="oodml:pixels") for card in cards),
        *(replace(card, protocol="full") for card in cards),
        *(replace(card, shots=2) for card in cards),
        *(replace(card, method="frozen") for card in cards),
    ]
    curves = build_curves([*cards, *others])
    assert len(curves) == 5
    assert len(set(labels(curves))) == 5
    with pytest.raises(RunError, match="make 5 curves"):
        build_curve([*cards, *others])


def test_labels_say_no_more_than_is_needed():
    ours, frozen = make_cards(), make_cards("frozen", seeds=(None,))
    frozen = [replace(card, protocol="none") for card in frozen]
    assert labels(build_curves([*ours, *frozen])) == ["frozen", "triplet"]
    elsewhere = [replace(card, encoder="oodml:pixels") for card in frozen]
    assert set(labels(build_curves([*frozen, *elsewhere]))) == {"oodml:hog", "oodml:pixels"}
    assert labels(build_curves(ours)) == ["triplet"]


def test_a_missing_rank_is_an_error_that_names_it():
    whole = make_cards()
    without = [card for card in whole if card.rank != 2]
    with pytest.raises(RunError, match=r"triplet: no results at rank 2\. .*--partial"):
        build_curves(without)
    one = [card for card in whole if (card.rank, card.seed) != (3, 1)]
    with pytest.raises(RunError, match="no results of seed 1 at rank 3"):
        build_curves(one)
    other = make_cards("frozen", seeds=(None,))
    with pytest.raises(RunError, match="triplet: no results at rank 3, 4"):
        build_curves([*(card for card in whole if card.rank < 3), *other])
    both = [*whole, *(replace(card, swapped=True) for card in one)]
    with pytest.raises(RunError, match="no results of seed 1 the other way round at rank 3"):
        build_curves(both)


def test_a_part_of_a_curve_is_drawn_when_asked_for_and_has_no_ags():
    whole = make_cards()
    curve = build_curve([card for card in whole if card.rank != 2], partial=True)
    assert curve.ranks == (1, 3, 4)
    assert (curve.ags, curve.area, curve.slope, curve.retention) == (None,) * 4
    assert "no results at rank 2: no AGS" in curve.note
    partial = build_curve(
        [card for card in whole if (card.rank, card.seed) != (3, 1)], partial=True
    )
    assert partial.ranks == (1, 2, 3, 4)
    assert partial.ags is None
    assert "no results of seed 1 at rank 3: no AGS" in partial.note
    two = [card.values["recall@1"] for card in whole if card.rank == 3 and card.seed != 1]
    assert partial.mean[2] == pytest.approx(np.mean(two))
    assert np.isfinite(partial.low).all()
    alone = build_curve(make_cards(splits=1))
    assert alone.note.endswith("one split: no AGS")


def test_shifts_that_do_not_grow_have_no_ags():
    cards = [replace(card, shift=1.5) if card.rank == 3 else card for card in make_cards()]
    curve = build_curve(cards)
    assert curve.ags is None
    assert "does not grow from rank 2 to 3" in curve.note


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sequence": "b" * 64}, "sequence"),
        ({"dataset": "digits"}, "data set"),
        ({"metric_version": 2}, "metric version"),
        ({"roles": True}, "roles"),
        ({"method": "other", "shift": 1.25}, "shift of rank 1"),
        ({}, "same run"),
    ],
)
def test_cards_that_do_not_belong_together_are_refused(change, message):
    cards = make_cards()
    with pytest.raises(RunError, match=message):
        build_curves([*cards, replace(cards[0], **change)])


def test_no_cards_no_curve():
    with pytest.raises(RunError, match="no score cards"):
        build_curves([])


def test_an_unknown_metric_lists_what_there_is():
    with pytest.raises(UnknownNameError, match=r"'map@r'; there are: nmi, recall@1"):
        build_curves([replace(card, others={"nmi": 0.5}) for card in make_cards()], "map@r")
    cards = make_cards()
    with pytest.raises(RunError, match="lacks the metric 'nmi'"):
        build_curves([replace(cards[0], others={"nmi": 0.5}), *cards[1:]], "nmi")


def test_a_metric_that_is_no_mean_over_queries_has_no_interval_and_says_so():
    cards = [replace(card, others={"nmi": 0.5 + card.seed / 10}) for card in make_cards()]
    curve = build_curve(cards, "nmi")
    np.testing.assert_allclose(curve.mean, 0.6)
    assert curve.ags == pytest.approx(0.6)
    assert curve.area.low is None
    assert "no intervals" in curve.note
    assert curve.to_json()["low"] == [None] * 4
    assert curve.to_json()["chance"] == [None] * 4


def test_json_is_json_and_arrays_are_read_only():
    curve = build_curve(make_cards()[:-1], partial=True)
    record = json.loads(json.dumps(curve.to_json(), allow_nan=False))
    ends = ("", "_error", "_low", "_high")
    sums = {f"{name}{end}" for name in ("ags", "slope", "retention") for end in ends}
    assert set(record) == {*curve.__slots__} - {"area"} | sums
    assert {record[name] for name in sums} == {None}
    with pytest.raises(ValueError, match="read-only"):
        curve.mean[0] = 1


def test_unknown_shifts_leave_no_ags_and_are_null():
    cards = [replace(card, shift=None) for card in make_cards()]
    curve = build_curve(cards)
    assert curve.ags is None
    assert "the shift does not grow" in curve.note
    assert curve.to_json()["x"] == [None] * 4
    assert curve.ranks == (1, 2, 3, 4)
    assert build_curve(cards, x="rank").x.tolist() == [1, 2, 3, 4]
    with pytest.raises(RunError, match="only --x rank can draw it"):
        build_curve(cards, x="normalised")
