"""timm's networks: their vectors, their transforms and their files, against timm itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from published_weights import publish_hub
from safetensors.torch import load_file, save_file

from oodml.embed import EncoderSpec, open_encoder
from oodml.embed.architectures import find_architecture
from oodml.embed.images import shape_image
from oodml.embed.network import Network
from oodml.embed.trained import build_head, read_trained, write_trained
from oodml.errors import UnknownNameError, WeightsError

timm = pytest.importorskip("timm", reason="the extra timm is not installed")
TAGS = ["test_vit.r160_in1k", "test_convnext.r160_in1k", "test_resnet.r160_in1k"]


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("OODML_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("OODML_HOME", str(tmp_path / "own"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    return tmp_path / "hf"


def published(hub: Path, name: str, **changes: torch.Tensor | None) -> Path:
    """The whole network with random weights, as a file of timm on the hub."""
    torch.manual_seed(1)
    state = dict(timm.create_model(name).state_dict())
    for key, value in changes.items():
        state[key.replace("__", ".")] = value
    state = {key: value for key, value in state.items() if value is not None}
    return publish_hub(hub, f"timm/{name}", "model.safetensors", state)


@pytest.mark.parametrize("name", TAGS)
@pytest.mark.parametrize("size", [0, 96])
def test_vectors_are_those_of_timm(hub: Path, name: str, size: int) -> None:
    path = published(hub, name)
    encoder = open_encoder(f"timm:{name}" + (f"?size={size}" if size else ""))
    options = {"img_size": size} if size and "vit" in name else {}
    overlay = {"file": str(path)}
    reference = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0, **options
    )
    side = size or 160
    batch = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
    with torch.inference_mode():
        expected = reference.eval()(encoder.normalised(batch))  # type: ignore[attr-defined]
    torch.testing.assert_close(encoder(batch), expected, rtol=1e-4, atol=1e-5)
    assert encoder.spec.dim == reference.num_features
    assert encoder.spec.licence == "apache-2.0"
    assert encoder.spec.arch == f"timm:{name.partition('.')[0]}"
    assert str(path.parent) not in json.dumps(encoder.spec.to_json())


@pytest.mark.parametrize(
    "name",
    [
        *("resnet50.a1_in1k", "vit_small_patch14_dinov2", "vit_base_patch16_siglip_224"),
        *("convnext_tiny", "vit_small_patch16_dinov3", "eca_nfnet_l0", "inception_v3.tv_in1k"),
    ],
)
def test_images_are_shown_as_timm_shows_them(name: str) -> None:
    shape = find_architecture(f"timm:{name}").shape
    assert shape["refused"] is None
    known = {key: value for key, value in shape.items() if key != "refused"}
    spec = EncoderSpec("x", "x", dim=1, **known)
    config = timm.data.resolve_data_config(
        {}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict()
    )
    theirs = timm.data.create_transform(**config)
    rng = np.random.default_rng(0)
    for size in [(300, 451), (451, 300)]:
        image = Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (spec.mean, spec.std))
        ours = (torch.from_numpy(shape_image(image, spec)).float() / 255 - mean) / std
        torch.testing.assert_close(ours, theirs(image), rtol=0, atol=1.01 / 255 / float(std.min()))


def test_every_tag_has_a_transform_or_says_why_not() -> None:
    refused = []
    for name in timm.list_pretrained():
        shape = find_architecture(f"timm:{name}").shape
        assert shape["size"] > 0
        assert shape["interpolation"] in ("bilinear", "bicubic")
        refused += [name] if shape["refused"] else []
    assert 0 < len(refused) < 50
    with pytest.raises(UnknownNameError, match=r"squashes images to 213 x 213 .*; give size=S"):
        open_encoder("timm:dm_nfnet_f0?init=random")


def test_a_file_that_is_not_the_network_is_refused(hub: Path) -> None:
    path = published(hub, TAGS[2], conv1__0__weight=None, layer9__x=torch.zeros(1))
    message = f"{path} is not what timm expects: These weights do not fit timm:test_resnet: .*Miss"
    with pytest.raises(WeightsError, match=message):
        open_encoder(f"timm:{TAGS[2]}")


def test_offline_it_says_which_file_and_where(tmp_path: Path) -> None:
    place = tmp_path / "own" / "weights" / "timm" / "resnet50.a1_in1k" / "model.safetensors"
    message = (
        "Weights model.safetensors are not on this machine: put model.safetensors of "
        f"huggingface.co/timm/resnet50.a1_in1k at {place} .OODML_OFFLINE is set"
    )
    with pytest.raises(WeightsError, match=message):
        open_encoder("timm:resnet50.a1_in1k")


def test_a_file_put_by_hand_is_found(hub: Path, tmp_path: Path) -> None:
    path = published(hub, TAGS[0])
    first = open_encoder(f"timm:{TAGS[0]}").spec
    place = tmp_path / "own" / "weights" / "timm" / TAGS[0] / "model.safetensors"
    place.parent.mkdir(parents=True)
    path.rename(place)
    assert open_encoder(f"timm:{TAGS[0]}").spec == first


@pytest.mark.parametrize("name", TAGS[:2])
def test_a_file_of_ones_own_gives_the_same_network(hub: Path, tmp_path: Path, name: str) -> None:
    """With another classifier, or without one; and at another size, where positions are fitted."""
    path = published(hub, name)
    arch = name.partition(".")[0]
    for query in ("", "&size=96"):
        reference = open_encoder(f"timm:{name}?seed=0{query}")
        names = [f"file:{path}?arch=timm:{arch}{query}", f"timm:{name}?weights={path}{query}"]
        state = load_file(path)
        kept = {key: value for key, value in state.items() if "head.fc" not in key}
        kept = {
            key: value for key, value in kept.items() if key not in ("head.weight", "head.bias")
        }
        assert len(kept) == len(state) - 2
        save_file(kept, tmp_path / "w.safetensors")
        names += [f"file:{tmp_path}/w.safetensors?arch=timm:{name}{query}"]
        side = reference.spec.size
        batch = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
        for other in map(open_encoder, names):
            torch.testing.assert_close(other(batch), reference(batch))
            assert other.spec.arch == reference.spec.arch


def test_a_trained_head_on_a_timm_network_comes_back(tmp_path: Path) -> None:
    encoder = open_encoder("timm:test_vit?init=random&size=64")
    assert isinstance(encoder, Network)
    head = build_head(encoder.spec.dim, "linear:5")
    spec = replace(encoder.spec, arch="timm:test_vit+linear:5", dim=5)
    write_trained(tmp_path / "m.safetensors", spec, encoder.module, head)
    found = read_trained(tmp_path / "m.safetensors")
    batch = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(found(batch), head(encoder(batch)))
    assert (found.spec.size, found.spec.dim) == (64, 5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:resnett", "'timm:resnett' is not a network of timm; nearest: resnet"),
        ("timm:resnet50.zz", "timm:resnet50 has no weights 'zz'; it has a1_in1k, "),
        ("timm:test_vit?init=random&size=100", "patches of 16 x 16 .* multiple of 16, not 100"),
        ("timm:test_vit4?weights=x", "x is not a .safetensors file"),
        ("timm:resnet50?init=zero", "expected random"),
    ],
)
def test_wrong_names_are_explained(name: str, message: str) -> None:
    with pytest.raises((UnknownNameError, WeightsError), match=message):
        open_encoder(name)


def test_random_weights_are_a_function_of_the_seed() -> None:
    first, again, other = (
        open_encoder(f"timm:test_resnet?init=random&seed={seed}&size=32") for seed in (0, 0, 1)
    )
    batch = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(first(batch), again(batch))
    assert not torch.equal(first(batch), other(batch))
