import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from curve_cards import make_cards
from markupsafe import escape

from oodml.curve import (
    Curve,
    Estimate,
    OrderChange,
    against,
    build_curves,
    compare_methods,
)
from oodml.report import (
    build_page,
    control_table,
    difference_table,
    number_table,
    order_text,
    summary_table,
    text_table,
)

SVG = '<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"><g id="figure"/></svg>'
SPLITS = [
    {"rank": rank, "shift": shift, "n_train": 50, "n_test": 51 - rank}
    for rank, shift in ((1, 1.0), (2, 12.5), (3, 36.0))
]


def make_curve(method="triplet", start=0.64, **changes):
    mean = np.array([start, start - 0.05, start - 0.1])
    fields = {
        "method": method,
        "dataset": "glyphs",
        "encoder": "oodml:hog",
        "similarity": "cosine",
        "protocol": "head",
        "shots": None,
        "selection": None,
        "budget": {},
        "features": "f" * 64,
        "measure": "frechet",
        "sequence": "a" * 64,
        "metric": "recall@1",
        "ranks": (1, 2, 3),
        "x": np.array([1.0, 12.5, 36.0]),
        "mean": mean,
        "low": mean - 0.02,
        "high": mean + 0.02,
        "area": Estimate(start - 0.06, 0.005, 20.0, start - 0.07, start - 0.05),
        "chance": np.full(3, 0.019),
        "seeds": (0, 1, 2),
        "classes": (50, 49, 48),
    }
    return Curve(**{**fields, **changes})


def make_page(*curves, **changes):
    options = {
        "title": "Glyphs",
        "summary": {"Data set": "glyphs"},
        "svg": SVG,
        "splits": SPLITS,
        "commands": ["oodml run --dataset glyphs", "oodml report runs"],
    }
    return build_page(curves or (make_curve(),), **{**options, **changes})


class Reader(HTMLParser):
    """Reads a page strictly enough to see what it holds: cells, tags and outside addresses."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.outside, self.open, self.cells = [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action") and not value.startswith("#"):
                self.outside.append(value)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data


def test_the_table_has_a_row_for_each_split_and_one_for_ags():
    curves = [make_curve("frozen", 0.5), make_curve()]
    assert text_table(curves) == [
        ["Split", "Shift", "Test classes", "frozen", "triplet"],
        ["1", "1.00", "50", "0.500 ± 0.020", "0.640 ± 0.020"],
        ["2", "12.50", "49", "0.450 ± 0.020", "0.590 ± 0.020"],
        ["3", "36.00", "48", "0.400 ± 0.020", "0.540 ± 0.020"],
        ["AGS", "", "", "0.440 ± 0.010", "0.580 ± 0.010"],
    ]
    assert text_table(curves, SPLITS)[0][2] == "Train / test classes"
    assert text_table(curves, SPLITS)[3][2] == "50 / 48"


def test_the_table_shows_what_is_undefined_as_such():
    shorter = make_curve(
        "margin",
        ranks=(1, 3),
        x=np.array([1.0, 36.0]),
        mean=np.array([0.6, 0.99]),
        low=np.array([np.nan, 0.95]),
        high=np.array([np.nan, 1.0]),
        area=None,
        chance=np.full(2, np.nan),
        classes=(1, 48),
    )
    rows = text_table([make_curve(), shorter])
    assert [row[-1] for row in rows[1:]] == ["0.600", "–", "0.990 ± 0.040", "–"]
    numbers = list(number_table([make_curve(), shorter]))
    assert len(numbers) == 5
    assert numbers[3]["low"] is None
    assert numbers[4]["mean"] == 0.99
    assert numbers[0]["seeds"] == 3


def test_small_and_large_shifts_keep_their_digits():
    for scale, text in ((0.001, "0.03600"), (1, "36.00"), (10, "360.0"), (1000, "36000")):
        curve = make_curve(x=np.array([1.0, 12.5, 36.0]) * scale)
        assert text_table([curve])[3][1] == text


def test_same_input_same_page():
    curves = [make_curve("frozen", 0.5), make_curve()]
    assert make_page(*curves) == make_page(*curves)


def test_the_page_is_well_formed_and_needs_nothing_else():
    page = make_page(make_curve("frozen", 0.5, note="one seed"), make_curve())
    reader = Reader(page)
    assert reader.open == []
    assert reader.outside == []
    assert not {"script", "link", "iframe", "img"} & set(reader.tags)
    assert not re.search(r"url\(|@import", page)
    assert page.startswith("<!doctype html>")
    assert "<?xml" not in page
    assert page.count("<svg") == 1


def test_the_page_tells_numbers_limits_and_commands():
    curves = [make_curve("frozen", 0.5, note="one seed"), make_curve()]
    page = make_page(*curves)
    cells = Reader(page).cells
    tables = (text_table(curves, SPLITS), summary_table(curves))
    assert cells == [cell for table in tables for row in table for cell in row]
    assert "triplet falls from 0.640 to 0.540; the frozen encoder falls from 0.500" in page
    assert "<strong>frozen</strong> – one seed." in page
    assert "Chance: 0.019." in page
    assert "oodml run --dataset glyphs\noodml report runs" in page
    assert "whose nearest other image is of the same class" in page
    assert "a" * 12 in page


def compared():
    """Curves and the comparison of two methods, one of them far better at the first split."""
    cards = [
        replace(card, levels=2)
        for name, level in (("good", 0.8), ("poor", 0.4))
        for card in make_cards(name, level, splits=2, classes=40)
    ]
    return build_curves(cards), compare_methods(cards)


def test_the_page_shows_methods_against_each_other():
    curves, comparison = compared()
    page = make_page(*curves, comparison=comparison, splits=())
    cells = Reader(page).cells
    tables = (text_table(curves), summary_table(curves, comparison), difference_table(comparison))
    assert cells == [cell for table in tables for row in table for cell in row]
    assert "Methods against each other" in page
    assert str(escape(order_text(comparison.order))) in page
    assert "p, Holm" in page
    assert "Methods against each other" not in make_page(curves[0], splits=())


def test_summaries_and_differences_as_text():
    curves, comparison = compared()
    header, good, poor = summary_table(curves, comparison)
    assert header == ["method", "AGS", "slope", "retention", "place"]
    assert (good[0], good[-1], poor[0], poor[-1]) == ("good", "1", "poor", "2")
    assert all(re.fullmatch(r"-?\d\.\d{3} ± \d\.\d{3}", cell) for cell in good[1:-1])
    _, row = difference_table(comparison)
    assert row[:2] == ["good", "poor"]
    assert row[-2:] == ["< .001", "< .001 *"]
    assert "+1.00" in order_text(comparison.order)
    assert "The best method is good at both; they differ in 0% of resamples." in order_text(
        comparison.order
    )
    flat = OrderChange(None, None, None, "a", "a", None)
    assert "there is no order" in order_text(flat)
    turned = OrderChange(-1.0, 0.5, -0.75, "a", "b", 0.875)
    assert order_text(turned).endswith(
        "is +0.50 on the same split (the noise ceiling) and -0.75 across these two. The best "
        "method is a at the first, b at the last; they differ in 88% of resamples."
    )


def test_controls_have_a_table_of_their_own():
    curve = make_curve(
        control=np.array([0.5, np.nan, 0.25]),
        control_low=np.array([0.4, np.nan, 0.2]),
        control_high=np.array([0.6, np.nan, 0.3]),
    )
    assert control_table([make_curve("frozen"), curve]) == [
        ["Split", "triplet"],
        ["1", "0.500 (0.400 to 0.600)"],
        ["2", "–"],
        ["3", "0.250 (0.200 to 0.300)"],
    ]
    assert control_table([make_curve()]) == []
    assert "Controls: random partitions" in make_page(curve)
    assert "Controls: random partitions" not in make_page(make_curve())


def test_against_the_rank_the_shift_is_given_all_the_same():
    (ranked,) = against([make_curve()], "rank")
    assert [row[1] for row in text_table([ranked])] == ["Shift", "1.00", "12.50", "36.00", ""]
    (scaled,) = against([make_curve()], "normalised")
    assert text_table([scaled])[0][1] == "Shift, 0 to 1"


def test_the_lead_names_the_highest_ags_and_speaks_of_what_is_there():
    curves = [make_curve("low", 0.5), make_curve("high", 0.7)]
    assert "high (highest AGS) falls from 0.700" in make_page(*curves)
    encoders = [make_curve("frozen", 0.5, encoder="a"), make_curve("frozen", 0.6, encoder="b")]
    assert "b (highest AGS) falls from 0.600" in make_page(*encoders)
    assert "frozen falls from 0.640" in make_page(make_curve("frozen"))


def test_of_a_distance_the_lead_names_the_lowest():
    curves = [make_curve(name, start, metric="intra") for name, start in (("a", 0.7), ("b", 0.5))]
    assert "b (lowest AGS) falls from 0.500" in make_page(*curves)
    losses = [
        make_curve("a", ags_start, area=area)
        for ags_start, area in ((0.6, None), (0.5, Estimate(-0.1)))
    ]
    assert "(highest AGS) falls from 0.500" in make_page(*losses)


def test_rows_of_the_csv_tell_curves_apart():
    curves, comparison = compared()
    rows = list(number_table(curves, comparison))
    assert {row["label"] for row in rows} == {"good", "poor"}
    assert {(row["label"], row["place_best"], row["place_worst"]) for row in rows} == {
        ("good", 1, 1),
        ("poor", 2, 2),
    }
    two = [make_curve(budget={"steps": 5}), make_curve(budget={"steps": 9}, note="one seed")]
    found = {(row["label"], row["budget"], row["note"]) for row in number_table(two)}
    assert found == {("steps 5", "steps 5", ""), ("steps 9", "steps 9", "one seed")}


def test_names_cannot_smuggle_markup_in():
    evil = '<script>alert("1")</script>&'
    curves = [make_curve(evil, note=evil, dataset=evil, metric=evil)]
    page = make_page(
        *curves, title=evil, summary={evil: evil}, commands=[evil], splits=[{**SPLITS[0]}]
    )
    reader = Reader(page)
    assert "script" not in reader.tags
    assert "<script" not in page.lower()
    assert "&lt;script&gt;" in page


def test_a_page_without_figure_or_curves_is_a_mistake():
    with pytest.raises(ValueError, match="figure"):
        make_page(svg="nothing")
    with pytest.raises(ValueError, match="at least one curve"):
        build_page([], title="", summary={}, svg=SVG)


def test_a_metric_of_another_kind_is_not_explained_as_recall():
    undefined = make_curve(metric="nmi", chance=np.full(3, np.nan), low=np.full(3, np.nan))
    page = make_page(undefined)
    assert "NMI is computed over all test images" in page
    assert "nearest other" not in page
    assert "Chance" not in page
    assert "with one of the 4 nearest others" in make_page(make_curve(metric="recall@4"))
