"""Weights of one's own: of a network of a library, and of a backbone with a trained head."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, safe_open, save_file

from oodml.embed import open_encoder
from oodml.embed.network import Network
from oodml.embed.trained import build_head, join_head, read_trained, split_head, write_trained
from oodml.errors import UnknownNameError, WeightsError


def saved_resnet(path: Path, **changes: torch.Tensor | None) -> Path:
    from torchvision.models import resnet18

    state = {key: value.clone() for key, value in resnet18(weights=None).state_dict().items()}
    for key, value in changes.items():
        key = key.replace("__", ".")
        if value is None:
            del state[key]
        else:
            state[key] = value
    save_file(state, path)
    return path


def test_a_file_of_weights_gives_the_network_without_its_classifier(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    path = saved_resnet(tmp_path / "w.safetensors", fc__weight=torch.zeros(7, 512), fc__bias=None)
    encoder = open_encoder(f"file:{path}?arch=tv:resnet18&mean=0.5&std=0.5&size=64")
    reference = resnet18(weights=None)
    from safetensors.torch import load_file

    body = {key: value for key, value in load_file(path).items() if not key.startswith("fc.")}
    reference.load_state_dict(body, strict=False)
    reference.fc = torch.nn.Identity()
    reference.eval()
    batch = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        expected = reference(batch.float() / 127.5 - 1)
    torch.testing.assert_close(encoder(batch), expected, rtol=1e-4, atol=1e-4)


def test_a_spec_holds_no_path_and_follows_the_weights(tmp_path: Path) -> None:
    first = saved_resnet(tmp_path / "w.safetensors")
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere" / "renamed.safetensors"
    moved.write_bytes(first.read_bytes())
    query = "?arch=tv:resnet18&size=64"
    spec, same = (open_encoder(f"file:{path}{query}").spec for path in (first, moved))
    assert str(tmp_path) not in json.dumps(spec.to_json())
    assert spec.identity() == same.identity()
    saved_resnet(first, bn1__bias=torch.ones(64))
    assert open_encoder(f"file:{first}{query}").spec.identity() != spec.identity()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conv1__weight": None}, r"1 missing \(conv1.weight\)"),
        ({"extra__weight": torch.zeros(1)}, r"1 unknown \(extra.weight\)"),
        (
            {"conv1__weight": torch.zeros(64, 1, 7, 7)},
            r"1 of another shape \(conv1.weight: \(64, 1, 7, 7\) instead of \(64, 3, 7, 7\)\)",
        ),
    ],
)
def test_weights_that_do_not_fit_say_how(
    tmp_path: Path, changes: dict[str, torch.Tensor | None], message: str
) -> None:
    path = saved_resnet(tmp_path / "w.safetensors", **changes)
    with pytest.raises(WeightsError, match=f"w.safetensors does not fit tv:resnet18: {message}"):
        open_encoder(f"file:{path}?arch=tv:resnet18")


def test_weights_of_another_network_are_refused_readably(tmp_path: Path) -> None:
    path = saved_resnet(tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"missing \(.*, \.\.\.\); .* unknown") as caught:
        open_encoder(f"file:{path}?arch=tv:mobilenet_v2")
    assert len(str(caught.value)) < 500


def test_other_weight_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"nothing of the kind")
    for name, message in [
        ("w.pth", "not a .safetensors file"),
        ("none.safetensors", "There are no weights at"),
        ("w.safetensors", "cannot be read as safetensors"),
    ]:
        with pytest.raises(WeightsError, match=message):
            open_encoder(f"file:{tmp_path / name}?arch=tv:resnet18")
    with pytest.raises(
        WeightsError, match="has no arch; expected a network of torchvision, timm or open_clip"
    ):
        open_encoder(f"file:{saved_resnet(tmp_path / 'w.safetensors')}")


# Trained networks --------------------------------------------------------------------------------

NAME = "tv:shufflenet_v2_x0_5?init=random&seed=3&size=64&mean=0.5&std=0.25&interpolation=bicubic"


def trained(path: Path, head: str = "linear:7") -> tuple[torch.nn.Module, Network]:
    """A file of a random backbone and a random head, and both."""
    encoder = open_encoder(NAME)
    assert isinstance(encoder, Network)
    torch.manual_seed(0)
    on_top = build_head(encoder.spec.dim, head)
    spec = replace(encoder.spec, arch=f"{encoder.spec.arch}+{head}", dim=7)
    write_trained(path, spec, encoder.module, on_top)
    return on_top, encoder


@pytest.mark.parametrize("head", ["linear:7", "mlp:9-7"])
def test_a_trained_network_comes_back_by_its_file_alone(tmp_path: Path, head: str) -> None:
    path = tmp_path / "model.safetensors"
    on_top, backbone = trained(path, head)
    batch = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        expected = on_top(backbone(batch))
    for encoder in (read_trained(path), open_encoder(f"file:{path}")):
        torch.testing.assert_close(encoder(batch), expected, rtol=1e-4, atol=1e-5)
        spec = encoder.spec
        assert (spec.arch, spec.dim, spec.size, spec.resize) == (
            f"tv:shufflenet_v2_x0_5+{head}",
            7,
            64,
            None,
        )
        assert (spec.mean, spec.std, spec.interpolation) == ((0.5,) * 3, (0.25,) * 3, "bicubic")
        assert len(spec.weights or "") == 64
        assert str(tmp_path) not in json.dumps(spec.to_json())
    assert not encoder.module.training  # type: ignore[attr-defined]


def test_the_tensors_have_the_names_that_are_promised(tmp_path: Path) -> None:
    trained(tmp_path / "linear.safetensors")
    trained(tmp_path / "mlp.safetensors", "mlp:9-7")
    keys = set(load_file(tmp_path / "linear.safetensors"))
    assert {"backbone.conv1.0.weight", "head.weight", "head.bias"} <= keys
    assert not [key for key in keys if "fc" in key]
    with safe_open(tmp_path / "mlp.safetensors", framework="pt") as file:
        found = {key for key in file.keys() if key.startswith("head")}  # noqa: SIM118
        metadata = file.metadata()
    assert found == {"head.0.weight", "head.0.bias", "head.2.weight", "head.2.bias"}
    assert metadata["arch"] == "tv:shufflenet_v2_x0_5+mlp:9-7"
    assert json.loads(metadata["spec"])["size"] == 64


def test_options_come_before_what_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    trained(path)
    spec = open_encoder(
        f"file:{path}?resize=80&crop=48&mean=0&arch=tv:shufflenet_v2_x0_5%2Blinear:7"
    ).spec
    assert (spec.size, spec.resize, spec.mean, spec.std) == (48, 80, (0.0,) * 3, (0.25,) * 3)


def test_a_network_without_a_head_keeps_its_plain_names(tmp_path: Path) -> None:
    encoder = open_encoder(NAME)
    assert isinstance(encoder, Network)
    path = tmp_path / "tuned.safetensors"
    write_trained(path, encoder.spec, encoder.module, None)
    assert "conv1.0.weight" in load_file(path)
    batch = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    torch.testing.assert_close(read_trained(path)(batch), encoder(batch))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            "?arch=tv:shufflenet_v2_x0_5",
            "and the file says that it is 'tv:shufflenet_v2_x0_5.linear:7'; leave the arch out",
        ),
        (
            "?arch=tv:resnet34%2Blinear:7",
            "the file says that it is 'tv:shufflenet_v2_x0_5.linear:7'; leave",
        ),
        (
            "?arch=tv:shufflenet_v2_x0_5%2Blinear:0",
            "head 'linear:0'; expected one such as .linear:512",
        ),
        ("?arch=tv:shufflenet_v2_x0_5%2Bconv:7", "head 'conv:7'"),
        ("?arch=vectors:512%2Blinear:7", "takes vectors, no images"),
        ("?arch=oodml:hog", "expected a network of torchvision, timm or open_clip"),
        ("?arch=tv:", "expected a network of torchvision"),
    ],
)
def test_an_arch_that_is_not_the_files_is_refused(tmp_path: Path, query: str, message: str) -> None:
    path = tmp_path / "model.safetensors"
    trained(path)
    with pytest.raises((UnknownNameError, WeightsError), match=message):
        open_encoder(f"file:{path}{query}")


def test_a_head_of_another_width_and_a_damaged_note_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    trained(path)
    state = load_file(path)
    arch = {"arch": "tv:shufflenet_v2_x0_5+linear:8"}
    save_file(state, path, metadata=arch)
    with pytest.raises(
        WeightsError, match=r"2 of another shape \(head.bias: \(7,\) instead of \(8"
    ):
        read_trained(path)
    save_file(
        {**state, "head.weight": torch.zeros(7, 3)},
        path,
        metadata={"arch": "tv:shufflenet_v2_x0_5+linear:7"},
    )
    with pytest.raises(WeightsError, match="cannot take images"):
        read_trained(path)
    save_file(state, path, metadata={"arch": "tv:shufflenet_v2_x0_5+linear:7", "spec": "[1]"})
    with pytest.raises(WeightsError, match="metadata that are no spec"):
        read_trained(path)
    noted = {"mean": [0], "std": [1], "size": "64"}
    save_file(
        state, path, metadata={"arch": "tv:shufflenet_v2_x0_5+linear:7", "spec": json.dumps(noted)}
    )
    with pytest.raises(
        WeightsError, match=r"no spec \(The spec's size is '64'; expected 1 or more"
    ):
        read_trained(path)
    save_file(state, path)
    with pytest.raises(WeightsError, match="does not say of which architecture it is"):
        read_trained(path)


@pytest.mark.parametrize(
    ("noted", "message"),
    [
        ({"mode": "L", "mean": [0], "std": [1]}, "metadata of mode 'L'; networks take RGB images"),
        ({"precision": "fp8"}, "precision is 'fp8'; expected float32 or bf16"),
    ],
)
def test_an_input_that_no_network_takes_is_refused(
    tmp_path: Path, noted: dict[str, object], message: str
) -> None:
    path = tmp_path / "model.safetensors"
    trained(path)
    record = {"size": 64, "mean": [0.5] * 3, "std": [0.5] * 3, **noted}
    metadata = {"arch": "tv:shufflenet_v2_x0_5+linear:7", "spec": json.dumps(record)}
    save_file(load_file(path), path, metadata=metadata)
    with pytest.raises(WeightsError, match=message):
        open_encoder(f"file:{path}")


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    encoder = open_encoder("tv:shufflenet_v2_x0_5?init=random&size=64")
    assert isinstance(encoder, Network)
    path = tmp_path / "model.safetensors"
    with pytest.raises(UnknownNameError, match="expected a network"):
        write_trained(path, replace(encoder.spec, arch="py:mine"), encoder.module, None)
    with pytest.raises(ValueError, match="expected both or neither"):
        write_trained(path, encoder.spec, encoder.module, build_head(512, "linear:3"))
    assert not list(tmp_path.iterdir())


def test_heads_are_parsed() -> None:
    assert split_head("tv:shufflenet_v2_x0_5") == ("tv:shufflenet_v2_x0_5", "")
    assert split_head("tv:x+linear:512") == ("tv:x", "linear:512")
    head = build_head(5, "mlp:4-3")
    assert head(torch.zeros(2, 5)).shape == (2, 3)
    assert next(iter(join_head(torch.nn.Identity(), head).state_dict())) == "head.0.weight"
    for text in ("linear:-1", "linear:", "mlp:5", "mlp:5-0", "conv:3"):
        with pytest.raises(UnknownNameError, match="expected"):
            build_head(5, text)


def test_weights_are_never_pickles(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(1)}, tmp_path / "w.bin")
    for name in (
        f"file:{tmp_path}/w.bin?arch=tv:shufflenet_v2_x0_5",
        f"tv:shufflenet_v2_x0_5?weights={tmp_path}/w.bin",
    ):
        with pytest.raises(WeightsError, match=r"not a .safetensors file; other formats can run"):
            open_encoder(name)


def test_weights_beside_a_name_have_the_transform_of_its_tag(tmp_path: Path) -> None:
    path = saved_resnet(tmp_path / "w.safetensors")
    spec = open_encoder(f"tv:resnet18.IMAGENET1K_V1?weights={path}").spec
    assert (spec.size, spec.resize, spec.dim) == (224, 256, 512)
    assert spec.name == "tv:resnet18.IMAGENET1K_V1?weights=w.safetensors"
    assert spec.identity() == open_encoder(f"file:{path}?arch=tv:resnet18").spec.identity()
    with pytest.raises(UnknownNameError, match="expected random, and then no weights"):
        open_encoder(f"tv:resnet18?weights={path}&init=random")


def test_half_precision_files_become_float32(tmp_path: Path) -> None:
    path = saved_resnet(tmp_path / "w.safetensors")
    halves = {k: v.half() if v.is_floating_point() else v for k, v in load_file(path).items()}
    save_file(halves, tmp_path / "h.safetensors")
    encoder = open_encoder(f"file:{tmp_path}/h.safetensors?arch=tv:resnet18&size=64")
    assert encoder(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).dtype == torch.float32
