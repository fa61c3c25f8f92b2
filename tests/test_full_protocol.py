"""Training the network too: what moves and what stays, on one process and on two."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import oodml
from oodml.data import Dataset
from oodml.embed import EmbeddingSet, embed_data, open_encoder
from oodml.embed.network import Network
from oodml.errors import DataError, RunError
from oodml.methods import Budget, Course, FitContext, Trained, find_method
from oodml.methods.model import Draw, Images
from oodml.methods.training import Training
from oodml.split import SplitSequence
from oodml.sweep import RunStore, Setting, Sweep, run_sweep
from oodml.sweep.inputs import fit_context

ENCODER = "tv:mobilenet_v3_small?init=random&size=32"
BUDGET = Budget(steps=4, batch=12, per_class=3, check=2)
QUICK = "margin?dim=6&lr=0.003"


@pytest.fixture(scope="module")
def data() -> Dataset:
    whole = oodml.load_data("digits")
    rows = np.flatnonzero(np.arange(len(whole)) % 12 == 0)  # some 15 images a class
    pixels = whole.source.images[rows]  # type: ignore[union-attr]
    ids = tuple(whole.ids[row] for row in rows)
    return replace(
        whole, labels=whole.labels[rows], ids=ids, source=oodml.data.Pixels(np.array(pixels))
    )


@pytest.fixture(scope="module")
def vectors(data: Dataset) -> EmbeddingSet:
    return embed_data(data, ENCODER)


@pytest.fixture(scope="module")
def sequence(vectors: EmbeddingSet) -> SplitSequence:
    return oodml.build_splits(vectors, levels=2)


def context(
    data: Dataset, vectors: EmbeddingSet, sequence: SplitSequence, **options: Any
) -> FitContext:
    sweep = Sweep((QUICK,), (0,), "full", options.pop("selection", "last"), BUDGET, **options)
    spec = sweep.specs(vectors, sequence)[0]
    return fit_context(vectors, sequence, spec, data=data, encoder=ENCODER)


def state(trained: Trained) -> dict[str, np.ndarray]:
    assert isinstance(trained.encoder, Network)
    return {k: v.cpu().numpy() for k, v in trained.encoder.module.state_dict().items()}


def test_the_network_moves_and_its_normalisation_stays(
    data: Dataset, vectors: EmbeddingSet, sequence: SplitSequence
) -> None:
    given = context(data, vectors, sequence)
    assert given.network is not None
    before = {k: v.clone() for k, v in given.network.module.state_dict().items()}
    found = state(find_method(QUICK).fit(given))
    norms = {
        name
        for name, layer in given.network.module.named_modules()
        if isinstance(layer, torch.nn.BatchNorm2d)
    }
    for key, value in before.items():
        stays = key.rpartition(".")[0] in norms
        assert np.array_equal(found[f"backbone.{key}"], value.numpy()) == stays, key
    assert found["head.weight"].shape == (6, given.network.spec.dim)
    after = given.network.module.state_dict()  # the encoder itself is no one's to change
    assert all(torch.equal(after[key], value) for key, value in before.items())


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_stopped_training_of_a_network_goes_on_to_the_same_bits(
    data: Dataset, vectors: EmbeddingSet, sequence: SplitSequence, tmp_path: Path, precision: str
) -> None:
    given = context(data, vectors, sequence, selection="val", precision=precision)
    whole = find_method(QUICK).fit(given)
    assert [r["step"] for r in whole.history if "val recall@1" in r] == [2, 4]

    class Stop:
        def log(self, step: int, values: Any) -> None:  # noqa: ARG002
            if step == 3:
                raise KeyboardInterrupt

    course = Course(folder=tmp_path, every=0.0, tracker=Stop())
    with pytest.raises(KeyboardInterrupt):
        find_method(QUICK).fit(replace(given, course=course))
    again = find_method(QUICK).fit(replace(given, course=replace(course, tracker=None)))
    one, other = state(whole), state(again)
    assert all(one[key].tobytes() == other[key].tobytes() for key in one)
    assert isinstance(again.encoder, Network)
    assert again.encoder.spec.precision == precision


def test_a_warm_up_leaves_the_network_alone(
    data: Dataset, vectors: EmbeddingSet, sequence: SplitSequence
) -> None:
    given = context(data, vectors, sequence)
    assert given.network is not None
    found = state(find_method(f"{QUICK}&warmup=9").fit(given))
    before = given.network.module.state_dict()
    assert all(np.array_equal(found[f"backbone.{k}"], v.numpy()) for k, v in before.items())


def test_pictures_are_those_of_the_train_side_only(
    data: Dataset, vectors: EmbeddingSet, sequence: SplitSequence
) -> None:
    given = context(data, vectors, sequence, selection="val")
    split = sequence.at(1)
    for pictures, side in ((given.images, split.train), (given.val_images, split.val)):
        assert pictures is not None
        expected = vectors.of(side).ids
        assert len(pictures) == len(expected)
        shown = [data.source.images[data.ids.index(name)] for name in expected]  # type: ignore[union-attr]
        for place, image in enumerate(shown):
            np.testing.assert_array_equal(pictures.read(place)[..., 0], image)
        with pytest.raises(IndexError):
            pictures.read(len(pictures))


def test_full_runs_are_kept_scored_and_scored_again(
    data: Dataset,
    vectors: EmbeddingSet,
    sequence: SplitSequence,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setting = Setting(encoder=ENCODER, data=data)
    sweep = Sweep((QUICK, "frozen"), (0,), "full", budget=BUDGET, setting=setting)
    store = RunStore(tmp_path)
    cards = run_sweep(vectors, sequence, replace(sweep, metrics=("recall@1",)), store)
    assert {card.protocol for card in cards} == {"full"}
    trained = [spec for spec in sweep.specs(vectors, sequence) if spec.method == "margin"]
    encoder = open_encoder(f"file:{store.model(trained[0])}")
    test = sequence.at(1).test
    own = embed_data(data, encoder, cache=False).of(test)
    expected = oodml.evaluate(own.vectors, own.labels, ["recall@1"])["recall@1"]
    assert cards[0].values["recall@1"] == pytest.approx(expected, abs=0.02)
    monkeypatch.setattr(type(find_method(QUICK)), "fit", None)
    more = run_sweep(vectors, sequence, replace(sweep, metrics=("recall@1", "map@r")), store)
    assert [c.values["recall@1"] for c in more] == [c.values["recall@1"] for c in cards]


def test_crops_made_ahead_are_the_same(
    data: Dataset,
    vectors: EmbeddingSet,
    sequence: SplitSequence,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on a GPU, where they are made while it computes."""
    given = context(data, vectors, sequence)
    plain = state(find_method(QUICK).fit(given))
    made: list[int] = []

    def ahead(self: Images, draw: Draw, step: int) -> None:
        made.append(step)
        self._coming = step, self._reader.submit(lambda: self._crops(draw(step), step))

    monkeypatch.setattr(Images, "ahead", ahead)
    found = state(find_method(QUICK).fit(given))
    assert made == [2, 3, 4]
    assert all(np.array_equal(found[key], value) for key, value in plain.items())


def test_the_paper_crops_whole_images(
    data: Dataset, vectors: EmbeddingSet, sequence: SplitSequence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oodml.sweep.inputs.SHORTER", 4)
    sizes = {}
    for protocol in ("full", "paper"):
        named = replace(vectors, dataset="cub200")
        spec = Sweep((QUICK,), (0,), protocol).specs(named, sequence)[0]
        given = fit_context(named, sequence, spec, data=data, encoder=ENCODER)
        assert given.images is not None
        sizes[protocol] = given.images.read(0).shape
    assert sizes == {"full": (4, 4, 3), "paper": (8, 8, 3)}


@pytest.mark.parametrize("encoder", [None, "oodml:hog"])
def test_what_cannot_be_trained_is_refused(
    data: Dataset, vectors: EmbeddingSet, sequence: SplitSequence, encoder: str | None
) -> None:
    spec = Sweep((QUICK,), (0,), "full", budget=BUDGET).specs(vectors, sequence)[0]
    with pytest.raises(RunError, match="trains the network, and so takes images and a network"):
        fit_context(vectors, sequence, spec, data=data, encoder=encoder)
    with pytest.raises((RunError, DataError), match="give --dataset"):
        fit_context(vectors, sequence, spec, encoder=ENCODER)


# Two processes -----------------------------------------------------------------------------------

SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import numpy as np, torch
import test_full_protocol as t
from oodml.methods import distributed
torch.set_num_threads(1)
distributed.join()
data = t.data.__wrapped__()
vectors = t.embed_data(data, t.ENCODER)
sequence = t.oodml.build_splits(vectors, levels=2)
training = t.Training(t.context(data, vectors, sequence), t.find_method({method!r}))
training.advance()
if distributed.rank() == 0:
    np.savez({out!r}, **t.gradients(training))
"""


def gradients(training: Training) -> dict[str, np.ndarray]:
    assert training.source.module is not None
    parts = {"backbone": training.source.module, "head": training.head, "loss": training.loss}
    return {
        f"{part} {name}": parameter.grad.numpy()
        for part, module in parts.items()
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


@pytest.mark.slow
@pytest.mark.parametrize("method", ["margin+sec?dim=6&hidden=5", "proxyanchor?dim=6"])
def test_two_processes_have_the_gradients_of_one(
    data: Dataset, vectors: EmbeddingSet, sequence: SplitSequence, tmp_path: Path, method: str
) -> None:
    out, script = tmp_path / "gradients.npz", tmp_path / "script.py"
    tests = str(Path(__file__).parent)
    script.write_text(SCRIPT.format(tests=tests, out=str(out), method=method))
    torchrun("2", str(script))
    training = Training(context(data, vectors, sequence), find_method(method))
    training.advance()
    expected, found = gradients(training), np.load(out)
    assert set(found.files) == set(expected)
    assert any(name.startswith("loss") for name in expected)
    for name, gradient in expected.items():
        scale = np.abs(gradient).max()
        assert scale > 0 or name.startswith("loss"), name
        np.testing.assert_allclose(found[name], gradient, atol=1e-4 * scale + 1e-9, err_msg=name)


@pytest.mark.slow
def test_a_sweep_under_torchrun_writes_every_result_once(tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    whole = oodml.load_data("digits")
    from PIL import Image

    for row in range(0, len(whole), 15):
        name = whole.classes[whole.labels[row]]
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(whole.source.images[row]).save(folder / name / f"{row}.png")  # type: ignore[union-attr]
    data = oodml.load_data(f"folder:{folder}")
    sequence = oodml.build_splits(embed_data(data, ENCODER), levels=2)
    oodml.write_sequence(tmp_path / "splits.json", sequence)
    words = ["-c", "from oodml.cli import main; main()", "run", "--dataset", f"folder:{folder}"]
    words += ["--encoder", ENCODER, "--splits", str(tmp_path / "splits.json"), "--json"]
    words += ["--method", QUICK, "--seeds", "1", "--protocol", "full", "--steps", "2"]
    script = tmp_path / "cli.py"
    script.write_text(
        "import sys\nfrom oodml.cli import main\nsys.argv = sys.argv[:1] + sys.argv[1:]\nmain()\n"
    )
    torchrun("2", str(script), *words[2:], "-o", str(tmp_path / "runs"))
    results = list((tmp_path / "runs").glob("??/*/result.json"))
    assert len(results) == len(sequence.splits)
    for path in results:
        assert json.loads(path.read_text())["cards"]
        assert (path.parent / "model.safetensors").exists()
        assert not (path.parent / "error.txt").exists()


def torchrun(processes: str, *words: str) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", processes]
    command += ["--standalone", *words]
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environ)
    assert result.returncode == 0, result.stderr[-3000:]
