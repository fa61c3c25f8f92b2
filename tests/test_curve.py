import json
from dataclasses import replace

import numpy as np
import pytest

from oodml.curve import ags, build_curve, build_curves, gains, labels, rank_correlation
from oodml.errors import RunError, UnknownNameError
from oodml.score.card import ScoreCard

SHIFTS = (1.0, 2.0, 4.0, 9.0)


def make_cards(
    method="triplet", level=0.6, seeds=(0, 1, 2), *, splits=4, classes=30, spread=0.1, rng=0
):
    """Cards of one method: half of the classes are tested on each split, other ones on each."""
    rng = np.random.default_rng(rng)
    hard, counts = rng.normal(0, spread, classes), rng.integers(5, 30, classes)
    tests = [np.sort(rng.permutation(classes)[: classes // 2]) for _ in range(splits)]
    cards = []
    for seed in seeds:
        luck = 0.0 if seed is None else rng.normal(0, 0.01)
        for at, rows in enumerate(tests):
            chances = np.clip(level - 0.03 * at + hard[rows] + luck, 0, 1)
            cards.append(
                ScoreCard(
                    dataset="glyphs",
                    sequence="a" * 64,
                    rank=at + 1,
                    levels=splits,
                    shift=SHIFTS[at],
                    method=method,
                    encoder="oodml:hog",
                    seed=seed,
                    protocol="head",
                    metric_version=1,
                    content_fingerprint="c" * 64,
                    features="f" * 64,
                    measure="frechet",
                    classes=tuple(f"class {row:03d}" for row in rows),
                    counts=counts[rows],
                    sums={"recall@1": rng.binomial(counts[rows], chances)},
                    chance={"recall@1": 0.02},
                )
            )
    return cards


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


def test_ags_of_the_published_curves_equals_the_published_bars(test_data):
    file = test_data / "oodml_official" / "reported.json"
    if not file.is_file():
        pytest.skip(f"the numbers read off the paper's figures are not at {file}")
    reported = json.loads(file.read_text(encoding="utf-8"))
    bars = {
        (name, method): (bar, ags(reported["fid"][name], reported["recall1"][name][method]))
        for name, methods in reported["ags_bars"].items()
        for method, bar in methods.items()
    }
    assert len(bars) == 24
    for key, (bar, recomputed) in bars.items():
        assert recomputed == pytest.approx(bar, abs=0.001), key
    # Three of them in numbers, so that the file and the function cannot drift together.
    assert bars["cub", "Margin"][1] == pytest.approx(0.6361, abs=0.001)
    assert bars["cars", "S2SD"][1] == pytest.approx(0.8018, abs=0.001)
    assert bars["sop", "ArcFace"][1] == pytest.approx(0.7388, abs=0.001)


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
    assert curve.ags_high == pytest.approx(np.mean(values) + half, rel=1e-9)
    assert curve.ags_low == pytest.approx(np.mean(values) - half, rel=1e-9)


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


def test_coverage_of_the_95_percent_interval_at_60_classes_and_3_seeds():
    truth, sims = np.array([0.7, 0.6, 0.5]), 200
    inside, area_inside = [], []
    for sim in range(sims):
        curve = build_curve(simulated_cards(np.random.default_rng(sim), truth))
        inside.append((curve.low <= truth) & (truth <= curve.high))
        area_inside.append(curve.ags_low <= truth.mean() <= curve.ags_high)
    assert np.mean(inside) >= 0.90
    assert np.mean(area_inside) >= 0.90


def simulated_cards(rng, truth, classes=90, tested=60):
    """Classes, training runs and queries drawn from a population whose recall is `truth`."""
    hard, counts = rng.normal(0, 0.1, classes), rng.integers(5, 30, classes)
    rows = [np.sort(rng.permutation(classes)[:tested]) for _ in truth]
    cards = []
    for seed in range(3):
        luck = rng.normal(0, 0.02) + rng.normal(0, 0.02, classes)
        for rank, at in enumerate(rows, start=1):
            chances = np.clip(truth[rank - 1] + hard[at] + luck[at], 0, 1)
            card = replace(
                make_cards(seeds=(seed,), splits=1)[0],
                rank=rank,
                levels=len(truth),
                shift=float(rank),
                classes=tuple(f"class {row:03d}" for row in at),
                counts=counts[at],
                sums={"recall@1": rng.binomial(counts[at], chances)},
            )
            cards.append(card)
    return cards


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
    assert curve.ags == curve.ags_low == curve.ags_high == 1.0


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
    assert curve.ags_low is None
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


# Which cards make a curve ------------------------------------------------------------------------


def test_order_of_cards_and_of_seeds_is_irrelevant():
    cards = [*make_cards(), *make_cards("frozen", 0.5, (None,))]
    shuffled = [cards[at] for at in np.random.default_rng(3).permutation(len(cards))]
    for curve, other in zip(build_curves(cards), build_curves(shuffled), strict=True):
        assert the_same(curve, other)
    renamed = [replace(card, seed=2 - card.seed) for card in make_cards()]
    first, second = build_curve(make_cards()), build_curve(renamed)
    np.testing.assert_allclose(first.high, second.high, rtol=1e-12)
    assert first.ags_low == pytest.approx(second.ags_low)


def test_frozen_comes_first_then_the_highest_ags():
    cards = [
        *make_cards("a", 0.5),
        *make_cards("b", 0.7),
        *make_cards("frozen", 0.4, (None,)),
        *make_cards("c", 0.6)[:-1],
    ]
    assert [curve.method for curve in build_curves(cards)] == ["frozen", "b", "a", "c"]


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


def test_a_missing_rank_leaves_ags_undefined_and_is_named():
    whole = make_cards()
    without = [card for card in whole if card.rank != 2]
    curve = build_curve(without)
    assert curve.ranks == (1, 3, 4)
    assert (curve.ags, curve.ags_low, curve.ags_high) == (None, None, None)
    assert "no results at rank 2: no AGS" in curve.note
    partial = build_curve([card for card in whole if (card.rank, card.seed) != (3, 1)])
    assert partial.ranks == (1, 2, 3, 4)
    assert partial.ags is None
    assert "no results of seed 1 at rank 3: no AGS" in partial.note


def test_a_sequence_that_is_half_done_has_no_ags():
    cards = [card for card in make_cards() if card.rank < 3]
    curve = build_curve(cards)
    assert curve.ags is None
    assert "rank 3, 4" in curve.note
    other = make_cards("frozen", seeds=(None,))
    assert build_curves([*cards, *other])[1].ags is None
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
    assert curve.ags_low is None
    assert "no intervals" in curve.note
    assert curve.to_json()["low"] == [None] * 4
    assert curve.to_json()["chance"] == [None] * 4


def test_json_is_json_and_arrays_are_read_only():
    curve = build_curve(make_cards()[:-1])
    record = json.loads(json.dumps(curve.to_json(), allow_nan=False))
    assert set(record) == set(curve.__slots__)
    with pytest.raises(ValueError, match="read-only"):
        curve.mean[0] = 1


# Two curves --------------------------------------------------------------------------------------


def test_gains_are_differences_of_means_on_the_same_queries():
    ours, frozen = make_cards(level=0.7), make_cards("frozen", 0.5, (None,))
    x, gain = gains([*ours, *frozen], "triplet")
    below, above = build_curves([*ours, *frozen])
    np.testing.assert_array_equal(x, SHIFTS)
    np.testing.assert_allclose(gain, above.mean - below.mean)
    x, gain = gains([*ours, *frozen[:2]], "triplet")
    assert x.tolist() == [1.0, 2.0]


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
