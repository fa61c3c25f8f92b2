"""Methods: what they see, that they learn, that seeds decide."""

from __future__ import annotations

import gc
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
from toys import toy_embeddings

from oodml.embed import EmbeddingSet
from oodml.errors import DataError, RunError, UnknownNameError
from oodml.methods import METHODS, Budget, FitContext, find_method, parameters
from oodml.methods.multisimilarity import MultiSimilarity
from oodml.methods.sampler import BalancedSampler
from oodml.metrics import evaluate
from oodml.score import transform
from oodml.split import Split, SplitSequence
from oodml.sweep import RunSpec
from oodml.sweep.jobs import fit_context

SHORT = Budget(steps=60, batch=32, per_class=4)


def context(vectors: EmbeddingSet, *, seed: int = 0, selection: str = "last") -> FitContext:
    train, val = vectors.of(vectors.classes[4:]), vectors.of(vectors.classes[:4])
    apart = selection == "val"
    return FitContext(train, val if apart else None, "head", SHORT, selection, seed)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list(METHODS))
def test_a_method_keeps_its_promises(name: str) -> None:
    """Fits, is finite, has the dimension it says, and the same seed gives the same bytes."""
    vectors = toy_embeddings()
    method = find_method(name)
    trained, again = (method.fit(context(vectors)) for _ in range(2))
    out = transform(trained.encoder, vectors.vectors)
    assert out.shape == (len(vectors), trained.encoder.spec.dim)
    assert np.isfinite(out).all()
    assert transform(again.encoder, vectors.vectors).tobytes() == out.tobytes()
    assert find_method(name) == method
    if method.seeded:
        other = method.fit(context(vectors, seed=1))
        assert not np.array_equal(transform(other.encoder, vectors.vectors), out)
        assert trained.encoder.state()
    else:
        assert not trained.encoder.state()
    assert type(method)(**parameters(method)) == method


@pytest.mark.parametrize("name", [name for name in METHODS if find_method(name).seeded])
def test_training_separates_the_train_classes(name: str) -> None:
    vectors = toy_embeddings(16, 10, 20, noise=3.0)
    rates = [key for key in parameters(find_method(name)) if key in ("lr", "beta_lr", "proxy_lr")]
    quick = name + "?" + "&".join(f"{key}=0.01" for key in rates)
    trained = find_method(quick).fit(replace(context(vectors), train=vectors))
    before = evaluate(vectors.vectors, vectors.labels, ["map@r"])["map@r"]
    after = evaluate(transform(trained.encoder, vectors.vectors), vectors.labels, ["map@r"])[
        "map@r"
    ]
    assert after > before + 0.05
    losses = [record["loss"] for record in trained.history]
    assert len(losses) == SHORT.steps
    if name != "margin":  # whose negatives are drawn nearer, the better it knows them
        assert np.mean(losses[-10:]) < np.mean(losses[:10])


@pytest.mark.parametrize("name", list(METHODS))
def test_the_scale_of_the_features_does_not_matter(name: str) -> None:
    vectors = toy_embeddings()
    scaled = replace(vectors, vectors=np.array(vectors.vectors) * 1024)  # a power of two: exact
    plain = transform(find_method(name).fit(context(vectors)).encoder, vectors.vectors)
    other = transform(find_method(name).fit(context(scaled)).encoder, scaled.vectors)
    unit = plain / np.linalg.norm(plain, axis=1, keepdims=True)
    np.testing.assert_allclose(
        other / np.linalg.norm(other, axis=1, keepdims=True), unit, atol=1e-5
    )


def test_selection_by_validation_keeps_the_best_state() -> None:
    vectors = toy_embeddings(20, 8, noise=2.0)
    given = replace(context(vectors, selection="val"), budget=replace(SHORT, steps=150))
    trained = find_method("multisimilarity?dim=4&lr=0.03").fit(given)
    recalls = [r["val recall@1"] for r in trained.history if "val recall@1" in r]
    assert len(recalls) == 3
    assert given.val is not None
    kept = transform(trained.encoder, given.val.vectors)
    assert evaluate(kept, given.val.labels, ["recall@1"])["recall@1"] == max(recalls)


def reachable(value: Any, seen: set[int]) -> list[np.ndarray[Any, Any]]:
    """Every array that can be reached from a value, through any reference that Python knows."""
    if id(value) in seen or isinstance(value, type) or callable(value):
        return []
    seen.add(id(value))
    if isinstance(value, np.ndarray):
        return [value] + ([] if value.base is None else reachable(value.base, seen))
    if is_dataclass(value):
        children = [getattr(value, field.name) for field in fields(value)]
    else:
        children = gc.get_referents(value)
    return [array for child in children for array in reachable(child, seen)]


@pytest.mark.parametrize("selection", ["last", "val"])
def test_a_method_cannot_reach_test_data(selection: str) -> None:
    vectors = toy_embeddings()
    names = vectors.classes
    split = Split(1, 1.0, names[:8], names[8:12], names[12:])
    sequence = SplitSequence("toy", (split,))
    spec = RunSpec("f", sequence.digest, 1, "x", None, "frozen", 1, "head", selection, 1, budget={})
    given = fit_context(vectors, sequence, spec)
    assert set(given.train.classes) == set(names[:8] if selection == "val" else names[:12])
    test = vectors.of(names[12:]).vectors
    arrays = reachable(given, set())
    assert any(array.shape == given.train.vectors.shape for array in arrays)
    for array in arrays:
        if array.ndim == 2 and array.shape[1] == test.shape[1]:
            rows = {row.tobytes() for row in array}
            assert not any(row.tobytes() in rows for row in test)


def test_names_carry_parameters() -> None:
    assert find_method("multisimilarity?dim=64&beta=50") == MultiSimilarity(dim=64, beta=50.0)
    with pytest.raises(UnknownNameError, match=r"'multisimilarity.lrr=1' has no parameter 'lrr'"):
        find_method("multisimilarity?lrr=1")
    with pytest.raises(UnknownNameError, match="nearest: frozen"):
        find_method("frozn")
    with pytest.raises(UnknownNameError, match="takes parameters only"):
        find_method("frozen:x")


def test_a_loss_that_is_not_finite_stops_with_step_and_method() -> None:
    vectors = toy_embeddings()
    with pytest.raises(RunError, match=r"loss of softmax is (nan|inf) at step \d+; lower lr"):
        find_method("softmax?lr=1e30").fit(context(vectors))


# The sampler -------------------------------------------------------------------------------------


def test_batches_are_balanced_and_a_function_of_seed_and_step() -> None:
    labels = np.repeat(np.arange(10), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    sampler = BalancedSampler.of(labels, batch=20, per_class=4, seed=0)
    drawn = [sampler.draw(step) for step in range(20)]
    assert all(np.array_equal(rows, sampler.draw(step)) for step, rows in enumerate(drawn))
    assert len({rows.tobytes() for rows in drawn}) == 20
    for rows in drawn:
        found, counts = np.unique(labels[rows], return_counts=True)
        assert len(found) == 5
        assert set(counts) == {4}
        for label in found[found >= 3]:  # classes of four and more: no image twice
            mine = rows[labels[rows] == label]
            assert len(set(mine.tolist())) == 4
    every = np.concatenate([sampler.draw(step) for step in range(200)])
    assert set(every.tolist()) == set(range(len(labels)))


def test_fewer_classes_than_a_batch_holds_are_all_used() -> None:
    sampler = BalancedSampler.of(np.array([0, 0, 1, 1]), batch=256, per_class=4, seed=0)
    assert sorted(sampler.draw(1).tolist())[:1] == [0]
    assert len(sampler.draw(1)) == 8


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_what_cannot_be_trained_on_is_said(labels: list[int]) -> None:
    with pytest.raises(DataError, match="training needs two classes, and one with two images"):
        BalancedSampler.of(np.array(labels), batch=8, per_class=2, seed=0)
