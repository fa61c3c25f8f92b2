"""The benches of embedding and of large sets: what they print was measured, and is right."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from toys import toy_embeddings

import oodml
from oodml.bench import bench_large, embed
from oodml.bench.large import Size, write_large
from oodml.cli import main


@pytest.mark.slow
def test_all_ways_of_embedding_give_the_same_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "bench_reading", lambda **_: [])
    shown = CliRunner().invoke(main, ["bench", "embed", "--quick", "--json"])
    assert shown.exit_code == 0, shown.output
    rows = json.loads(shown.stdout)
    assert len(rows) == 4
    assert [row["way"].split(",")[0] for row in rows] == [
        "oodml",
        "oodml",
        *["torch as it comes"] * 2,
    ]
    for row in rows:
        assert row["seconds"] > 0
        assert float(row["note"].rsplit(" ", 1)[1]) > (0.99 if "bf16" in row["way"] else 0.99999)


def test_the_change_of_recall_is_the_largest_of_all_sides() -> None:
    exact = toy_embeddings()
    assert embed._changes(exact, exact).startswith("largest 0.0000, over all images and the test")
    noise = np.random.default_rng(0).standard_normal(exact.vectors.shape).astype(np.float32)
    changed = replace(exact, vectors=exact.vectors + noise)
    text = embed._changes(exact, changed)
    largest = float(text.split()[1].rstrip(","))
    before, after = (float(text.split(f"{name} ")[1].split(",")[0]) for name in ("float32", "bf16"))
    assert largest >= round(abs(before - after), 4) > 0


def test_without_photos_only_time_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OODML_TEST_DATA", str(tmp_path))
    few = oodml.load_data("digits")
    monkeypatch.setattr(embed, "load_data", lambda _: few)
    monkeypatch.setattr(embed, "_BARE", "oodml:pixels?size=8")
    monkeypatch.setattr(embed, "_PRECISIONS", ("float32",))
    *timed, last = embed._recall()
    assert [row.seconds is not None for row in timed] == [True]
    assert last.seconds is None
    assert last.note == (
        f"unknown: there are no photos and weights in {tmp_path}; random weights, time only"
    )


def test_a_large_set_goes_through_the_cache_and_is_scored() -> None:
    rows = list(bench_large(size=Size(1200, 60, 8, noise=1.0)))
    assert [row.way.split()[0] for row in rows] == ["write", "read", "build", "score"]
    assert all(row.seconds is not None for row in rows)
    assert "600 queries, recall@1 0." in rows[-1].note


def test_what_is_written_shard_by_shard_is_one_map(tmp_path: Path) -> None:
    size = Size(20_000, 50, 4)
    write_large(tmp_path, size)
    found = oodml.read_embeddings(tmp_path)
    assert found.vectors.shape == (20_000, 4)
    assert found.labels.tolist() == [row % 50 for row in range(20_000)]
    spread = [found.vectors[found.labels == c].std(axis=0).mean() for c in range(3)]
    np.testing.assert_allclose(spread, size.noise, rtol=0.1)
    assert found.ids[51] == "c00001/0000051.jpg"


def test_only_what_was_left_by_a_killed_run_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OODML_HOME", str(tmp_path))
    for name in (".bench-left", ".bench-running"):
        (tmp_path / name).mkdir()
    os.utime(tmp_path / ".bench-left", (0, 0))
    next(bench_large(size=Size(1200, 60, 8)))
    assert [path.name for path in tmp_path.glob(".bench-[lr]*")] == [".bench-running"]
