"""Runs: named by what they depend on, kept, resumed, the same wherever they run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import toy_embeddings

import oodml
from oodml.curve import build_curves, labels
from oodml.embed import EmbeddingSet
from oodml.errors import FormatError, OodmlError, RunError, SplitError, UnknownNameError
from oodml.methods import Budget
from oodml.score import ScoreCard
from oodml.split import SplitSequence
from oodml.sweep import (
    RunSpec,
    RunStore,
    SerialExecutor,
    Sweep,
    make_executor,
    read_cards,
    run_sweep,
)
from oodml.sweep import jobs as jobs_module

TRAINED = "multisimilarity?dim=8"


@pytest.fixture(scope="module")
def vectors() -> EmbeddingSet:
    return toy_embeddings(20)


@pytest.fixture(scope="module")
def sequence(vectors: EmbeddingSet) -> SplitSequence:
    return oodml.build_splits(vectors, levels=3)


@pytest.fixture
def sweep() -> Sweep:
    return Sweep(("frozen", TRAINED), (0, 1), budget=Budget(steps=5, batch=16, per_class=4))


def test_a_spec_a_split_method_and_seed(
    vectors: EmbeddingSet, sequence: SplitSequence, sweep: Sweep
) -> None:
    specs = sweep.specs(vectors, sequence)
    levels = len(sequence.splits)
    assert len(specs) == levels * (1 + 2)
    assert len({spec.digest() for spec in specs}) == len(specs)
    assert all(spec.seed is None for spec in specs if spec.method == "frozen")
    assert specs == sweep.specs(vectors, sequence)


def test_a_spec_depends_on_every_field(
    vectors: EmbeddingSet, sequence: SplitSequence, sweep: Sweep
) -> None:
    spec = sweep.specs(vectors, sequence)[-1]
    record = spec.to_json()
    assert RunSpec.from_json(json.loads(json.dumps(record))).digest() == spec.digest()
    for name, value in record.items():
        other = {**value, "x": 1} if isinstance(value, dict) else (value or 0) * 2 or 7
        assert RunSpec.from_json({**record, name: other}).digest() != spec.digest(), name


def test_results_are_files_that_come_back(
    tmp_path: Path, vectors: EmbeddingSet, sequence: SplitSequence, sweep: Sweep
) -> None:
    store = RunStore(tmp_path)
    cards = run_sweep(vectors, sequence, sweep, store)
    again = {json.dumps(card.to_json()) for card in read_cards([tmp_path])}
    assert again == {json.dumps(card.to_json()) for card in cards}
    trained = store.folder(sweep.specs(vectors, sequence)[-1])
    names = {path.name for path in trained.iterdir()}
    assert names == {"spec.json", "env.json", "metrics.jsonl", "result.json", "model.safetensors"}
    assert len((trained / "metrics.jsonl").read_text().splitlines()) == 5
    environment = json.loads((trained / "env.json").read_text())
    assert environment["packages"]["oodml"] == oodml.__version__
    for path in trained.glob("*.json"):
        assert str(tmp_path) not in path.read_text(), f"{path.name} holds a path"


def test_the_weights_of_a_run_are_plain_safetensors(
    tmp_path: Path, vectors: EmbeddingSet, sequence: SplitSequence, sweep: Sweep
) -> None:
    from safetensors.torch import load_file

    run_sweep(vectors, sequence, sweep, RunStore(tmp_path))
    folder = RunStore(tmp_path).folder(sweep.specs(vectors, sequence)[-1])
    state = load_file(folder / "model.safetensors")
    assert {key: tuple(value.shape) for key, value in state.items()} == {
        "head.weight": (8, 12),
        "head.bias": (8,),
    }


def test_finished_runs_are_not_repeated(
    tmp_path: Path, vectors: EmbeddingSet, sequence: SplitSequence, sweep: Sweep
) -> None:
    store = RunStore(tmp_path)
    first = run_sweep(vectors, sequence, sweep, store)
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("result.json")}
    victim = store.folder(sweep.specs(vectors, sequence)[1]) / "result.json"
    victim.unlink()
    steps: list[tuple[int, int]] = []
    again = run_sweep(
        vectors, sequence, sweep, store, progress=lambda done, total: steps.append((done, total))
    )
    changed = {p for p, stamp in stamps.items() if p.stat().st_mtime_ns != stamp}
    assert changed == {victim}
    assert steps == [(len(first), len(first))]
    assert [c.to_json() for c in again] == [c.to_json() for c in first]


def test_serial_and_local_give_the_same(
    tmp_path: Path, vectors: EmbeddingSet, sequence: SplitSequence, sweep: Sweep
) -> None:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker has
    try:
        serial = run_sweep(vectors, sequence, sweep, RunStore(tmp_path / "serial"))
    finally:
        torch.set_num_threads(threads)
    local = run_sweep(
        vectors,
        sequence,
        sweep,
        RunStore(tmp_path / "local"),
        executor=lambda: make_executor("local"),
    )
    assert [c.to_json() for c in serial] == [c.to_json() for c in local]


@pytest.mark.slow
def test_workers_that_die_lose_nothing(
    tmp_path: Path, vectors: EmbeddingSet, sequence: SplitSequence, sweep: Sweep
) -> None:
    """A pool whose workers were killed is made anew for what is left."""
    pools: list[Executor] = []

    def make() -> Executor:
        pool = make_executor("local")
        pools.append(pool)
        if len(pools) == 1:
            pool.submit(os.getpid).result()  # a worker is up
            for process in list(pool._processes.values()):  # type: ignore[attr-defined]
                process.kill()
        return pool

    cards = run_sweep(vectors, sequence, sweep, RunStore(tmp_path), executor=make)
    assert len(pools) == 2
    assert len(cards) == len(sweep.specs(vectors, sequence))


def test_workers_that_always_die_are_said(
    tmp_path: Path, vectors: EmbeddingSet, sequence: SplitSequence, sweep: Sweep
) -> None:
    class Broken(SerialExecutor):
        def submit(self, *_: object, **__: object) -> Future[Any]:
            raise BrokenExecutor

    with pytest.raises(
        RunError, match=r"Workers died 3 times; 9 runs are left, such as frozen, split 1"
    ):
        run_sweep(vectors, sequence, sweep, RunStore(tmp_path), executor=Broken)


def test_failures_stop_nothing_else_and_are_listed(
    tmp_path: Path,
    vectors: EmbeddingSet,
    sequence: SplitSequence,
    sweep: Sweep,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = jobs_module.score_split

    def fail_at_two(*args: object, **kwargs: object) -> object:
        if args[2] == 2:
            raise ZeroDivisionError("a bug")
        return whole(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(jobs_module, "score_split", fail_at_two)
    store = RunStore(tmp_path)
    with pytest.raises(RunError, match="3 of 9 runs failed") as caught:
        run_sweep(vectors, sequence, sweep, store)
    text = str(caught.value)
    assert "multisimilarity?dim=8, split 2, seed 1: ZeroDivisionError: a bug" in text
    log = Path(text.rsplit("see ", 1)[1].split(")")[0])
    assert "Traceback" in log.read_text()
    assert len(store.all_cards()) == 6
    monkeypatch.undo()
    assert len(run_sweep(vectors, sequence, sweep, store)) == 9
    assert not log.exists()


def test_data_without_the_classes_is_refused_before_anything_runs(
    tmp_path: Path, vectors: EmbeddingSet, sequence: SplitSequence, sweep: Sweep
) -> None:
    fewer = vectors.of(vectors.classes[:10])
    with pytest.raises(SplitError, match="classes of the splits of 'toy' are not in 'toy'"):
        run_sweep(fewer, sequence, sweep, RunStore(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_other_vectors_are_other_runs(
    vectors: EmbeddingSet, sequence: SplitSequence, sweep: Sweep
) -> None:
    moved = replace(vectors, vectors=vectors.vectors * 2)
    assert {s.digest() for s in sweep.specs(moved, sequence)}.isdisjoint(
        s.digest() for s in sweep.specs(vectors, sequence)
    )


def test_stores_are_named_when_they_are_empty_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="There is no run store at"):
        read_cards([tmp_path / "none"])
    with pytest.raises(RunError, match="no finished runs"):
        read_cards([tmp_path])
    path = tmp_path / "ab" / "abc" / "result.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"format": "oodml.result", "version": 1, "cards": [{}]}')
    with pytest.raises(FormatError, match=r"result\.json: This is no score card"):
        read_cards([tmp_path])


def test_python_runs_methods_in_one_call(vectors: EmbeddingSet, sequence: SplitSequence) -> None:
    cards = oodml.run_methods(vectors, sequence, methods=["frozen"])
    assert [card.rank for card in cards] == [split.rank for split in sequence.splits]
    data = oodml.load_data("digits")
    digits = oodml.build_splits(oodml.embed_data(data, "oodml:hog?size=16"), levels=2)
    again = oodml.run_methods(data, digits, methods=["frozen"])
    assert {card.encoder for card in again} == {"oodml:hog?size=16"}
    with pytest.raises(RunError, match="do not say which encoder"):
        oodml.run_methods(data, sequence, methods=["frozen"])


def test_unknown_methods_and_executors_are_refused_at_once(
    vectors: EmbeddingSet, sequence: SplitSequence
) -> None:
    with pytest.raises(UnknownNameError, match="nearest: frozen"):
        oodml.run_methods(vectors, sequence, methods=["froze"])
    with pytest.raises(OodmlError, match="no executor; there are serial and local"):
        make_executor("rayy")


# What a store keeps apart -------------------------------------------------------------------------


def drawn(cards: list[ScoreCard]) -> list[str]:
    return labels(build_curves(cards))


def test_other_budgets_and_selections_are_other_curves(
    tmp_path: Path, vectors: EmbeddingSet, sequence: SplitSequence, sweep: Sweep
) -> None:
    store = RunStore(tmp_path)
    run_sweep(vectors, sequence, sweep, store)
    run_sweep(vectors, sequence, replace(sweep, budget=replace(sweep.budget, steps=6)), store)
    names = drawn(read_cards([tmp_path]))
    assert len(names) == 3
    assert sum("steps 5" in name for name in names) == 1
    assert sum("steps 6" in name for name in names) == 1
    run_sweep(vectors, sequence, replace(sweep, selection="val"), store)
    names = drawn(read_cards([tmp_path]))
    assert len(names) == 4
    assert sum("val" in name.split(" · ") for name in names) == 1


def test_edited_vectors_are_run_again(
    tmp_path: Path, vectors: EmbeddingSet, sequence: SplitSequence
) -> None:
    """Also where their meta still names the encoder that made the first ones."""
    spec = oodml.open_encoder("oodml:hog").spec
    named = replace(vectors, encoder=spec, source=spec.name)
    edited = replace(named, vectors=np.array(named.vectors)[:, :5])
    frozen = Sweep(("frozen",))
    store = RunStore(tmp_path)
    first, second = (run_sweep(v, sequence, frozen, store) for v in (named, edited))
    assert [c.values for c in first] != [c.values for c in second]
    assert len(set(drawn([*first, *second]))) == 2


def test_results_on_other_images_are_never_in_one_figure(
    tmp_path: Path, vectors: EmbeddingSet, sequence: SplitSequence
) -> None:
    other = replace(vectors, content_fingerprint="other images")
    cards = [
        *run_sweep(vectors, sequence, Sweep(("frozen",)), RunStore(tmp_path)),
        *run_sweep(other, sequence, Sweep((TRAINED,), (0,)), RunStore(tmp_path)),
    ]
    with pytest.raises(RunError, match=r"differ in images \(content fingerprint\)"):
        build_curves(cards)


def test_files_of_bare_vectors_are_compared(tmp_path: Path) -> None:
    """Two frameworks, one split file: two curves of one data set, named by their files."""
    toy = toy_embeddings(20)
    names = np.array(toy.classes)[toy.labels]
    for name, scale in (("resnet", 1.0), ("clip", 0.2)):
        noise = np.random.default_rng(0).standard_normal(toy.vectors.shape)
        np.savez(tmp_path / f"{name}.npz", vectors=toy.vectors * scale + noise, labels=names)
    sets = [oodml.read_embeddings(tmp_path / f"{name}.npz") for name in ("resnet", "clip")]
    sequence = oodml.build_splits(sets[0], levels=3)
    store = RunStore(tmp_path / "runs")
    for vectors in sets:
        run_sweep(vectors, sequence, Sweep(("frozen",)), store)
    curves = build_curves(read_cards([tmp_path / "runs"]))
    assert sorted(labels(curves)) == ["clip", "resnet"]


def test_a_split_without_validation_classes_cannot_select_by_them(
    tmp_path: Path, vectors: EmbeddingSet, sequence: SplitSequence
) -> None:
    bare = replace(
        sequence,
        splits=tuple(replace(s, train=s.train_side, val=()) for s in sequence.splits),
    )
    with pytest.raises(SplitError, match="Split 1 has no validation classes; use --select last"):
        run_sweep(vectors, bare, Sweep((TRAINED,), selection="val"), RunStore(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()
    frozen = Sweep(("frozen",), selection="val")
    assert frozen.specs(vectors, bare) == Sweep(("frozen",)).specs(vectors, bare)


def test_a_blank_image_is_named(vectors: EmbeddingSet, sequence: SplitSequence) -> None:
    zeroed = np.array(vectors.vectors)
    zeroed[::6] = 0  # the first image of every class
    blank = replace(vectors, vectors=zeroed)
    with pytest.raises(RunError, match=r"zero vector, such as 'class \d+/\d+' \(blank"):
        oodml.run_methods(blank, sequence, methods=["frozen"])


def test_progress_is_told_as_runs_end(
    tmp_path: Path, vectors: EmbeddingSet, sequence: SplitSequence, sweep: Sweep
) -> None:
    store = RunStore(tmp_path)
    seen: list[tuple[int, int, int]] = []

    def progress(done: int, total: int) -> None:
        seen.append((done, total, len(store.all_cards())))

    run_sweep(vectors, sequence, sweep, store, progress=progress)
    assert seen == [(n, 9, n) for n in range(1, 10)]


@pytest.mark.slow
def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    """A parent that is killed leaves no worker behind."""
    code = (
        "import os, sys, time\n"
        "from oodml.sweep import make_executor\n"
        "if __name__ == '__main__':\n"
        "    pool = make_executor('local')\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n"
        "    time.sleep(600)\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(code)
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        worker = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
    for _ in range(100):
        if not Path(f"/proc/{worker}").exists():
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker outlived its parent")
