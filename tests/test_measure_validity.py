"""`scripts/measure_validity.py` on toy embeddings, and on points whose answer is known."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from toys import toy_embeddings

from oodml.embed import write_embeddings
from oodml.store import write_json
from scripts import load_script

MEASURES = ("energy", "frechet", "mmd")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("measure_validity")


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """One small sequence of two searches."""
    write_embeddings(tmp_path / "toy.emb", toy_embeddings(16))
    words = f"--without-glyphs --embeddings {tmp_path}/toy.emb -o {tmp_path}/out --seeds 1 "
    words += "--measures frechet energy --grades frechet --searches optimal fixed-test "
    return (words + "--levels 3 --controls 1 --head-seeds 2 --steps 3 --batch 16").split()


def test_runs_resumes_and_refuses_other_settings(script, arguments, tmp_path, capsys) -> None:
    assert script.main(arguments) == 0
    first = capsys.readouterr().out
    assert "| measure | plain | within | partial |" in first
    assert "energy - frechet" in first or "frechet - energy" in first
    files = sorted((tmp_path / "out" / "toy").iterdir())
    assert [path.name for path in files] == ["fixed-test-frechet-0.json", "optimal-frechet-0.json"]
    written = [path.stat().st_mtime_ns for path in files]
    assert script.main(arguments) == 0
    assert capsys.readouterr().out == first
    assert [path.stat().st_mtime_ns for path in files] == written
    assert script.main([*arguments, "--steps", "4"]) == 1
    said = capsys.readouterr().err
    assert "other budget" in said
    assert "-o" in said


def test_points_say_what_was_measured(script, arguments, tmp_path) -> None:
    """Random partitions keep the sizes, and the shifts of levels grow."""
    script.main(arguments)
    record = json.loads((tmp_path / "out" / "toy" / "optimal-frechet-0.json").read_text())
    levels = [point for point in record["points"] if point["kind"] == "level"]
    chance = [point for point in record["points"] if point["kind"] == "random"]
    assert len(levels) == 3
    assert len(chance) == 1
    shifts = [point["shift"]["frechet"] for point in levels]
    assert shifts == sorted(shifts)
    sizes = {(point["train_classes"], point["test_classes"]) for point in record["points"]}
    assert sum(next(iter(sizes))) == round(16 * 2 / 3)
    assert all(len(point["trained"]) == 2 for point in record["points"])
    assert all(0 <= point["frozen"] <= 1 for point in record["points"])
    fixed = json.loads((tmp_path / "out" / "toy" / "fixed-test-frechet-0.json").read_text())
    assert len({p["frozen"] for p in fixed["points"] if p["kind"] == "level"}) == 1


def known_points(folder: Path, data: str, seed: int, sequences: int = 8, grade: str = "mmd"):
    """Loss is frozen loss and `energy`; `frechet` is frozen loss alone, `mmd` is noise."""
    rng = np.random.default_rng(seed)
    for number in range(sequences):
        hardness, shift, noise = rng.random((3, 10))
        points = [
            {
                "kind": "level",
                "rank": rank,
                "train_classes": 30,
                "test_classes": 30,
                "frozen": 0.8 - 0.3 * hardness[rank],
                "trained": [0.8 - 0.3 * hardness[rank] - 0.1 * shift[rank]],
                "shift": {
                    "energy": shift[rank] ** 2,
                    "frechet": np.exp(hardness[rank]),
                    "mmd": noise[rank],
                },
            }
            for rank in range(10)
        ]
        plan = {"search": "optimal", "grade": grade, "seed": number}
        path = folder / data / f"optimal-{grade}-{number}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        settings = {"measures": MEASURES}
        write_json(path, "validity-points", {"settings": settings, "plan": plan, "points": points})


def test_finds_the_measure_that_is_left_once_frozen_recall_is_known(script, tmp_path) -> None:
    """The measure that only repeats frozen recall looks best, and is worth nothing given that."""
    for seed, data in enumerate(["one", "two"]):
        known_points(tmp_path, data, seed)
    tables = script.read_tables(tmp_path)
    energy, frechet, _ = np.mean([script.plain_ranks(table) for table in tables], axis=0)
    assert frechet > energy > 0.1
    values, each = script.correlations(tables)[0]
    assert each.shape == (8, 3)
    low, high = script.mean_interval(values[None], [each])
    assert low[0] > 0.9
    assert high[1:].max() < 0.6
    assert low[1:].max() < 0.2


def test_sequences_a_measure_graded_itself_can_be_left_out(script, tmp_path) -> None:
    known_points(tmp_path, "one", 0, grade="mmd")
    known_points(tmp_path, "one", 1, grade="energy")
    tables = script.read_tables(tmp_path)
    (chosen,) = script.graded_by_others(tables, "energy")
    assert set(chosen.sequence.tolist()) == {f"optimal-mmd-{n}" for n in range(8)}
    assert len(chosen.loss) == len(chosen.shift) == len(chosen.given) == 80
    assert script.correlations(script.graded_by_others(tables, "energy", "mmd")) == []
    assert script.shown([], script.pick(0)) == "-"


def test_all_sequences_of_a_draw_can_be_left_out_together(script, tmp_path) -> None:
    """The value stays, and what is left without a draw is the table without its sequences."""
    known_points(tmp_path, "one", 0, grade="mmd")
    known_points(tmp_path, "one", 1, grade="energy")
    (by_sequence,) = script.correlations(script.read_tables(tmp_path))
    (table,) = script.read_tables(tmp_path, "draws")
    products = table.products()
    assert len(products) == len(np.unique(table.cluster)) == 8
    (by_draw,) = script.correlations([table])
    np.testing.assert_allclose(by_draw[0], by_sequence[0])
    left = table.where(table.cluster != "pool-0").products()
    np.testing.assert_allclose(
        script.with_loss(left.sum(axis=0), script.GIVEN), by_draw[1][0], atol=0.02
    )  # ranks are taken anew among fewer splits


def test_a_difference_is_of_two_measures_and_starred_where_it_excludes_zero(script, tmp_path):
    known_points(tmp_path, "one", 0)
    found = script.correlations(script.read_tables(tmp_path))
    values = found[0][0]
    text = script.shown(found, script.pick(0, 2), mark=True)
    assert text.startswith(f"{values[0] - values[2]:.2f} (")
    assert text.endswith("*")
    assert not script.shown(found, script.pick(0, 0), mark=True).endswith("*")


def test_print_only_needs_points(script, tmp_path, capsys) -> None:
    assert script.main(["-o", str(tmp_path), "--print-only"]) == 1
    assert "holds no points" in capsys.readouterr().err
    assert script.main(["-o", str(tmp_path / "absent"), "--print-only"]) == 1
    assert "holds no points" in capsys.readouterr().err
    known_points(tmp_path, "one", 0)
    assert script.main(["-o", str(tmp_path), "--print-only"]) == 0
    assert "one: 80 splits of 8 sequences, 8 clusters" in capsys.readouterr().out
    assert script.main(["-o", str(tmp_path), "--print-only", "--searches", "ooDML"]) == 1
    assert "holds no points" in capsys.readouterr().err
    assert script.main(["-o", str(tmp_path), "--print-only", "--kinds", "random"]) == 1
