"""Intervals and tests of curves where the truth is known (`scripts/simulate_intervals.py`)."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from scripts import load_script


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("simulate_intervals")


def test_coverage_of_the_95_percent_interval_at_60_classes_and_3_seeds(script) -> None:
    splits, areas = script.coverage(script.World(), seeds=3, simulations=200)
    assert splits >= 0.90
    assert areas >= 0.90


def test_equal_methods_are_seldom_called_different(script) -> None:
    pairs, families = script.false_findings(script.World(luck=0.02), seeds=3, simulations=150)
    assert pairs <= 0.09  # three standard errors above .05
    assert families == pairs  # of one pair


def test_methods_that_differ_are_found(script, monkeypatch) -> None:
    """The positive control: a test that never finds anything keeps its error rate as well."""
    plain = script._card

    def worse(method, *rest):
        card = plain(method, *rest)
        if method == "m1":
            card.sums["recall@1"].flags.writeable = True
            card.sums["recall@1"][:] *= 0.9
        return card

    monkeypatch.setattr(script, "_card", worse)
    pairs, _ = script.false_findings(script.World(), seeds=3, simulations=20)
    assert pairs >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 5, 10])
def test_coverage_at_other_numbers_of_seeds(script, seeds) -> None:
    splits, areas = script.coverage(script.World(), seeds, simulations=300)
    assert min(splits, areas) >= 0.90


@pytest.mark.slow
def test_one_seed_covers_less_as_its_note_says(script) -> None:
    world = script.World(luck=0.03)
    one, three = (script.coverage(world, seeds, simulations=150) for seeds in (1, 3))
    assert one[0] < 0.85 < 0.90 <= three[0]


@pytest.mark.slow
def test_after_holm_the_chance_of_any_false_finding_is_kept(script) -> None:
    _, families = script.false_findings(script.World(), seeds=5, simulations=150, methods=4)
    assert families <= 0.10


def test_the_script_prints_its_tables(script, monkeypatch, capsys) -> None:
    monkeypatch.setattr(script, "SEEDS", (1, 2))
    monkeypatch.setattr(sys, "argv", ["simulate_intervals.py", "--simulations", "2"])
    script.main()
    printed = capsys.readouterr().out
    assert printed.count("| 60 of 90, 0.01 |") == 2
    assert printed.count("| 500 of 1000, 0.01 |") == 1
