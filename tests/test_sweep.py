"""Runs: named by what they depend on, kept, resumed, the same wherever they run."""

from __future__ import annotations

import json
import os
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toys import toy_embeddings

import oodml
from oodml.embed import EmbeddingSet
from oodml.errors import FormatError, OodmlError, RunError, SplitError, UnknownNameError
from oodml.methods import Budget
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
