"""Looking at a sequence: groups, and the figure of the sides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from toys import toy_embeddings

import oodml
from oodml.plot import figure_bytes, plot_sides
from oodml.plot.sides import principal_components
from oodml.shift import class_moments
from oodml.split import Split, SplitSequence, describe


def test_groups_are_where_most_of_their_classes_are() -> None:
    vectors = replace(toy_embeddings(6), groups=("x", "x", "x", "y", "y", "z"))
    c = vectors.classes
    first = Split(1, 1.0, (c[0], c[1], c[3]), (), (c[2], c[4], c[5]))
    second = Split(2, 2.0, (c[0], c[3], c[5]), (), (c[1], c[2], c[4]))
    rows = describe(SplitSequence("toy", (first, second)), vectors)
    # x goes from train (2 of 3) to test, y stays even, z goes from test to train.
    assert [row.groups_moved for row in rows] == [None, 2]
    assert [row.moved for row in rows] == [None, 1]
    assert (
        describe(SplitSequence("toy", (first, second)), toy_embeddings(6))[1].groups_moved is None
    )


@pytest.mark.parametrize("d", [1, 2, 30])
def test_principal_components_are_those_of_the_class_means(d: int) -> None:
    means = np.random.default_rng(0).standard_normal((12, d)) * np.arange(d, 0, -1)
    places, shares = principal_components(means)
    centred = means - means.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    for at in range(min(2, d)):
        expected = centred @ vectors[:, -1 - at]
        np.testing.assert_allclose(np.abs(places[:, at]), np.abs(expected), atol=1e-9)
        assert shares[at] == pytest.approx(values[-1 - at] / values.sum())
    assert (places[np.abs(places).argmax(axis=0), [0, 1]] >= 0).all()
    turned, _ = principal_components(-means)
    np.testing.assert_allclose(np.abs(turned), np.abs(places), atol=1e-9)


def test_equal_means_have_places_too() -> None:
    places, shares = principal_components(np.ones((5, 3)))
    assert not places.any()
    assert not shares.any()


@pytest.mark.parametrize("levels", [1, 3, 4, 9])
def test_the_figure_has_a_panel_a_split(levels: int) -> None:
    vectors = toy_embeddings(40)
    sequence = oodml.build_splits(vectors, levels=levels)
    figure = plot_sides(sequence, class_moments(vectors))
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert len(panels) == len(sequence.splits)
    for axes, split in zip(panels, sequence.splits, strict=True):
        drawn = {c.get_label(): len(c.get_offsets()) for c in axes.collections}
        assert drawn["train side"] == len(split.train_side)
        assert drawn["test"] == len(split.test)
        rest = 40 - len(split.train_side) - len(split.test)
        assert drawn.get("left out", 0) == rest
    assert figure_bytes(figure, "svg") == figure_bytes(figure, "svg")
