import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from curve_cards import make_cards

from oodml.curve import (
    Curve,
    Estimate,
    across_sequences,
    against,
    build_curves,
    compare_methods,
)
from oodml.plot import figure_bytes, metric_label, plot_curves, plot_ranking, plot_sequences


def make_curve(method="triplet", start=0.64, *, ags=0.6, chance=0.02, **changes):
    mean = np.linspace(start, start - 0.1, 5)
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
        "ranks": (1, 2, 3, 4, 5),
        "x": np.array([1.0, 3.0, 8.0, 20.0, 31.0]),
        "mean": mean,
        "low": mean - 0.02,
        "high": mean + 0.02,
        "area": None if ags is None else Estimate(ags, 0.005, 20.0, ags - 0.01, ags + 0.01),
        "chance": np.full(5, chance),
        "seeds": (0, 1, 2),
        "classes": (50,) * 5,
    }
    return Curve(**{**fields, **changes})


def texts(figure):
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_same_curves_same_bytes(kind):
    curves = [make_curve("frozen", 0.5), make_curve()]
    figure = plot_curves(curves, title="glyphs")
    first = figure_bytes(figure, kind)
    assert first == figure_bytes(figure, kind)
    assert first == figure_bytes(plot_curves(curves, title="glyphs"), kind)


def test_settings_of_the_user_neither_shine_through_nor_change():
    import matplotlib

    plain = figure_bytes(plot_curves([make_curve()]), "svg")
    with matplotlib.rc_context({"font.size": 20, "axes.grid": False, "lines.linewidth": 9}):
        before = dict(matplotlib.rcParams)
        assert figure_bytes(plot_curves([make_curve()]), "svg") == plain
        assert dict(matplotlib.rcParams) == before


def test_svg_names_no_other_site_and_holds_text_as_paths():
    svg = figure_bytes(plot_curves([make_curve()]), "svg").decode()
    assert "<text" not in svg
    assert "metadata" not in svg
    assert not re.search(r'(?:src|href)="(?!#)', svg)


def test_png_has_200_dots_an_inch():
    figure = plot_curves([make_curve()])
    data = figure_bytes(figure, "png")
    assert int.from_bytes(data[16:20], "big") == round(figure.get_figwidth() * 200)


def test_the_legend_gives_ags_and_the_axes_their_names():
    curves = [make_curve("frozen", 0.5, ags=0.45), make_curve(ags=None)]
    figure = plot_curves(curves, title="glyphs", x_label="Rank")
    assert texts(figure) == ["frozen\nAGS 0.450 ± 0.010", "triplet\nAGS undefined"]
    assert figure.legends[0].get_title().get_text() == "glyphs"
    assert figure.axes[0].get_xlabel() == "Rank"
    assert figure.axes[0].get_ylabel() == "Recall@1"
    unsure = make_curve(area=Estimate(0.6))
    assert texts(plot_curves([unsure])) == ["triplet\nAGS 0.600"]


def test_the_axis_names_the_measure_and_unknown_shifts_are_not_drawn_as_such():
    def label(**changes):
        return plot_curves([make_curve(**changes)]).axes[0].get_xlabel()

    assert label() == "Shift (Fréchet distance between class means)"
    assert label(measure="mmd?kernel=polynomial") == "Shift (mmd?kernel=polynomial)"
    assert label(measure=None) == "Shift"
    unknown = make_curve(x=np.full(5, np.nan), ags=None)
    figure = plot_curves([unknown])
    assert figure.axes[0].get_xlabel() == "Split (shifts unknown)"
    assert figure.axes[0].lines[0].get_xdata().tolist() == [1, 2, 3, 4, 5]


def test_metric_labels():
    assert metric_label("recall@1") == "Recall@1"
    assert metric_label("map@r") == "MAP@R"
    assert metric_label("nmi") == "NMI"


def test_frozen_is_the_grey_reference_only_when_there_are_others():
    def colours(curves):
        return [line.get_color() for line in plot_curves(curves).axes[0].lines]

    frozen, other = make_curve("frozen"), make_curve("frozen", encoder="oodml:pixels")
    assert colours([frozen, make_curve()])[0] != colours([frozen])[0]
    assert colours([frozen])[0] == colours([frozen, make_curve()])[1]
    assert len(set(colours([frozen, other]))) == 2


@pytest.mark.parametrize("count", [1, 4, 5, 12])
def test_every_curve_is_told_apart_and_its_legend_fits(count):
    curves = [make_curve(f"a-method-of-some-name-{n}", 0.6 + 0.01 * n) for n in range(count)]
    figure = plot_curves(curves)
    lines = figure.axes[0].lines
    looks = {(line.get_color(), line.get_marker(), str(line.get_linestyle())) for line in lines}
    assert len(looks) == count
    assert figure.legends[0].get_window_extent().width <= figure.bbox.width
    assert figure.axes[0].get_window_extent().height > 1.8 * figure.dpi


def test_chance_is_drawn_only_where_it_is_in_view():
    assert len(plot_curves([make_curve(chance=0.02)]).axes[0].lines) == 1
    assert len(plot_curves([make_curve(chance=0.55)]).axes[0].lines) == 2
    assert len(plot_curves([make_curve(chance=np.nan)]).axes[0].lines) == 1


def test_a_point_without_interval_is_drawn_all_the_same():
    curve = make_curve()
    holes = make_curve(low=np.full(5, np.nan), high=np.full(5, np.nan))
    assert figure_bytes(plot_curves([holes]), "svg") != figure_bytes(plot_curves([curve]), "svg")


def test_curves_of_several_sequences_share_no_figure():
    for curves in ([], [make_curve(), make_curve(sequence="b" * 64)]):
        with pytest.raises(ValueError, match="one sequence"):
            plot_curves(curves)


def test_an_unknown_kind_of_file_lists_the_known_ones():
    with pytest.raises(ValueError, match="svg, png, pdf"):
        figure_bytes(plot_curves([make_curve()]), "gif")


def test_importing_curve_plot_and_report_loads_nothing_heavy():
    heavy = ("torch", "torchvision", "sklearn", "ot", "matplotlib", "jinja2")
    code = (
        "import sys, oodml.curve, oodml.plot, oodml.report;"
        f"sys.exit(','.join(name for name in {heavy} if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_drawing_leaves_pyplot_alone():
    code = (
        "import sys; sys.path.insert(0, 'tests');"
        "from test_plot import make_curve; from oodml.plot import plot_curves, figure_bytes;"
        "figure_bytes(plot_curves([make_curve()]), 'svg');"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Views, controls, rankings -----------------------------------------------------------------------


def labels_of(figure):
    axes = figure.axes[0]
    return axes.get_xlabel(), axes.get_ylabel()


def test_views_and_axes_are_named():
    above = make_curve(view="minus-frozen", chance=np.nan)
    figure = plot_curves([above])
    assert labels_of(figure)[1] == "Recall@1 above frozen"
    assert texts(figure) == ["triplet\nAGS +0.600 ± 0.010"]
    assert figure.axes[0].lines[1].get_ydata() == [0, 0]
    (ranked,) = against([make_curve()], "rank")
    assert labels_of(plot_curves([ranked]))[0] == "Split"
    (scaled,) = against([make_curve()], "normalised")
    found = labels_of(plot_curves([scaled]))[0]
    assert found == "Shift, from 0 to 1 (Fréchet distance between class means)"
    with pytest.raises(ValueError, match="one metric and view"):
        plot_curves([make_curve(), above])


def test_controls_are_a_grey_band_of_the_best_method_that_has_them():
    def controlled(method, level):
        row = np.full(5, level)
        return make_curve(
            method, control=row, control_low=row - 0.03, control_high=row + 0.03, chance=np.nan
        )

    alone = plot_curves([controlled("triplet", 0.5)])
    assert texts(alone)[1] == "random partitions\nsame sizes"
    assert alone.axes[0].lines[1].get_ydata().tolist() == [0.5] * 5
    several = plot_curves([controlled("frozen", 0.4), controlled("triplet", 0.5), make_curve("a")])
    assert texts(several)[-1] == "triplet\nrandom partitions"
    assert several.axes[0].lines[-1].get_ydata().tolist() == [0.5] * 5
    frozen = plot_curves([controlled("frozen", 0.4), make_curve()])
    assert texts(frozen)[-1] == "frozen\nrandom partitions"
    assert len(texts(plot_curves([make_curve()]))) == 1


def test_a_ranking_shows_each_method_with_its_places():
    cards = [
        c
        for name, level in zip("abc", (0.7, 0.69, 0.4), strict=True)
        for c in make_cards(name, level)
    ]
    curves, comparison = build_curves(cards), compare_methods(cards)
    figure = plot_ranking(curves, comparison, title="glyphs")
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [
        place.method for place in comparison.places
    ]
    (right,) = axes.child_axes
    rows = [tick.get_text() for tick in right.get_yticklabels()]
    assert [row.split("place ")[1] for row in rows] == [str(p) for p in comparison.places]
    marks = [line.get_xdata()[0] for line in axes.lines]
    assert sorted(marks) == sorted(curve.ags for curve in curves)
    assert axes.get_xlabel() == "AGS of Recall@1"
    assert figure_bytes(figure, "png") == figure_bytes(
        plot_ranking(curves, comparison, title="glyphs"), "png"
    )


def test_sequences_are_lines_of_one_look():
    cards = [
        replace(card, sequence=name * 64, method=method, search="optimal")
        for method in ("a", "b")
        for name in "xyz"
        for card in make_cards(method, rng="xyz".index(name))
    ]
    spreads = across_sequences(cards)
    figure = plot_sequences(spreads, title="glyphs")
    lines = figure.axes[0].lines
    assert len(lines) == 6
    assert len({line.get_color() for line in lines}) == 2
    assert [text.splitlines()[0] for text in texts(figure)] == [s.label for s in spreads]
    assert all(text.endswith("(3 sequences)") for text in texts(figure))
    for line, curve in zip(lines, [c for s in spreads for c in s.curves], strict=True):
        np.testing.assert_array_equal(line.get_ydata(), curve.mean)
