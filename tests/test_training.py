"""The training loop: resumed to the same bits, selected by validation, stopped in one sentence."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import toy_embeddings

from oodml.embed import EmbeddingSet
from oodml.errors import RunError, UnknownNameError
from oodml.methods import METHODS, Budget, Course, FitContext, Trained, find_method
from oodml.methods.lossmethod import LossMethod
from oodml.methods.model import build_head
from oodml.methods.sampler import BalancedSampler
from oodml.metrics import evaluate
from oodml.score import transform

SHORT = Budget(steps=12, batch=16, per_class=4, check=4)
# One of each kind of state: none, own parameters, a buffer, a normalisation, a hidden layer.
STATEFUL = (
    "multisimilarity?dim=6",
    "proxyanchor?dim=6",
    "margin+sec?dim=6&sec_rho=0.3&sec_ramp=true",
    "softmax+l2?dim=6&bn=true&hidden=7",
)


@dataclass
class Watch:
    """A tracker that remembers, and stops the process's work after a step as a kill would."""

    stop: int | None = None
    steps: list[int] = field(default_factory=list)
    recalls: list[float] = field(default_factory=list)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.steps.append(step)
        assert np.isfinite(values["loss"])
        if "val recall@1" in values:
            self.recalls.append(values["val recall@1"])
        if step == self.stop:
            raise KeyboardInterrupt


def context(
    vectors: EmbeddingSet, *, selection: str = "last", course: Course | None = None
) -> FitContext:
    train, val = vectors.of(vectors.classes[4:]), vectors.of(vectors.classes[:4])
    apart = val if selection == "val" else None
    return FitContext(train, apart, "head", SHORT, selection, 0, course=course or Course())  # type: ignore[arg-type]


def weights(trained: Trained) -> dict[str, bytes]:
    state = trained.encoder.state()  # type: ignore[union-attr]
    return {key: value.numpy().tobytes() for key, value in state.items()}


@pytest.mark.parametrize("name", STATEFUL)
@pytest.mark.parametrize("selection", ["last", "val"])
@pytest.mark.parametrize("stop", [1, 5, 11, 12])
def test_a_stopped_training_goes_on_to_the_same_bits(
    name: str, selection: str, stop: int, tmp_path: Path
) -> None:
    vectors, method = toy_embeddings(), find_method(name)
    whole = method.fit(context(vectors, selection=selection))
    first, second = Watch(stop), Watch()
    course = Course(folder=tmp_path, every=0.0, tracker=first)
    with pytest.raises(KeyboardInterrupt):
        method.fit(context(vectors, selection=selection, course=course))
    course = replace(course, tracker=second)
    again = method.fit(context(vectors, selection=selection, course=course))
    assert weights(again) == weights(whole)
    assert list(again.history) == list(whole.history)
    assert first.steps == list(range(1, stop + 1))
    # The checkpoint of the last step is written after it was told.
    assert second.steps == list(range(stop, SHORT.steps + 1))
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    assert len(list(tmp_path.iterdir())) == 2


def test_a_checkpoint_that_is_not_whole_or_of_another_run_is_not_used(tmp_path: Path) -> None:
    vectors, method = toy_embeddings(), find_method("proxyanchor?dim=4")
    whole = weights(method.fit(context(vectors)))

    def after(*, damage: str) -> tuple[dict[str, bytes], int]:
        course = Course(folder=tmp_path, every=0.0, tracker=Watch(8))
        with pytest.raises(KeyboardInterrupt):
            method.fit(context(vectors, course=course))
        tensors = next(tmp_path.glob("*.safetensors"))
        facts = tmp_path / "checkpoint.json"
        if damage == "cut":
            tensors.write_bytes(tensors.read_bytes()[:-1])
        elif damage == "gone":
            tensors.unlink()
        elif damage == "json":
            facts.write_text("{")
        elif damage == "other":
            facts.write_text(json.dumps({**json.loads(facts.read_text()), "run": "x"}))
        watch = Watch()
        course = replace(course, tracker=watch)
        found = weights(method.fit(context(vectors, course=course)))
        for path in tmp_path.iterdir():
            path.unlink()
        return found, watch.steps[0]

    assert after(damage="none") == (whole, 8)
    for damage in ("cut", "gone", "json", "other"):
        assert after(damage=damage) == (whole, 1), damage


SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import numpy as np
import test_training as t
class Slow:
    def log(self, step, values):
        print(step, flush=True)
        time.sleep(0.02)
vectors = t.toy_embeddings()
course = t.Course(folder=Path({folder!r}), every=0.0, tracker=Slow())
trained = t.find_method({name!r}).fit(t.context(vectors, selection="val", course=course))
np.savez({out!r}, **{{k: v.numpy() for k, v in trained.encoder.state().items()}})
"""


@pytest.mark.slow
def test_killed_at_random_it_ends_in_the_same_bits(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    name, out = STATEFUL[2], tmp_path / "weights.npz"
    script = SCRIPT.format(
        tests=str(Path(__file__).parent), folder=str(tmp_path / "run"), name=name, out=str(out)
    )
    steps, kills, chance = list[int](), 0, random.Random(0)
    while not out.exists() and kills < 60:
        process = subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        steps.append(int(process.stdout.readline() or SHORT.steps))
        time.sleep(chance.uniform(0, 0.12))
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
        process.wait()
        kills += 1
    expected = find_method(name).fit(context(toy_embeddings(), selection="val"))
    found = np.load(out)
    assert {key: found[key].tobytes() for key in found.files} == weights(expected)
    assert kills > 2
    assert steps == sorted(steps)  # nothing is lost that was kept
    assert steps[-1] > 1


def test_the_best_state_is_kept_by_value() -> None:
    vectors = toy_embeddings(20, 8, noise=2.0)
    given = replace(context(vectors, selection="val"), budget=replace(SHORT, steps=150, check=50))
    trained = find_method("multisimilarity?dim=4&lr=0.03").fit(given)
    recalls = [r["val recall@1"] for r in trained.history if "val recall@1" in r]
    assert len(recalls) == 3
    assert given.val is not None
    kept = transform(trained.encoder, given.val.vectors)  # type: ignore[arg-type]
    assert evaluate(kept, given.val.labels, ["recall@1"])["recall@1"] == max(recalls)
    last = find_method("multisimilarity?dim=4&lr=0.03").fit(replace(given, val=None))
    if recalls[-1] < max(recalls):
        assert weights(last) != weights(trained)


@pytest.mark.parametrize("name", [name for name in METHODS if find_method(name).seeded])
def test_a_head_is_folded_without_a_change(name: str) -> None:
    """Normalisation, scale and layers give what the plain layers of the result give."""
    vectors = toy_embeddings()
    for options in ("bn=true", "hidden=9", "bn=true&hidden=9"):
        method = find_method(f"{name}?dim=5&{options}")
        assert isinstance(method, LossMethod)
        head = build_head(context(vectors), method).train()
        x = torch.from_numpy(np.array(vectors.vectors))
        for _ in range(3):
            head(x * 2 + 1)  # running statistics that are not those of the start
        head.eval()
        torch.testing.assert_close(head.folded()(x), head(x).detach(), rtol=1e-4, atol=1e-5)
        trained = method.fit(context(vectors)).encoder
        kind = "+mlp:9-5" if "hidden" in options else "+linear:5"
        assert trained.spec.arch == f"vectors:{x.shape[1]}{kind}"
        if name != "frozen":
            break  # the others differ in the loss alone


def test_steps_are_a_share_of_the_budget() -> None:
    vectors = toy_embeddings()
    assert len(find_method("margin?steps=5").fit(context(vectors)).history) == 5
    with pytest.raises(RunError, match="margin with steps=13 takes more than the budget of 12; "):
        find_method("margin?steps=13").fit(context(vectors))
    epochs = replace(context(vectors), budget=replace(SHORT, epochs=2))
    n = len(epochs.train)
    assert len(find_method("margin").fit(epochs).history) == 2 * (n // SHORT.batch)


# Constraints on norms ----------------------------------------------------------------------------


def norms(name: str, vectors: EmbeddingSet) -> np.ndarray:
    given = replace(context(vectors), budget=replace(SHORT, steps=150))
    encoder = find_method(name).fit(given).encoder
    return np.linalg.norm(transform(encoder, given.train.vectors), axis=1)  # type: ignore[arg-type]


def test_norms_are_constrained_by_name() -> None:
    vectors = toy_embeddings(16, 8)
    plain = norms("triplet?dim=8&lr=0.01", vectors)
    sec = norms("triplet+sec?dim=8&lr=0.01&sec=10", vectors)
    l2 = norms("triplet+l2?dim=8&lr=0.01&l2=0.1", vectors)
    assert sec.std() / sec.mean() < 0.5 * plain.std() / plain.mean()
    assert l2.mean() < 0.5 * plain.mean()
    both = find_method("margin+sec+l2?sec=0.5&l2=0.25&beta=1.1")
    assert both.name == "margin+l2+sec"
    assert (both.sec, both.l2, both.beta) == (0.5, 0.25, 1.1)  # type: ignore[attr-defined]
    assert find_method("margin+sec+l2") == find_method("margin+l2+sec")
    assert find_method("margin+sec").name == "margin+sec"


def test_no_weight_is_no_constraint_and_the_rest_is_shared() -> None:
    """With the same seed, head and draws the same: a tiny weight gives nearly the plain result."""
    vectors = toy_embeddings(16, 8)
    plain = norms("margin?dim=8", vectors)
    tiny = norms("margin+sec?dim=8&sec=1e-12", vectors)
    np.testing.assert_allclose(tiny, plain, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("frozen+sec", "'frozen' shows no un-normalised embeddings, whose norms .sec is about"),
        ("margin+l3", "expected a method with .l2, .sec or both, each once, as in margin.sec"),
        ("margin+sec+sec", "each once"),
        ("margin+", "expected a method with"),
        ("margin+sec?sec=-1", "Parameter sec of 'margin.sec' is -1.0; expected more than 0"),
        ("margin?sec=1", "has no parameter 'sec'"),
        ("margn+sec", "'margn' is not among the methods; nearest: margin"),
    ],
)
def test_names_that_make_no_sense(name: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        find_method(name)


# The sampler with replacement --------------------------------------------------------------------


def test_with_replacement_classes_and_images_can_come_twice() -> None:
    labels = np.repeat(np.arange(6), [1, 2, 3, 4, 5, 6])
    sampler = BalancedSampler.of(labels, batch=12, per_class=2, seed=0, replacement=True)
    drawn = np.stack([sampler.draw(step) for step in range(600)])
    assert np.array_equal(drawn[3], sampler.draw(3))
    pairs = labels[drawn].reshape(-1, 2)
    assert (pairs[:, 0] == pairs[:, 1]).all()
    share = np.bincount(pairs[:, 0], minlength=6) / len(pairs)
    assert np.abs(share - 1 / 6).max() < 0.03  # classes are equally likely, whatever their size
    classes = pairs[:, 0].reshape(600, 6)
    assert any(len(set(row)) < 6 for row in classes.tolist())
    largest = drawn.reshape(-1, 2)[pairs[:, 0] == 5]
    assert 0.1 < (largest[:, 0] == largest[:, 1]).mean() < 0.24  # 1 / 6 of the time the same image


# Threads -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["margin", "rmargin", "contrastive"])
def test_several_threads_give_the_same_bits_every_time(name: str) -> None:
    """At a size at which torch adds up gradients of chosen rows in parallel."""
    threads = torch.get_num_threads()
    rng = np.random.default_rng(0)
    values = torch.from_numpy(rng.standard_normal((256, 512), dtype=np.float32))
    labels = torch.arange(64).repeat_interleave(4)
    method = find_method(name)
    assert isinstance(method, LossMethod)

    def gradient() -> bytes:
        embeddings = values.clone().requires_grad_()
        draws = torch.Generator().manual_seed(0)
        method.loss(64, draws)(embeddings, labels, draws).backward()
        assert embeddings.grad is not None
        return embeddings.grad.numpy().tobytes()

    try:
        torch.set_num_threads(2)
        assert len({gradient() for _ in range(25)}) == 1
    finally:
        torch.set_num_threads(threads)
