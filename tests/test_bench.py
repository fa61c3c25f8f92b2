"""The benchmarks: their true values are true, and the table says what was measured."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from oodml.bench import BenchRow, bench_retrieval, curves
from oodml.bench.retrieval import FAR, NEAR
from oodml.bench.splits import (
    PeerDistance,
    _by_root,
    _peer,
    _sqrtm_of,
    as_embeddings,
    known_distance,
)
from oodml.bench.timing import peak_memory, timed
from oodml.cli import main
from oodml.shift import MEASURES


@pytest.mark.parametrize(("n", "d"), [(5, 40), (20, 60)])
def test_the_known_distance_is_the_distance(n: int, d: int) -> None:
    x, y, truth = known_distance(n, d, seed=0)
    assert x.shape == y.shape == (n, d)
    assert MEASURES["frechet"](x, y) == pytest.approx(truth, rel=1e-12)
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    np.testing.assert_allclose(a @ b, b @ a, atol=1e-9)
    on = MEASURES["frechet"].on(as_embeddings(x, y))
    # Embeddings are float32 elsewhere; here they keep the precision that the error is measured in.
    assert on(np.arange(n), np.arange(n, 2 * n)) == pytest.approx(truth, rel=1e-12)


def test_time_is_the_median_and_the_result_the_last() -> None:
    calls: list[int] = []

    def call() -> int:
        calls.append(1)
        return len(calls)

    seconds, result = timed(call, repeats=3)
    assert (len(calls), result) == (4, 4)
    assert seconds >= 0
    assert timed(call, repeats=1, warm=False)[1] == 5


def test_ratios_are_against_the_first_way_of_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        BenchRow("task", "ours", 0.002, 1e-16),
        BenchRow("task", "theirs", 2.0, 5e-6, "slow"),
        BenchRow("task", "absent", None, note="not installed"),
    ]
    monkeypatch.setattr("oodml.bench.bench_splits", lambda **_: rows)
    shown = CliRunner().invoke(main, ["bench", "splits"])
    assert shown.exit_code == 0, shown.output
    ours, theirs, absent = (
        line
        for line in shown.stdout.splitlines()
        if " 0.002" in line or "theirs" in line or "absent" in line
    )
    assert "1.0" in ours
    assert "1,000.0" in theirs
    assert "not installed" in absent
    found = json.loads(CliRunner().invoke(main, ["bench", "splits", "--json"]).stdout)
    assert [row["seconds"] for row in found] == [0.002, 2.0, None]


def test_all_ways_of_retrieval_give_the_same_metrics() -> None:
    """faiss and pytorch-metric-learning are second opinions here, where they are installed."""
    rows = list(bench_retrieval(quick=True))
    tasks = list(dict.fromkeys(row.task for row in rows))
    assert tasks[0].startswith(f"{NEAR[0]} to recall@8 and map@r, 1,200 x 24")
    assert tasks[1].startswith(f"{FAR[0]} to recall@1000")
    for task in tasks[:2]:
        first, *others = (row for row in rows if row.task == task)
        assert (first.way, len(others)) == ("oodml", 6)
        values = dict(text.rsplit(" ", 1) for text in first.note.split("; ")[-1].split(", "))
        assert 0.3 < float(values["recall@1"]) < 0.999
        for row in others:
            if row.seconds is None:
                assert "not installed" in row.note
            else:
                away = row.note.split("differ by up to ")[1].split(";")[0]
                assert float(away) < 1e-9, row
    assert "without recall@2, recall@4, recall@8" in " ".join(row.note for row in rows)


def test_peak_memory_sees_what_was_taken_for_a_while() -> None:
    with peak_memory(every=0.001) as peak:
        block = np.ones(256 * 2**17)  # 256 MiB, of which the process may have some left over
        for _ in range(10):
            block.sum()
        del block
    assert peak.mib is None or 100 < peak.mib < 500


def test_a_quick_run_has_every_row_and_ours_is_exact() -> None:
    shown = CliRunner().invoke(main, ["bench", "splits", "--quick", "--json"])
    assert shown.exit_code == 0, shown.output
    rows = json.loads(shown.stdout)
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    assert len(tasks) == 6
    assert any("300 + 300 images x 64" in task for task in tasks)
    assert any("5,000 classes x 64, 4 steps of 50 swaps" in task for task in tasks)
    for task in tasks:
        first = next(row for row in rows if row["task"] == task)
        assert first["way"].startswith("oodml")
        assert first["seconds"] > 0
        assert first["error"] is None or first["error"] < 1e-9


def test_the_root_of_the_bench_is_the_distance() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(60, 20)), rng.normal(size=(50, 20))
    parts = [part for side in (x, y) for part in (side.mean(axis=0), np.cov(side, rowvar=False))]
    assert _by_root(*parts) == pytest.approx(MEASURES["frechet"](x, y), rel=1e-9)


def test_a_peer_that_fails_says_so_and_its_formula_is_timed() -> None:
    def broken() -> PeerDistance:
        def distance(*_: Any) -> float:
            raise TypeError("sqrtm() got an unexpected keyword argument 'disp'")

        return distance

    moments = (np.zeros(3), np.eye(3), np.ones(3), 4 * np.eye(3))
    row = _peer("task", "peer", broken, moments, 6.0)
    assert (row.seconds, "disp" in row.note) == (None, True)
    assert _sqrtm_of(moments, offset=0.0) == pytest.approx(6.0)


def test_the_loops_of_the_curve_bench_find_the_same_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "METHODS", 2)
    monkeypatch.setattr(curves, "SEEDS", 2)
    monkeypatch.setattr(curves, "SPLITS", 3)
    cards = curves.make_cards(30, np.random.default_rng(1))
    drawn = curves.by_card(cards, 2000)
    assert drawn.shape == (2000, 2, 3)
    assert curves._error(cards, drawn) < 1e-9
    last = [card.values["recall@1"] for card in cards]
    assert curves.by_class(cards, 1) != last
    by_loops = np.array(curves.by_class(cards, 7)).reshape(2, 2, 3).mean(axis=1)
    np.testing.assert_allclose(by_loops, drawn[6])


def test_curves_are_benched_in_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "METHODS", 2)
    shown = CliRunner().invoke(main, ["bench", "curves", "--quick", "--json"])
    rows = json.loads(shown.stdout)
    assert len(rows) == 4
    assert all(row["seconds"] > 0 for row in rows)
    assert "of 2000 replicates timed" in rows[-1]["note"]
