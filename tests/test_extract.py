"""Embedding a data set: batches, devices, precision; what memory allows."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from toys_embed import Counting, folder_data

import oodml
from oodml import doctor as health
from oodml.cli import main
from oodml.data import Files
from oodml.data.images import open_image
from oodml.embed import open_encoder
from oodml.embed.device import arithmetic, find_device
from oodml.embed.network import Network, fold_norms, set_precision
from oodml.embed.worker import Worker, start_worker
from oodml.errors import DataError, RunError, UnknownNameError

NETWORK = "tv:resnet18?init=random&seed=0&size=32"


def noise(n: int = 4, size: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, 3, size, size), generator=generator, dtype=torch.uint8)


def test_vectors_are_those_of_the_images_in_order(tmp_path: Path) -> None:
    data = folder_data(tmp_path / "set")
    encoder = open_encoder("oodml:pixels")
    found = oodml.embed_data(data, "oodml:pixels", batch=4)
    for row, name in enumerate(found.ids):
        pixels = encoder.transform(open_image(tmp_path / "set" / name)).astype(np.float32) / 255
        np.testing.assert_allclose(found.vectors[row], pixels.ravel(), atol=1e-6)
    assert found.ids == data.ids
    assert found.content_fingerprint == data.content_fingerprint()
    for batch in (1, 3, 100):
        again = oodml.embed_data(data, "oodml:pixels", batch=batch, cache=False)
        np.testing.assert_array_equal(again.vectors, found.vectors)


def test_a_truncated_image_stops_extraction_with_its_name(tmp_path: Path) -> None:
    data = folder_data(tmp_path / "set")
    assert isinstance(data.source, Files)
    path = data.source.root / data.ids[3]
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=data.ids[3]):
        oodml.embed_data(data, "oodml:pixels")


# Memory ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fits", [1, 2, 3, 5, 100])
def test_a_batch_that_is_too_large_is_halved_until_it_fits(tmp_path: Path, fits: int) -> None:
    data = folder_data(tmp_path / "set", n=11)
    encoder = Counting(fits=fits)
    found = oodml.embed_data(data, encoder, cache=False, batch=8)
    expected = oodml.embed_data(data, Counting(), cache=False)
    np.testing.assert_array_equal(found.vectors, expected.vectors)
    assert encoder.images == 11
    assert max(encoder.seen) <= fits


def test_the_batch_that_fits_is_remembered() -> None:
    tries: list[int] = []

    class Trying(Counting):
        def __call__(self, batch: torch.Tensor) -> torch.Tensor:
            tries.append(len(batch))
            return super().__call__(batch)

    worker = Worker(Trying(fits=2), 8)
    worker(torch.zeros(8, 1, 8, 8, dtype=torch.uint8))
    assert tries == [8, 4, 2, 2, 2, 2]
    worker(torch.zeros(3, 1, 8, 8, dtype=torch.uint8))
    assert tries[6:] == [2, 1]


def test_other_errors_of_torch_are_no_matter_of_memory() -> None:
    class Broken(Counting):
        def __call__(self, batch: torch.Tensor) -> torch.Tensor:
            raise RuntimeError(self.name if len(batch) == 1 else "CUBLAS_STATUS_ALLOC_FAILED")

    with pytest.raises(RuntimeError, match=r"^counting$"):
        Worker(Broken(), 8)(torch.zeros(8, 1, 8, 8, dtype=torch.uint8))


def test_no_memory_for_one_image_is_said_in_a_sentence(tmp_path: Path) -> None:
    data = folder_data(tmp_path / "set", n=4)
    with pytest.raises(RunError, match=r"Not even one image of 8 x 8 pixels fits .*'counting'; "):
        oodml.embed_data(data, Counting(fits=0), cache=False)


# Precision ---------------------------------------------------------------------------------------


def test_bf16_is_another_identity_and_gives_nearly_the_same_vectors(tmp_path: Path) -> None:
    data = folder_data(tmp_path / "set")
    exact = oodml.embed_data(data, NETWORK)
    rounded = oodml.embed_data(data, NETWORK, precision="bf16")
    assert exact.encoder is not None
    assert rounded.encoder is not None
    assert (exact.encoder.precision, rounded.encoder.precision) == ("float32", "bf16")
    assert exact.encoder.identity() != rounded.encoder.identity()
    assert rounded.vectors.dtype == np.float32
    assert (exact.source, rounded.source) == (NETWORK, f"{NETWORK} (bf16)")
    assert not np.array_equal(exact.vectors, rounded.vectors)
    lengths = np.linalg.norm(exact.vectors, axis=1) * np.linalg.norm(rounded.vectors, axis=1)
    cosines = (exact.vectors * rounded.vectors).sum(axis=1) / lengths
    assert cosines.min() > 0.999


@pytest.mark.parametrize(
    ("encoder", "how", "message"),
    [
        ("oodml:hog", {"precision": "bf16"}, "'oodml:hog' is no torch network and computes in f"),
        ("oodml:hog", {"precision": "fp8"}, "Precision 'fp8' is not known; expected float32 or"),
        ("oodml:hog", {"device": "cuda"}, "'oodml:hog' is no torch network and cannot be put on"),
        (NETWORK, {"device": "nowhere"}, "Device 'nowhere' cannot be used here"),
    ],
)
def test_what_an_encoder_cannot_do_is_refused(
    tmp_path: Path, encoder: str, how: dict[str, str], message: str
) -> None:
    data = folder_data(tmp_path / "set")
    with pytest.raises(UnknownNameError, match=message):
        oodml.embed_data(data, encoder, **how)  # type: ignore[arg-type]


def test_commands_pass_precision_and_device_on(tmp_path: Path) -> None:
    folder_data(tmp_path / "set")
    target = tmp_path / "x.emb"
    given = ["embed", f"folder:{tmp_path / 'set'}", "--encoder", NETWORK, "-o", str(target)]
    shown = CliRunner().invoke(main, [*given, "--precision", "bf16", "--device", "cpu"])
    assert shown.exit_code == 0, shown.output
    encoder = oodml.read_embeddings(target).encoder
    assert encoder is not None
    assert encoder.precision == "bf16"
    refused = CliRunner().invoke(main, [*given, "--device", "nowhere"])
    assert refused.exit_code == 1
    assert "Device 'nowhere' cannot be used here" in refused.output


def test_float32_is_float32_whatever_the_caller_has_set() -> None:
    encoder = open_encoder(NETWORK)
    expected = encoder(noise())
    parts = (torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv)
    before = [part.fp32_precision for part in parts]
    try:
        for part in parts:
            part.fp32_precision = "bf16"
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = encoder(noise())
            assert torch.is_autocast_enabled("cpu")
        assert [part.fp32_precision for part in parts] == ["bf16", "bf16"]
        assert torch.equal(found, expected)
        with arithmetic("cpu", "float32"):
            assert [part.fp32_precision for part in parts] == ["ieee", "ieee"]
    finally:
        for part, value in zip(parts, before, strict=True):
            part.fp32_precision = value


# Preparing a network -----------------------------------------------------------------------------


def unsettled(module: torch.nn.Module) -> torch.nn.Module:
    """A network whose batch norms do something."""
    torch.manual_seed(0)
    for child in module.modules():
        if isinstance(child, torch.nn.BatchNorm2d):
            for part in (child.weight, child.running_var):
                torch.nn.init.uniform_(part, 0.5, 2.0)  # type: ignore[arg-type]
            for part in (child.bias, child.running_mean):
                torch.nn.init.normal_(part, 0.0, 0.5)  # type: ignore[arg-type]
    return module


@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v2"])
def test_a_prepared_network_gives_the_same_vectors_without_batch_norms(arch: str) -> None:
    encoder = open_encoder(f"tv:{arch}?init=random&seed=0&size=32")
    assert isinstance(encoder, Network)
    unsettled(encoder.module)
    prepared = encoder.prepared("cpu")
    kinds = [type(child) for child in prepared.module.modules()]
    assert torch.nn.BatchNorm2d not in kinds
    assert torch.nn.BatchNorm2d in [type(child) for child in encoder.module.modules()]
    assert prepared.spec == encoder.spec
    expected = encoder(noise())
    torch.testing.assert_close(prepared(noise()), expected, rtol=1e-3, atol=1e-4 * expected.max())


def test_what_cannot_be_folded_stays() -> None:
    class Twice(torch.nn.Module):
        """One convolution before two batch norms; another's output is used beside its norm."""

        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = torch.nn.Conv2d(3, 3, 1), torch.nn.Conv2d(3, 3, 1)
            self.first, self.second = torch.nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.one(self.one(x))
            made = self.two(self.first(x))
            return made + self.second(made)

    module = unsettled(Twice()).eval()
    x = torch.randn(2, 3, 4, 4)
    with torch.inference_mode():
        found = fold_norms(module, x)
        assert torch.equal(found(x), module(x))
    assert sum(isinstance(child, torch.nn.BatchNorm2d) for child in found.modules()) == 2


@pytest.mark.parametrize("norm", [torch.nn.Identity, torch.nn.BatchNorm2d])
def test_a_network_without_norms_is_copied_and_not_run(norm: type[torch.nn.Module]) -> None:
    runs = []
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), norm(3)).eval()
    module.register_forward_hook(lambda *_: runs.append(1))
    with torch.inference_mode():
        found = fold_norms(module, torch.zeros(2, 3, 4, 4))
    assert found is not module
    assert len(runs) == (0 if norm is torch.nn.Identity else 3)


def test_other_encoders_stay_as_they_are() -> None:
    encoder = open_encoder("oodml:pixels")
    worker = start_worker(encoder, "auto", None)
    assert worker.encoder is encoder
    assert worker.most == 256
    assert set_precision(encoder, "float32") is encoder
    assert start_worker(replace(open_encoder(NETWORK)), "cpu", 7).most == 7  # type: ignore[type-var]


# A GPU -------------------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_a_gpu_gives_the_same_vectors(tmp_path: Path) -> None:
    assert find_device("auto") == "cuda"
    data = folder_data(tmp_path / "set")
    on_cpu = oodml.embed_data(data, NETWORK, cache=False, device="cpu")
    on_gpu = oodml.embed_data(data, NETWORK, cache=False)
    scale = np.abs(on_cpu.vectors).max()
    np.testing.assert_allclose(on_gpu.vectors, on_cpu.vectors, atol=1e-4 * scale)
    rounded = oodml.embed_data(data, NETWORK, cache=False, precision="bf16")
    np.testing.assert_allclose(rounded.vectors, on_cpu.vectors, atol=3e-2 * scale)


def test_the_device_is_the_cpu_where_there_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert find_device("auto") == "cuda"


# The doctor --------------------------------------------------------------------------------------


def test_the_doctor_says_what_there_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OODML_HOME", str(tmp_path))
    monkeypatch.setenv("OODML_OFFLINE", "1")
    (tmp_path / "pixels").mkdir()
    (tmp_path / "pixels" / "x").write_bytes(b"12345")
    shown = CliRunner().invoke(main, ["doctor", "--json"])
    assert shown.exit_code == 0, shown.output
    record = json.loads(shown.stdout)
    assert torch.__version__.startswith(record["versions"]["torch"])
    assert record["offline"] is True
    assert record["caches"] is None
    assert record["threads"] == torch.get_num_threads()
    sizes = {place["name"]: place["bytes"] for place in record["places"]}
    assert sizes["OODML_HOME/pixels"] == 5
    assert sizes["OODML_HOME/datasets"] is None
    cpu = record["devices"][0]
    assert cpu["device"] == "cpu"
    assert cpu["memory"] > 2**28
    assert set(record["extras"]) >= {"timm", "clip", "onnx", "fast"}
    text = CliRunner().invoke(main, ["doctor"]).stdout
    assert "set: nothing is downloaded" in text
    assert "5 bytes" in text


def test_the_doctor_knows_what_the_project_needs_and_offers() -> None:
    root = Path(__file__).parent.parent
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    def names(lines: list[str]) -> set[str]:
        return {re.split(r"[\s<>=!~;\[]", line)[0].lower().replace("_", "-") for line in lines}

    offered = {name: names(lines) for name, lines in project["optional-dependencies"].items()}
    del offered["dev"]
    assert {name: set(packages) for name, packages in health.EXTRAS.items()} == offered
    assert names(project["dependencies"]) <= set(health.CORE)


def test_a_gpu_that_cannot_be_asked_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_: int) -> None:
        raise RuntimeError("CUDA error: out of memory\nFor debugging")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", failing)
    text = " ".join(CliRunner().invoke(main, ["doctor"]).stdout.split())
    assert "cuda:0" in text
    assert "cannot be used" in text
    assert "CUDA error: out of memory" in text
