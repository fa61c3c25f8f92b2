"""The file of a trained model: the whole encoder, for us, for `file:` and for plain torchvision."""

from __future__ import annotations

import collections
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision

import oodml
from oodml.data import Dataset
from oodml.embed import EmbeddingSet, embed_data, open_encoder
from oodml.methods import Budget, LossMethod
from oodml.score import transform
from oodml.split import SplitSequence
from oodml.sweep import RunStore, Setting, Sweep, run_sweep
from oodml.sweep.run import plan_jobs

ENCODER = "tv:mobilenet_v2?init=random&size=32"
BUDGET = Budget(steps=3, batch=16, per_class=4)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return oodml.load_data("digits")


@pytest.fixture(scope="module")
def vectors(data: Dataset) -> EmbeddingSet:
    return embed_data(data, ENCODER)


@pytest.fixture(scope="module")
def sequence(vectors: EmbeddingSet) -> SplitSequence:
    return oodml.build_splits(vectors, levels=2)


def run(
    vectors: EmbeddingSet, sequence: SplitSequence, root: Path, *, method: str, **setting: Any
) -> Path:
    """The model of a run on the first split."""
    sweep = Sweep((method,), (0,), budget=BUDGET, setting=Setting(**setting))
    store = RunStore(root)
    run_sweep(vectors, sequence, sweep, store)
    return store.model(sweep.specs(vectors, sequence)[0])


@pytest.mark.parametrize("method", ["margin?dim=512", "softmax?dim=7&hidden=9"])
def test_a_head_with_its_network_is_one_encoder(
    data: Dataset, vectors: EmbeddingSet, sequence: SplitSequence, tmp_path: Path, method: str
) -> None:
    whole = run(vectors, sequence, tmp_path / "whole", method=method, encoder=ENCODER)
    heads = run(vectors, sequence, tmp_path / "heads", method=method, encoder=ENCODER, whole=False)
    bare = run(vectors, sequence, tmp_path / "bare", method=method)
    assert heads.read_bytes() == bare.read_bytes()
    assert whole.stat().st_size > heads.stat().st_size + 2_000_000 * 4
    sweep = Sweep((method,), (0,), budget=BUDGET)
    spec = sweep.specs(vectors, sequence)[0]
    d = vectors.vectors.shape[1]
    again = [RunStore(path.parents[2]).encoder(spec, d) for path in (whole, heads)]
    expected = transform(again[1], vectors.vectors)  # type: ignore[arg-type]
    assert np.array_equal(transform(again[0], vectors.vectors), expected)  # type: ignore[arg-type]
    encoder = open_encoder(f"file:{whole}")
    assert encoder.spec.arch.startswith("tv:mobilenet_v2+")
    assert encoder.spec.size == 32
    found = embed_data(data, encoder, cache=False).vectors
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_five_lines_of_torchvision_read_it(
    vectors: EmbeddingSet, sequence: SplitSequence, tmp_path: Path
) -> None:
    """The lines are those of the README."""
    path = run(vectors, sequence, tmp_path, method="margin", encoder=ENCODER)
    readme = (Path(__file__).resolve().parent.parent / "README.md").read_text()
    block = re.search(r"```python\n(parts = .*?)```", readme, re.DOTALL)
    assert block is not None
    lines = block[1].strip().splitlines()
    assert len(lines) == 5
    encoder = open_encoder(ENCODER)
    batch = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), np.uint8))
    names: dict[str, Any] = {
        "torch": torch,
        "torchvision": torchvision,
        "safetensors": safetensors,
        "collections": collections,
        "images": encoder.normalised(batch),  # type: ignore[attr-defined]
    }
    code = "\n".join(lines).replace('"model.safetensors"', repr(str(path)))
    exec(code, names)
    ours = open_encoder(f"file:{path}")(batch)
    torch.testing.assert_close(names["embeddings"].detach(), ours, rtol=1e-3, atol=1e-4)


def test_metrics_are_added_to_whole_models_without_training(
    vectors: EmbeddingSet,
    sequence: SplitSequence,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sweep = Sweep(("margin?dim=5",), (0,), budget=BUDGET, metrics=("recall@1",))
    sweep = replace(sweep, setting=Setting(encoder=ENCODER))
    store = RunStore(tmp_path)
    first = run_sweep(vectors, sequence, sweep, store)
    monkeypatch.setattr(LossMethod, "fit", None)
    more = run_sweep(vectors, sequence, replace(sweep, metrics=("recall@1", "map@r")), store)
    for one, other in zip(first, more, strict=True):
        assert other.values["recall@1"] == one.values["recall@1"]
        assert set(other.values) == {"recall@1", "map@r"}
    specs = sweep.specs(vectors, sequence)
    assert plan_jobs(specs, vectors, sequence, store, Setting(("map@r",))) == []


@pytest.mark.parametrize("encoder", ["oodml:hog", "tv:mobilenet_v2?init=random&size=32", None])
def test_what_is_no_named_network_is_kept_as_a_head(encoder: str | None) -> None:
    from oodml.sweep.inputs import network_of

    network = network_of(encoder)
    assert (network is None) == (encoder is None or encoder.startswith("oodml"))


def test_a_head_on_bf16_features_says_so(
    data: Dataset, sequence: SplitSequence, tmp_path: Path
) -> None:
    rounded = embed_data(data, ENCODER, precision="bf16")
    path = run(rounded, sequence, tmp_path, method="margin?dim=4", encoder=ENCODER)
    assert open_encoder(f"file:{path}").spec.precision == "bf16"
