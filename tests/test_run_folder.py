"""What a finished run leaves in its folder, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

from toys import toy_embeddings

import oodml
from oodml.methods import Budget
from oodml.sweep import RunStore, Sweep, run_sweep

BUDGET = Budget(steps=5, batch=16, per_class=4)


def test_a_finished_run_leaves_no_checkpoint(tmp_path: Path) -> None:
    """Also where it was killed between the model and the result, or while one was written."""
    vectors, store = toy_embeddings(12), RunStore(tmp_path)
    sequence = oodml.build_splits(vectors, levels=2)
    sweep = Sweep(("margin?dim=8",), (0,), budget=BUDGET)
    spec = sweep.specs(vectors, sequence)[0]
    run_sweep(vectors, sequence, sweep, store)
    folder = store.folder(spec)
    kept = store.model(spec).read_bytes()
    store.result(spec).unlink()
    for name in ("checkpoint.json", "checkpoint-0000003.safetensors", ".checkpoint.json.0a.tmp"):
        (folder / name).write_text("{}")
    run_sweep(vectors, sequence, sweep, store)
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *("spec.json", "env.json", "metrics.jsonl"),
        *("model.safetensors", "result.json"),
    }
    assert store.model(spec).read_bytes() == kept
    assert json.loads((folder / "env.json").read_text())["device"] in ("cpu", "cuda")
