"""`oodml curve` as a user gives it: figures, tables, CSV and JSON of the same numbers."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from test_cli import as_json, call, error, ok
from toys import toy_embeddings

import oodml
from oodml.curve import compare_methods
from oodml.embed import write_embeddings
from oodml.methods import Budget
from oodml.sweep import read_cards

METHODS = ("frozen", "multisimilarity?dim=8", "multisimilarity?dim=4")
BUDGET = Budget(steps=5, batch=16, per_class=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with three methods on two sequences of one search, one of them with controls."""
    folder = tmp_path_factory.mktemp("curves")
    vectors = toy_embeddings(24, noise=4.0)
    write_embeddings(folder / "toy.emb", vectors)
    for seed in (0, 1):
        sequence = oodml.build_splits(
            vectors, search="fixed-test", levels=3, seed=seed, controls=2, partitions=50
        )
        oodml.write_sequence(folder / f"s{seed}.json", sequence)
        oodml.run_methods(
            vectors,
            sequence,
            methods=METHODS,
            seeds=(0, 1),
            budget=BUDGET,
            controls=seed == 0,
            store=folder / "runs",
        )
    return folder


@pytest.fixture(scope="module")
def first(folder: Path) -> tuple[str, ...]:
    """The arguments that choose the first sequence."""
    return ("--sequence", oodml.read_sequence(folder / "s0.json").digest[:12])


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def same(text: str, value: Any) -> bool:
    if isinstance(value, bool | str) or value is None:
        return text == ("" if value is None else str(value))
    return float(text) == pytest.approx(value)


def test_everything_is_printed_and_drawn(
    folder: Path, first: tuple[str, ...], tmp_path: Path
) -> None:
    out = ("-o", tmp_path / "c.svg", "-o", tmp_path / "c.png", "--ranking", tmp_path / "r.svg")
    shown = ok("curve", folder / "runs", *first, *out, "--csv", tmp_path / "c.csv")
    for text in ("AGS", "slope", "retention", "place", "difference of AGS", "p, Holm"):
        assert text in shown
    assert "Kendall's tau" in shown
    assert "Controls, random partitions" in shown
    assert "deterministic: intervals cover the choice of classes only" in shown
    files = ("c.csv", "c.differences.csv", "c.order.csv", "c.png", "c.svg", "r.svg")
    assert sorted(path.name for path in tmp_path.iterdir()) == list(files)
    assert all(str(tmp_path / name) in shown for name in files)


def test_csv_and_json_hold_every_number(
    folder: Path, first: tuple[str, ...], tmp_path: Path
) -> None:
    found = as_json("curve", folder / "runs", *first, "--csv", tmp_path / "c.csv")
    rows = table(tmp_path / "c.csv")
    assert len(rows) == sum(len(curve["ranks"]) for curve in found["curves"])
    at = iter(rows)
    for curve in found["curves"]:
        for index, rank in enumerate(curve["ranks"]):
            row = next(at)
            assert row["rank"] == str(rank)
            for name in ("x", "mean", "low", "high", "chance", "control", "control_low", "excess"):
                assert same(row[name], curve[name][index]), name
            for name in ("ags", "ags_low", "slope", "slope_high", "retention", "retention_error"):
                assert same(row[name], curve[name]), name
    comparison = found["comparison"]
    pairs = table(tmp_path / "c.differences.csv")
    assert len(pairs) == len(comparison["differences"]) == 3
    for row, pair in zip(pairs, comparison["differences"], strict=True):
        assert all(same(row[name], value) for name, value in pair.items())
    (order,) = table(tmp_path / "c.order.csv")
    assert all(same(order[name], value) for name, value in comparison["order"].items())
    cards = [c for c in read_cards([folder / "runs"]) if c.sequence.startswith(first[1])]
    assert json.loads(json.dumps(compare_methods(cards).to_json())) == comparison


def test_views_and_axes(folder: Path, first: tuple[str, ...], tmp_path: Path) -> None:
    words = ("curve", folder / "runs", *first, "-o", tmp_path / "c.svg")
    raw = {curve["method"]: curve for curve in as_json(*words)["curves"]}
    gain = as_json(*words, "--view", "minus-frozen", "--x", "normalised")["curves"]
    assert {curve["method"] for curve in gain} == {*METHODS[1:]}
    for curve in gain:
        assert (curve["x"][0], curve["x"][-1]) == (0, 1)
        expected = raw[curve["method"]]["ags"] - raw["frozen"]["ags"]
        assert curve["ags"] == pytest.approx(expected)
    ranked = as_json(*words, "--x", "rank")["curves"][0]
    assert ranked["x"] == ranked["ranks"]
    assert "Recall@1 above frozen" in ok(*words, "--view", "minus-frozen")
    message = error(*words, "--view", "equal-galleries")
    assert "oodml run --metric 'recall@1|" in message


def test_all_sequences_together(folder: Path, first: tuple[str, ...], tmp_path: Path) -> None:
    words = ("curve", folder / "runs", "--all-sequences", "-o", tmp_path / "s.png")
    shown = ok(*words, "--csv", tmp_path / "s.csv")
    assert "between sequences" in shown
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.csv", "s.png", "s.sequences.csv"]
    found = as_json(*words)
    assert found["methods"][0]["label"] == "frozen"
    alone = as_json("curve", folder / "runs", *first)["curves"]
    for method in found["methods"]:
        assert method["ags"] == pytest.approx(sum(method["each"]) / 2)
        (own,) = [curve["ags"] for curve in alone if curve["method"] == method["label"]]
        assert any(value == pytest.approx(own) for value in method["each"])
    for row, method in zip(table(tmp_path / "s.sequences.csv"), found["methods"], strict=True):
        assert float(row["between"]) == pytest.approx(method["between"])
    message = error("curve", folder / "runs", "-o", tmp_path / "c.svg")
    assert "2 sequences or sets of images match" in message
    assert "--all-sequences" in message
    result = call(*words, "--x", "rank")
    assert result.exit_code == 2
    assert "--all-sequences goes with" in result.output


def test_an_unfinished_sweep_is_an_error_unless_asked_for(
    folder: Path, first: tuple[str, ...], tmp_path: Path
) -> None:
    store = tmp_path / "runs"
    shutil.copytree(folder / "runs", store)
    for result in store.glob("*/*/result.json"):
        (card,) = json.loads(result.read_text())["cards"]
        if (card["method"], card["rank"], card["seed"], card["control"]) == (
            METHODS[1],
            2,
            1,
            None,
        ):
            shutil.rmtree(result.parent)
    words = ("curve", store, *first, "-o", tmp_path / "c.svg")
    message = error(*words)
    assert f"{METHODS[1]}: no results of seed 1 at rank 2" in message
    assert not (tmp_path / "c.svg").exists()
    shown = ok(*words, "--partial")
    assert "no results of seed 1 at rank 2: no AGS" in shown
    assert "difference of AGS" not in shown
    ranking = ("--partial", "--ranking", tmp_path / "r.svg")
    (tmp_path / "c.svg").unlink()
    assert "There is nothing to rank" in error(*words, *ranking)
    assert not (tmp_path / "c.svg").exists()
