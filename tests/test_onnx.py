"""ONNX files as encoders, against the torch module that they were made of."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oodml.embed import open_encoder
from oodml.errors import UnknownNameError, WeightsError

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
RNG = np.random.default_rng(0)
KERNEL = RNG.standard_normal((5, 3, 3, 3)).astype(np.float32)


def network(path: Path, shape: tuple[Any, ...] = ("n", 3, 16, 16), *, flat: bool = True) -> Path:
    """A convolution and the mean of every channel; written with onnx alone."""
    from onnx import helper, numpy_helper

    nodes = [
        helper.make_node("Conv", ["images", "w"], ["maps"]),
        helper.make_node("GlobalAveragePool", ["maps"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
    ]
    name = "flat" if flat else "means"
    graph = helper.make_graph(
        nodes[: 3 if flat else 2],
        "g",
        [helper.make_tensor_value_info("images", 1, shape)],
        [helper.make_tensor_value_info(name, 1, None)],
        [numpy_helper.from_array(KERNEL, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


def expected(batch: torch.Tensor, mean: float = 0.0, std: float = 1.0) -> torch.Tensor:
    images = (batch.float() / 255 - mean) / std
    return torch.nn.functional.conv2d(images, torch.from_numpy(KERNEL)).mean((2, 3))


@pytest.mark.parametrize(
    ("shape", "query"),
    [
        (("n", 3, 16, 16), "?mean=0.5&std=0.25"),
        ((1, 3, 16, 16), "?mean=0.5&std=0.25"),
        ((4, 3, 16, 16), "?mean=0.5&std=0.25&size=16"),
        (("n", 3, "h", "w"), "?size=16&mean=0.5&std=0.25"),
    ],
)
def test_vectors_are_those_of_the_network(
    tmp_path: Path, shape: tuple[Any, ...], query: str
) -> None:
    """Whatever batch size it insists on, and whatever number of images comes."""
    path = network(tmp_path / "x.onnx", shape)
    encoder = open_encoder(f"onnx:{path}{query}")
    for n in (1, 3, 4, 9):
        batch = torch.randint(0, 256, (n, 3, 16, 16), dtype=torch.uint8)
        found = encoder(batch)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected(batch, 0.5, 0.25), rtol=1e-4, atol=1e-5)
    assert (encoder.spec.dim, encoder.spec.size) == (5, 16)


def test_a_file_that_hides_for_how_many_images_it_was_made(tmp_path: Path) -> None:
    """Its input says any number, and a reshape within says one."""
    from onnx import helper, numpy_helper

    model = onnx.load(network(tmp_path / "x.onnx", flat=False))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 5]), "to"))
    model.graph.node.append(helper.make_node("Reshape", ["means", "to"], ["flat"]))
    model.graph.output[0].name = "flat"
    onnx.save(model, tmp_path / "x.onnx")
    batch = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    found = open_encoder(f"onnx:{tmp_path}/x.onnx")(batch)
    torch.testing.assert_close(found, expected(batch), rtol=1e-4, atol=1e-5)


def test_what_the_session_refuses_is_a_sentence(tmp_path: Path) -> None:
    encoder = open_encoder(f"onnx:{network(tmp_path / 'x.onnx')}")
    with pytest.raises(WeightsError, match=r"pixels, 2 at once \(.*\); choose another size\."):
        encoder(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))


def test_a_spec_holds_no_path_and_follows_the_bytes(tmp_path: Path) -> None:
    path = network(tmp_path / "x.onnx")
    first = open_encoder(f"onnx:{path}").spec
    assert str(tmp_path) not in json.dumps(first.to_json())
    model = onnx.load(path)
    model.doc_string = "another"
    onnx.save(model, tmp_path / "y.onnx")
    assert open_encoder(f"onnx:{tmp_path}/y.onnx").spec.identity() != first.identity()


def test_weights_in_other_files_count_and_must_lie_beside(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    model = onnx.load(network(tmp_path / "x.onnx"))
    options = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0}
    onnx.save(model, folder / "x.onnx", **options)
    assert (folder / "w.bin").is_file()
    batch = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    encoder = open_encoder(f"onnx:{folder}/x.onnx")
    torch.testing.assert_close(encoder(batch), expected(batch), rtol=1e-4, atol=1e-5)
    (folder / "w.bin").write_bytes(np.zeros_like(KERNEL).tobytes())
    assert open_encoder(f"onnx:{folder}/x.onnx").spec.identity() != encoder.spec.identity()
    (folder / "w.bin").rename(tmp_path / "w.bin")
    with pytest.raises(WeightsError, match=r"keeps weights in 'w.bin', which is not there"):
        open_encoder(f"onnx:{folder}/x.onnx")
    (folder / "w.bin").symlink_to(tmp_path / "w.bin")
    with pytest.raises(WeightsError, match=r"keeps weights in 'w.bin', outside its folder"):
        open_encoder(f"onnx:{folder}/x.onnx")
    moved = onnx.load(folder / "x.onnx", load_external_data=False)
    for entry in moved.graph.initializer[0].external_data:
        entry.value = "../w.bin" if entry.key == "location" else entry.value
    onnx.save(moved, folder / "y.onnx")
    with pytest.raises(WeightsError, match=r"keeps weights in '../w.bin', outside its folder"):
        open_encoder(f"onnx:{folder}/y.onnx")


def test_tensors_within_branches_are_looked_at(tmp_path: Path) -> None:
    """A constant in the branch of an If, whose weights lie elsewhere."""
    from onnx import TensorProto, helper

    far = TensorProto(name="c", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
    far.external_data.add(key="location", value=os.path.join("..", "secret"))  # noqa: PTH118
    out = [helper.make_tensor_value_info("o", 1, [1])]
    branch = helper.make_graph([helper.make_node("Constant", [], ["o"], value=far)], "b", [], out)
    node = helper.make_node("If", ["images"], ["o"], then_branch=branch, else_branch=branch)
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("images", 9, [1])], out)
    onnx.save(helper.make_model(graph), tmp_path / "x.onnx")
    with pytest.raises(WeightsError, match=r"keeps weights in '../secret', outside its folder"):
        open_encoder(f"onnx:{tmp_path}/x.onnx")


@pytest.mark.parametrize(
    ("options", "query", "message"),
    [
        ({"shape": ("n", 3, "h", "w")}, "", "the file takes images of any size; give size=S"),
        ({}, "?size=32", "size is 32; the file takes 16 x 16 pixels only"),
        ({"shape": ("n", 16, 16, 3)}, "", r"takes \('n', 16, 16, 3\); expected square RGB images"),
        ({"shape": ("n", 3, 16, 18)}, "", "expected square RGB images"),
        ({"flat": False}, "", r"gives \(1, 5, 1, 1\) for one image; expected a vector"),
        ({"shape": ("n", 3, "h", "w")}, "?size=2", "cannot take images of 2 x 2 pixels, 1 at once"),
        ({}, "?depth=2", "has no parameter 'depth'"),
    ],
)
def test_other_networks_are_refused(
    tmp_path: Path, options: dict[str, Any], query: str, message: str
) -> None:
    path = network(tmp_path / "x.onnx", **options)
    with pytest.raises((UnknownNameError, WeightsError), match=message):
        open_encoder(f"onnx:{path}{query}")


@pytest.mark.parametrize(
    ("kind", "shape", "outputs", "message"),
    [
        (11, ("n", 3, 8, 8), 1, r"takes a tensor\(double\); expected float32"),
        (1, ("n", 3), 1, r"takes \('n', 3\); expected square RGB images"),
        (1, ("n", 3, 8, 8), 2, "has 1 inputs and 2 outputs; expected one of each"),
    ],
)
def test_other_inputs_and_outputs_are_refused(
    tmp_path: Path, kind: int, shape: tuple[Any, ...], outputs: int, message: str
) -> None:
    from onnx import helper

    names = [f"out{number}" for number in range(outputs)]
    nodes = [helper.make_node("Flatten", ["images"], [name]) for name in names]
    given = [helper.make_tensor_value_info("images", kind, shape)]
    made = [helper.make_tensor_value_info(name, kind, None) for name in names]
    graph = helper.make_graph(nodes, "g", given, made)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(WeightsError, match=message):
        open_encoder(f"onnx:{tmp_path}/x.onnx")


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="There is no ONNX file at"):
        open_encoder(f"onnx:{tmp_path}/none.onnx")
    (tmp_path / "x.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(WeightsError, match="cannot be read as an ONNX"):
        open_encoder(f"onnx:{tmp_path}/x.onnx")
    with pytest.raises(WeightsError, match=r"is an ONNX file; write onnx:"):
        open_encoder(f"file:{tmp_path}/x.onnx")
