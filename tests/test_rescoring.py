"""Metrics added to finished runs: without training, and as if asked for from the start."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_cli import as_json, call, error, ok
from test_heads import linear_head
from toys import toy_embeddings

import oodml
from oodml.embed import EmbeddingSet, EncoderSpec, write_embeddings
from oodml.errors import FormatError, RunError, UnknownNameError
from oodml.methods import Budget, FitContext, Trained, write_head
from oodml.methods.frozen import Frozen
from oodml.methods.multisimilarity import MultiSimilarity
from oodml.metrics import DEFAULT_METRICS
from oodml.score import ScoreCard, score_split
from oodml.split import SplitSequence
from oodml.sweep import RunSpec, RunStore, Sweep, Work, count_work, read_cards, run_sweep
from oodml.sweep import jobs as jobs_module

TRAINED = "multisimilarity?dim=8"
MORE = ("recall@1", "recall@1|5", "map", "nmi?seeds=2", "intra/inter", "recall@3")


@pytest.fixture(scope="module")
def vectors() -> EmbeddingSet:
    toy = toy_embeddings(14, noise=3.0)
    rows = np.array(toy.vectors)
    rows[1::6] = rows[7::6].mean(axis=0)  # an image of every class is the same: ties
    return replace(toy, vectors=rows)


@pytest.fixture(scope="module")
def sequence(vectors: EmbeddingSet) -> SplitSequence:
    return oodml.build_splits(vectors, levels=2)


@pytest.fixture(scope="module")
def sweep() -> Sweep:
    budget = Budget(steps=5, batch=16, per_class=4)
    return Sweep(("frozen", TRAINED), (0,), budget=budget)


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(*_: object) -> None:
        raise AssertionError("something was trained")

    monkeypatch.setattr(MultiSimilarity, "fit", fit)


def records(cards: list[ScoreCard]) -> list[dict[str, Any]]:
    return [card.to_json() for card in cards]


def last(sweep: Sweep, vectors: EmbeddingSet, sequence: SplitSequence) -> RunSpec:
    return sweep.specs(vectors, sequence)[-1]


def digests(folder: Path) -> dict[Path, str]:
    return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


# The law -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [DEFAULT_METRICS, ("nmi",)], ids=str)
def test_added_metrics_are_those_of_a_fresh_run_bit_for_bit(
    tmp_path: Path,
    vectors: EmbeddingSet,
    sequence: SplitSequence,
    sweep: Sweep,
    first: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sweep = replace(sweep, both_ways=True)
    whole = replace(sweep, metrics=(*first, *MORE))
    fresh = run_sweep(vectors, sequence, whole, RunStore(tmp_path / "fresh"))
    store = RunStore(tmp_path / "runs")
    before = run_sweep(vectors, sequence, replace(sweep, metrics=first), store)
    files = digests(store.root)
    monkeypatch.setattr(MultiSimilarity, "fit", None)
    after = run_sweep(vectors, sequence, replace(sweep, metrics=MORE), store)
    assert records(after) == records(fresh)
    assert any(card.tied for card in after)
    assert any(card.others and card.replicates for card in after)
    for old, new in zip(before, after, strict=True):
        assert set(old.values) == set(first)
        assert set(new.values) == {*first, *MORE}
        assert {name: new.values[name] for name in first} == old.values
    changed = {path.name for path, digest in digests(store.root).items() if files[path] != digest}
    assert changed == {"result.json"}


@pytest.mark.usefixtures("no_training")
def test_only_what_is_lacking_is_computed(
    tmp_path: Path, vectors: EmbeddingSet, sequence: SplitSequence, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def listen(*args: Any, **kwargs: Any) -> ScoreCard:
        asked.append(kwargs["metrics"])
        return score_split(*args, **kwargs)

    monkeypatch.setattr(jobs_module, "score_split", listen)
    store = RunStore(tmp_path)
    for metrics in (("recall@1", "map"), ("map", "mrr", "recall@1"), ("mrr",)):
        run_sweep(vectors, sequence, Sweep(("frozen",), metrics=metrics), store)
    assert asked == [["recall@1", "map"]] * 2 + [["mrr"]] * 2
    result = json.loads(next(tmp_path.rglob("result.json")).read_text())
    (added,) = result["added"]
    assert added["metrics"] == ["mrr"]
    assert added["environment"]["packages"]["oodml"] == oodml.__version__


def test_metrics_are_no_part_of_what_a_run_is(
    vectors: EmbeddingSet, sequence: SplitSequence, sweep: Sweep
) -> None:
    more = replace(sweep, metrics=["map", "map", "mrr"])
    assert more.specs(vectors, sequence) == sweep.specs(vectors, sequence)
    assert more.metrics == ("map", "mrr")
    assert replace(sweep, metrics="map").metrics == ("map",)
    with pytest.raises(ValueError, match="at least one"):
        replace(sweep, metrics=())


def test_stores_of_earlier_versions_are_added_to(
    tmp_path: Path, vectors: EmbeddingSet, sequence: SplitSequence, sweep: Sweep
) -> None:
    """Their results name no model, and their cards no search and no direction."""
    store = RunStore(tmp_path)
    before = run_sweep(vectors, sequence, sweep, store)
    for path in tmp_path.rglob("result.json"):
        result = json.loads(path.read_text())
        del result["model"]
        for card in result["cards"]:
            del card["swapped"], card["search"]
        path.write_text(json.dumps(result))
    old = read_cards([tmp_path])
    assert {(card.swapped, card.search) for card in old} == {(False, None)}
    more = replace(sweep, metrics=(*DEFAULT_METRICS, "map"))
    assert count_work(vectors, sequence, more, store) == Work(4, to_train=0, to_score=4)
    after = run_sweep(vectors, sequence, more, store)
    assert {card.search for card in after} == {"ooDML"}
    for one, other in zip(before, after, strict=True):
        assert one.values == {k: v for k, v in other.values.items() if k != "map"}


# What is lost is trained again -------------------------------------------------------------------


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def of_another_size(path: Path) -> None:
    write_head(path, linear_head(8, 5))


def of_another_run(path: Path) -> None:
    write_head(path, linear_head(8, 12))


@pytest.mark.parametrize("damage", [Path.unlink, truncated, of_another_size, of_another_run])
def test_a_model_that_is_not_what_was_scored_is_trained_again(
    tmp_path: Path,
    vectors: EmbeddingSet,
    sequence: SplitSequence,
    sweep: Sweep,
    damage: Callable[[Path], None],
) -> None:
    store = RunStore(tmp_path)
    first = run_sweep(vectors, sequence, sweep, store)
    model = store.model(last(sweep, vectors, sequence))
    damage(model)
    assert count_work(vectors, sequence, sweep, store) == Work(4, to_train=0, to_score=0)
    more = replace(sweep, metrics=("map",))
    assert count_work(vectors, sequence, more, store) == Work(4, to_train=1, to_score=3)
    after = run_sweep(vectors, sequence, more, store)
    whole = replace(sweep, metrics=(*DEFAULT_METRICS, "map"))
    fresh = run_sweep(vectors, sequence, whole, RunStore(tmp_path / "fresh"))
    assert records(after) == records(fresh)
    assert after[-1].values.keys() == {*first[-1].values, "map"}
    assert (
        model.read_bytes()
        == RunStore(tmp_path / "fresh").model(last(sweep, vectors, sequence)).read_bytes()
    )


@pytest.mark.parametrize("keeps", ["nothing", "weights"])
def test_a_method_without_a_seed_is_not_taken_for_frozen(
    tmp_path: Path,
    vectors: EmbeddingSet,
    sequence: SplitSequence,
    keeps: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may keep weights, or be some other function of the vectors; also where these are lost."""

    def fit(_: Frozen, context: FitContext) -> Trained:
        given = linear_head(3, context.train.vectors.shape[1])
        return Trained(given if keeps == "weights" else Cut(given.spec))

    @dataclass(frozen=True, slots=True, eq=False)
    class Cut:
        spec: EncoderSpec

        def __call__(self, batch: Any) -> Any:
            return batch[:, :3]

        def state(self) -> dict[str, Any]:
            return {}

    monkeypatch.setattr(Frozen, "fit", fit)
    sweep = Sweep(("frozen",), metrics=("recall@1", "map"))
    fresh = run_sweep(vectors, sequence, sweep, RunStore(tmp_path / "fresh"))
    for lose in (False, True):
        store = RunStore(tmp_path / str(lose))
        run_sweep(vectors, sequence, replace(sweep, metrics=("recall@1",)), store)
        models = list(store.root.rglob("model.safetensors"))
        assert len(models) == (2 if keeps == "weights" else 0)
        for path in models if lose else ():
            path.unlink()
        after = run_sweep(vectors, sequence, replace(sweep, metrics=("map",)), store)
        assert records(after) == records(fresh)


def test_a_model_that_was_not_scored_is_not_trained_again(
    tmp_path: Path,
    vectors: EmbeddingSet,
    sequence: SplitSequence,
    sweep: Sweep,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A metric that cannot be computed of these classes costs no training."""
    store = RunStore(tmp_path)
    asked = replace(sweep, metrics=("recall@1", "recall@1|99"))
    with pytest.raises(RunError, match=r"(?s)4 of 4 runs failed.*gallery of 99 classes"):
        run_sweep(vectors, sequence, asked, store)
    assert not list(tmp_path.rglob("result.json"))
    assert count_work(vectors, sequence, sweep, store) == Work(4, to_train=0, to_score=4)
    monkeypatch.setattr(MultiSimilarity, "fit", None)
    after = run_sweep(vectors, sequence, sweep, store)
    monkeypatch.undo()
    assert records(after) == records(
        run_sweep(vectors, sequence, sweep, RunStore(tmp_path / "fresh"))
    )
    assert not list(tmp_path.rglob("error.txt"))


def test_a_metric_that_fails_leaves_the_result(
    tmp_path: Path, vectors: EmbeddingSet, sequence: SplitSequence, sweep: Sweep
) -> None:
    store = RunStore(tmp_path)
    first = run_sweep(vectors, sequence, sweep, store)
    before = digests(tmp_path)
    with pytest.raises(RunError, match="4 of 4 runs failed"):
        run_sweep(vectors, sequence, replace(sweep, metrics=("recall@1|99",)), store)
    after = {path: digest for path, digest in digests(tmp_path).items() if path.name != "error.txt"}
    assert after == before
    assert records(run_sweep(vectors, sequence, sweep, store)) == records(first)


@pytest.mark.slow
def test_a_kill_leaves_the_old_result(
    tmp_path: Path, vectors: EmbeddingSet, sequence: SplitSequence
) -> None:
    """Killed when the new result is written in full and does not have the name yet."""
    write_embeddings(tmp_path / "toy.emb", vectors)
    oodml.write_sequence(tmp_path / "s.json", sequence)
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from oodml.cli import main\n"
        "if 'map' in sys.argv:\n"
        "    def kill(path, target):\n"
        "        assert '\"map\"' in path.read_text()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    Path.replace = kill\n"
        "main()\n"
    )
    words = ["run", "--embeddings", "toy.emb", "--splits", "s.json", "--method", TRAINED]
    words += ["--seeds", "1", "--steps", "5", "--executor", "serial", "-o", "runs"]

    def run(*more: str) -> int:
        command = [sys.executable, "-c", code, *words, *more]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode

    assert run() == 0
    before = digests(tmp_path / "runs")
    assert run("--metric", "map") == -9
    after = digests(tmp_path / "runs")
    assert {path: after[path] for path in before} == before
    assert {path.suffix for path in after.keys() - before.keys()} == {".tmp"}
    words = ["run", "--embeddings", tmp_path / "toy.emb", "--splits", tmp_path / "s.json"]
    words += ["--method", TRAINED, "--seeds", 1, "--steps", 5, "--executor", "serial"]
    facts = as_json(*words, "--metric", "map", "-o", tmp_path / "runs")
    assert (facts["to_train"], facts["to_score"]) == (0, 2)
    assert all("map" in card.values for card in read_cards([tmp_path / "runs"]))


def test_a_damaged_result_is_named(
    tmp_path: Path, vectors: EmbeddingSet, sequence: SplitSequence, sweep: Sweep
) -> None:
    store = RunStore(tmp_path)
    run_sweep(vectors, sequence, sweep, store)
    path = store.result(last(sweep, vectors, sequence))
    path.write_text('{"format": "oodml.result", "version": 1, "cards": [{}]}')
    with pytest.raises(FormatError, match=r"result\.json: .* remove that folder and run again"):
        run_sweep(vectors, sequence, sweep, store)


def test_of_a_run_in_two_stores_the_fuller_card_is_read(
    tmp_path: Path, vectors: EmbeddingSet, sequence: SplitSequence
) -> None:
    roots = [tmp_path / name for name in ("one", "two")]
    for root, metrics in zip(roots, (("recall@1", "map"), ("recall@1",)), strict=True):
        run_sweep(vectors, sequence, Sweep(("frozen",), metrics=metrics), RunStore(root))
    for order in (roots, roots[::-1]):
        cards = read_cards(order)
        assert [set(card.values) for card in cards] == [{"recall@1", "map"}] * 2


# The command line --------------------------------------------------------------------------------


def test_names_are_checked_before_anything_is_embedded(
    tmp_path: Path, sequence: SplitSequence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oodml.sweep.run.embed_data", None)
    data = oodml.load_data("digits")
    with pytest.raises(UnknownNameError, match="nearest: recall"):
        oodml.run_methods(
            data, sequence, methods=["frozen"], encoder="oodml:hog", metrics=["recal@1"]
        )
    oodml.write_sequence(tmp_path / "s.json", sequence)
    monkeypatch.setattr(sys.modules["oodml.cli.run"], "load_vectors", None)
    words = ("run", "--dataset", "digits", "--encoder", "oodml:hog", "--method", "frozen")
    words += ("--splits", tmp_path / "s.json", "-o", tmp_path / "runs")
    assert "nearest: recall" in error(*words, "--metric", "recal@1")
    assert "expected recall@k|m" in error(*words, "--metric", "recall@1|0")
    assert "is no metric; write 'nmi?seeds=2'" in error(*words, "--metric", "nmi?seeds=02")
    assert call(*words, "--metric").exit_code == 2
    assert not (tmp_path / "runs").exists()


def test_metrics_are_added_on_the_command_line(tmp_path: Path) -> None:
    """Glyphs, as a user would: run, see what more would cost, ask for more, draw it."""
    glyphs = oodml.embed_data(oodml.load_data("glyphs"), "oodml:pixels?size=8")
    few = glyphs.of(glyphs.classes[::20])
    write_embeddings(tmp_path / "g.emb", few)
    words = ("--embeddings", tmp_path / "g.emb", "--levels", 2, "--partitions", 0)
    ok("splits", "build", *words, "-o", tmp_path / "s.json")
    words = ("run", "--embeddings", tmp_path / "g.emb", "--splits", tmp_path / "s.json")
    words += ("--method", "frozen", "--method", TRAINED, "--seeds", 2, "--steps", 5)
    words += ("--executor", "serial", "-o", tmp_path / "runs")
    assert "6 runs, 0 of them done; 6 to do: 4 to train and score, 2 to score only" in ok(
        *words, "--dry-run"
    )
    assert not (tmp_path / "runs").exists()
    ok(*words)
    more = ("--metric", "recall@1|5", "--metric", "map", "--metric", "recall@1")
    facts = as_json(*words, *more, "--dry-run")
    assert (facts["runs"], facts["done_before"]) == (6, 0)
    assert (facts["to_train"], facts["to_score"]) == (0, 6)
    assert "0 trained and scored, 6 scored only" in ok(*words, *more)
    assert "6 of them done; 0 to do" in ok(*words, *more, "--dry-run")
    assert "6 of them done; 0 to do" in ok(*words, "--dry-run")
    drawn = ("curve", tmp_path / "runs", "--metric", "recall@1|5", "-o", tmp_path / "c.svg")
    curves = as_json(*drawn)["curves"]
    scored = ("score", "--embeddings", tmp_path / "g.emb", "--splits", tmp_path / "s.json")
    cards = as_json(*scored, "--metric", "recall@1|5")["cards"]
    assert curves[0]["mean"] == [card["values"]["recall@1|5"] for card in cards]
