"""`oodml check`: an encoder for each fault, and good ones as a control."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from oodml.cli import main
from oodml.embed import EncoderSpec
from oodml.embed.images import shape_image
from oodml.embed.inspection import inspect_encoder
from oodml.embed.network import Network
from oodml.embed.opening import make_network
from oodml.errors import WeightsError

SPEC = EncoderSpec("good", "good", dim=3, size=8, mean=(0.5,), std=(0.5,))
Call = Callable[[torch.Tensor], Any]


def means(batch: torch.Tensor) -> torch.Tensor:
    """Three numbers an image that need not be equal, though the digits are grey."""
    x = batch.float()
    return torch.stack([x.mean((1, 2, 3)), x.std((1, 2, 3)), x[:, 0, 4].mean(1)], dim=1)


def shaped(image: Any, spec: EncoderSpec) -> Any:
    return shape_image(image, spec)


@dataclass
class Own:
    """An encoder of any call, transform and spec."""

    call: Call = means
    shape: Callable[[Any, EncoderSpec], Any] = shaped
    spec: EncoderSpec = SPEC
    seen: list[int] = field(default_factory=list)

    def transform(self, image: Any) -> Any:
        self.seen.append(1)
        return self.shape(image, self.spec)

    def __call__(self, batch: torch.Tensor) -> Any:
        return self.call(batch)


def module(*layers: torch.nn.Module) -> Call:
    """A network in training mode, as one that was forgotten to be set to evaluation."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3), *layers)

    def call(batch: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return network(batch.float())

    return call


def in_place(batch: torch.Tensor) -> torch.Tensor:
    found = means(batch)
    batch += 1
    return found


def fails_alone(batch: torch.Tensor) -> torch.Tensor:
    if len(batch) == 1:
        raise ValueError("Expected more than 1 value")
    return means(batch)


def paints(image: Any, spec: EncoderSpec) -> Any:
    found = shape_image(image, spec)
    image.putpixel((0, 0), 77 if image.mode == "L" else (77, 1, 2))
    return found


def noisy(image: Any, spec: EncoderSpec) -> Any:
    return shape_image(image, spec) ^ np.uint8(np.random.default_rng().integers(256))


def failing(*_: object) -> Any:
    raise KeyError("no such thing")


def test_good_encoders_have_no_faults() -> None:
    found = inspect_encoder(Own())
    assert (found.faults, found.spec) == ((), SPEC)
    assert inspect_encoder("oodml:hog").faults == ()
    assert inspect_encoder("tv:squeezenet1_1?init=random&size=32").faults == ()
    assert inspect_encoder(Own(spec=replace(SPEC, mode="L"))).faults == ()


def test_one_number_and_lists_are_scales() -> None:
    assert inspect_encoder(Own(spec=replace(SPEC, mean=0.5, std=[0.5] * 3))).faults == ()  # type: ignore[arg-type]


def test_a_transform_that_works_once_is_a_fault() -> None:
    def tires(image: Any, spec: EncoderSpec) -> Any:
        if len(encoder.seen) > 12:
            raise OSError("no more")
        return shape_image(image, spec)

    encoder = Own(shape=tires)
    [fault] = inspect_encoder(encoder).faults
    assert fault == "transform fails at the same image the second time (OSError: no more)."


class Named(torch.nn.Module):
    """A convolution and a batch norm that get their inputs by name; `made` is what comes out."""

    def __init__(self, made: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.convolution, self.norm = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)
        self.made = made

    def forward(self, x: torch.Tensor) -> Any:
        return self.made(self.norm(input=self.convolution(input=x)).mean((2, 3)))


SHAPE = {"size": 8, "mean": (0.5,) * 3, "std": (0.5,) * 3}


def test_the_copy_that_embeds_is_inspected(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = make_network("x", "x", Named(lambda x: x), weights="", shape=SHAPE)
    assert inspect_encoder(encoder).faults == ()
    monkeypatch.setattr(Network, "prepared", lambda *_: Own(lambda x: torch.zeros(len(x), 4)))
    assert len(inspect_encoder(encoder).faults) == 2


def test_a_module_that_cannot_be_copied_is_a_fault() -> None:
    module = Named(lambda x: x)
    module.lock = threading.Lock()
    [fault] = inspect_encoder(make_network("x", "x", module, weights="", shape=SHAPE)).faults
    assert fault.startswith("A Named cannot be copied (cannot pickle '_thread.lock' object); keep")


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda x: (x, x), "gives tuple for one image of 8 x 8 pixels; expected one vector"),
        (lambda x: {"vectors": x}, "gives dict for one image"),
        (lambda x: x.nothing, "cannot take images of 8 x 8 pixels .*no attribute 'nothing'"),
    ],
)
def test_a_module_that_gives_no_vector_is_refused(made: Any, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        make_network("x", "x", Named(made), weights="", shape=SHAPE)


def test_another_batch_may_change_the_last_bits_only() -> None:
    def rounded(scale: float) -> Call:
        return lambda batch: means(batch) * (1 + scale * len(batch))

    assert inspect_encoder(Own(rounded(1e-6))).faults == ()
    assert len(inspect_encoder(Own(rounded(1e-3))).faults) == 2
    half = replace(SPEC, precision="bf16")
    assert inspect_encoder(Own(rounded(1e-3), spec=half)).faults == ()
    assert len(inspect_encoder(Own(rounded(1e-1), spec=half)).faults) == 2


@pytest.mark.parametrize(
    ("call", "messages"),
    [
        (lambda x: means(x).double(), ["gives float64; expected float32: end it with .float()"]),
        (lambda x: means(x).half(), ["gives float16; expected float32"]),
        (
            lambda x: means(x)[:, :2],
            [r"gives \(12, 2\) for 12 images; the spec promises \(12, 3\)"],
        ),
        (lambda x: means(x)[0], [r"gives \(3,\) for 12 images"]),
        (lambda x: means(x).numpy(), ["gives a ndarray; expected a torch.Tensor"]),
        (lambda x: means(x) / 0, ["12 of 12 vectors hold NaN or infinity"]),
        (lambda x: means(x) * torch.ones(1, requires_grad=True), ["keep their gradients"]),
        (lambda x: torch.ones(len(x), 3), ["All 12 vectors are the same; expected others"]),
        (lambda x: torch.zeros(len(x), 3), ["All 12 vectors are zero"]),
        (in_place, ["The call changes the batch"]),
        (lambda x: (means(x),), ["gives a tuple; expected a torch.Tensor"]),
        (failing, [r"A batch of 12 images fails \(KeyError: 'no such thing'\)"]),
        (module(torch.nn.Dropout(0.5)), ["Two calls .* differ by .*: is dropout on"]),
        (
            module(torch.nn.BatchNorm1d(3)),
            [
                r"one by one fail \(ValueError: Expected more than 1 value",
                "in batches of 5 give other",
            ],
        ),
        (fails_alone, [r"one by one fail \(ValueError: Expected more than 1 value\)"]),
        (
            lambda x: means(x) + torch.arange(len(x))[:, None],
            ["in another order give other", "one by one give other", "in batches of 5 give other"],
        ),
        (
            lambda x: means(x).double() * len(x),
            [
                "gives float64",
                "one by one give other vectors by ",
                "in batches of 5 give other",
            ],
        ),
    ],
)
def test_each_fault_of_the_vectors_is_a_sentence(call: Call, messages: list[str]) -> None:
    """All of them, and no other."""
    faults = inspect_encoder(Own(call)).faults
    assert len(faults) == len(messages), faults
    for fault, message in zip(faults, messages, strict=True):
        assert fault.endswith((".", "?", ")?"))
        with pytest.raises(ValueError, match=message):
            raise ValueError(fault)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (lambda image, spec: shape_image(image, spec)[:1], r"uint8 \(1, 8, 8\); the spec promises"),
        (lambda image, spec: shape_image(image, spec) / 255.0, "transform gives float64"),
        (lambda image, _: image, "transform gives a Image; expected a numpy array of uint8"),
        (paints, "transform changes the image"),
        (noisy, "transform makes two inputs of one image"),
        (failing, r"transform fails \(KeyError: 'no such thing'\)"),
    ],
)
def test_each_fault_of_the_transform_is_a_sentence(shape: Any, message: str) -> None:
    faults = inspect_encoder(Own(shape=shape)).faults
    assert len(faults) == 1, faults
    with pytest.raises(ValueError, match=message):
        raise ValueError(faults[0])


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"dim": 0}, ["dim is 0"]),
        ({"size": 0}, ["size is 0"]),
        ({"resize": 4}, [r"resize is 4; expected None, or the size \(8\) or more"]),
        ({"mode": "CMYK"}, ["mode is 'CMYK'; expected RGB or L"]),
        ({"interpolation": "area"}, ["interpolation is 'area'; expected one of nearest"]),
        ({"mean": (0.1, 0.2)}, ["mean is .*; expected one or 3 numbers"]),
        ({"std": (0.0,), "dim": -1}, ["dim is -1", "std is .*; expected one or 3 numbers above 0"]),
        ({"std": (float("nan"),)}, ["std is"]),
        ({"mean": "x"}, [r"mean is \('x',\); expected one or 3 numbers"]),
        ({"size": "8", "resize": 9}, ["size is '8'"]),
        ({"mode": ["RGB"]}, ["mode is .*; expected RGB or L"]),
        ({"precision": "fp8"}, ["precision is 'fp8'; expected float32 or bf16"]),
    ],
)
def test_each_fault_of_the_spec_is_a_sentence(changes: dict[str, Any], messages: list[str]) -> None:
    encoder = Own(spec=replace(SPEC, **changes))
    faults = inspect_encoder(encoder).faults
    assert len(faults) == len(messages), faults
    for fault, message in zip(faults, messages, strict=True):
        with pytest.raises(ValueError, match=f"The spec's {message}"):
            raise ValueError(fault)
    assert not encoder.seen, "an encoder without a sane spec was used"


# The command -------------------------------------------------------------------------------------

CODE = """
import torch

def good():
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())

class Wrong(torch.nn.Module):
    def forward(self, x):
        return x.mean((2, 3)).double() * len(x)

def wrong():
    return Wrong()
"""


@pytest.fixture
def _module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)


@pytest.mark.usefixtures("_module")
def test_the_command_lists_every_fault_and_fails() -> None:
    good = CliRunner().invoke(main, ["check", "py:mine:good?size=8"])
    assert (good.exit_code, good.output.count("\n")) == (0, 1)
    assert "12 dimensions" in good.output
    assert "No faults" in good.output
    wrong = CliRunner().invoke(main, ["check", "py:mine:wrong?size=8"])
    assert wrong.exit_code == 1
    lines = wrong.output.splitlines()
    assert len(lines) == 2  # a network's vectors are brought to float32 anyway
    assert all(line.startswith("py:mine:wrong?size=8: ") for line in lines)
    absent = CliRunner().invoke(main, ["check", "py:mine:none"])
    assert (absent.exit_code, "has no function 'none'" in absent.output) == (1, True)


@pytest.mark.usefixtures("_module")
def test_the_command_gives_json() -> None:
    found = json.loads(CliRunner().invoke(main, ["check", "py:mine:good?size=8", "--json"]).output)
    assert (found["ok"], found["faults"], found["spec"]["dim"]) == (True, [], 12)
    result = CliRunner().invoke(main, ["check", "nothing:x", "--json"])
    found = json.loads(result.output)
    assert (result.exit_code, found["ok"], found["spec"]) == (1, False, None)
    assert len(found["faults"]) == 1


def test_licences_are_told(tmp_path: Path) -> None:
    listed = CliRunner().invoke(main, ["list", "encoders"]).output
    assert "licence=BSD-3-Clause (SWAG: CC-BY-NC-4.0)" in listed
    words = ["embed", "digits", "--encoder", "oodml:pixels?size=8", "--json"]
    found = CliRunner().invoke(main, [*words, "-o", str(tmp_path / "x.emb")])
    assert json.loads(found.output)["encoder"]["licence"] == "Apache-2.0"
    assert "Apache-2.0" in CliRunner().invoke(main, ["check", "oodml:pixels"]).output
