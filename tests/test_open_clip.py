"""open_clip's image towers: their vectors and their transforms, against open_clip itself."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from published_weights import publish_hub
from safetensors.torch import load_file, save_file

from oodml.embed import EncoderSpec, open_encoder
from oodml.embed.architectures import find_architecture
from oodml.embed.images import shape_image
from oodml.errors import UnknownNameError, WeightsError

open_clip = pytest.importorskip("open_clip", reason="the extra clip is not installed")
VISION: dict[str, Any] = {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16}
TEXT = {"context_length": 8, "vocab_size": 100, "width": 32, "heads": 2, "layers": 1}
NETWORK = {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": TEXT}


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> Path:
    """Two small networks with weights on the hub, one of them with the fast GELU."""
    caplog.set_level(logging.ERROR)  # open_clip says that weights are random
    monkeypatch.setenv("OODML_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("OODML_HOME", str(tmp_path / "own"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    networks = open_clip.factory._MODEL_CONFIGS
    monkeypatch.setitem(networks, "tiny", NETWORK)
    monkeypatch.setitem(networks, "tiny-quickgelu", NETWORK | {"quick_gelu": True})
    monkeypatch.setitem(networks, "tower", NETWORK | {"vision_cfg": TIMM})
    tags = {
        "mine": open_clip.pretrained._pcfg(hf_hub="me/tiny/"),
        "quick": open_clip.pretrained._pcfg(hf_hub="me/quick/", quick_gelu=True),
        "squash": open_clip.pretrained._slpcfg(hf_hub="me/tiny/own.bin"),
    }
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny", tags)
    return tmp_path / "hf"


TIMM = {
    "timm_model_name": "test_vit",
    "timm_model_pretrained": False,
    "timm_pool": "avg",
    "timm_proj": "linear",
    "image_size": 64,
}


def whole(name: str) -> Any:
    torch.manual_seed(2)
    return open_clip.create_model(name).eval()


@pytest.mark.parametrize(("tag", "arch"), [("mine", "tiny"), ("quick", "tiny-quickgelu")])
@pytest.mark.parametrize("size", [0, 96])
def test_vectors_are_those_of_open_clip(hub: Path, tag: str, arch: str, size: int) -> None:
    repository = "me/quick" if tag == "quick" else "me/tiny"
    state = whole(arch).state_dict()
    path = publish_hub(hub, repository, "open_clip_model.safetensors", state)
    encoder = open_encoder(f"open_clip:tiny/{tag}" + (f"?size={size}" if size else ""))
    options = {"force_image_size": size} if size else {}
    reference = open_clip.create_model(arch, pretrained=str(path), **options).eval()
    side = size or 64
    batch = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
    with torch.inference_mode():
        expected = reference.encode_image(encoder.normalised(batch))  # type: ignore[attr-defined]
    torch.testing.assert_close(encoder(batch), expected, rtol=1e-4, atol=1e-5)
    spec = encoder.spec
    assert (spec.arch, spec.dim, spec.size) == (f"open_clip:{arch}", 24, side)
    assert spec.resize == (None if size else 64)
    assert spec.licence is None
    assert str(path.parent) not in json.dumps(spec.to_json())


def test_towers_of_timm_are_read_too(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    model = whole("tower")
    tower = {key: value for key, value in model.state_dict().items() if key.startswith("visual.")}
    save_file(tower, tmp_path / "w.safetensors")  # without the text tower
    encoder = open_encoder(f"file:{tmp_path}/w.safetensors?arch=open_clip:tower")
    batch = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        expected = model.encode_image(encoder.normalised(batch))  # type: ignore[attr-defined]
    torch.testing.assert_close(encoder(batch), expected, rtol=1e-4, atol=1e-5)


def test_a_file_of_ones_own_may_have_the_text_tower(hub: Path, tmp_path: Path) -> None:
    state = whole("tiny").state_dict()
    path = publish_hub(hub, "me/tiny", "own.safetensors", state)
    assert load_file(path).keys() == state.keys()
    names = [f"file:{path}?arch=open_clip:tiny", f"open_clip:tiny/mine?weights={path}"]
    named, *others = (open_encoder(name) for name in ("open_clip:tiny/squash", *names))
    assert named.spec.resize is None
    batch = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    for other in others:
        assert other.spec.resize == 64
        torch.testing.assert_close(
            other.module(batch / 255),  # type: ignore[attr-defined]
            named.module(batch / 255),  # type: ignore[attr-defined]
        )
    resized = open_encoder(f"file:{path}?arch=open_clip:tiny&size=96")
    assert resized.spec.dim == 24
    broken = {key: value for key, value in state.items() if key != "visual.proj"}
    save_file(broken, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"not fit open_clip:tiny: 1 missing \(visual.proj\)"):
        open_encoder(f"file:{tmp_path}/w.safetensors?arch=open_clip:tiny")


@pytest.mark.parametrize("name", ["ViT-B-32/laion2b_s34b_b79k", "ViT-B-16-SigLIP2/webli"])
def test_images_are_shown_as_open_clip_shows_them(name: str) -> None:
    shape = dict(find_architecture(f"open_clip:{name}").shape)
    assert shape.pop("refused") is None
    spec = EncoderSpec("x", "x", dim=1, **shape)
    arch, _, tag = name.partition("/")
    weights = open_clip.pretrained.get_pretrained_cfg(arch, tag)
    preset = open_clip.transform.merge_preprocess_dict(
        open_clip.transform.PreprocessCfg(size=224), weights
    )
    theirs = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(**preset), is_train=False
    )
    rng = np.random.default_rng(0)
    for size in [(300, 451), (451, 300)]:
        image = Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (spec.mean, spec.std))
        ours = (torch.from_numpy(shape_image(image, spec)).float() / 255 - mean) / std
        torch.testing.assert_close(ours, theirs(image), rtol=0, atol=1.01 / 255 / float(std.min()))


def test_every_tag_has_a_transform_or_says_why_not() -> None:
    refused = 0
    for arch, tag in open_clip.list_pretrained():
        try:
            shape = find_architecture(f"open_clip:{arch}/{tag}").shape
        except UnknownNameError as error:
            assert "trained with another activation" in str(error)  # noqa: PT017
            refused += 1
        else:
            assert shape["interpolation"] in ("bilinear", "bicubic")
    assert refused <= 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("open_clip:tinyy", "'open_clip:tinyy' is not a network of open_clip; nearest: tiny"),
        ("open_clip:tiny/zz", "open_clip:tiny has no weights 'zz'; it has mine, quick, squash"),
        ("open_clip:tiny", "does not say which weights; write open_clip:tiny/TAG with one of mine"),
        ("open_clip:tiny?init=random&size=70", "patches of 16 x 16 .* multiple of 16, not 70"),
        (
            "open_clip:tiny/mine",
            "put open_clip_model.safetensors or open_clip_py.* at .*/own/weights/me/tiny/open_clip",
        ),
    ],
)
def test_wrong_names_are_explained(name: str, message: str) -> None:
    with pytest.raises((UnknownNameError, WeightsError), match=message):
        open_encoder(name)


def test_random_weights_are_a_function_of_the_seed() -> None:
    first, again, other = (
        open_encoder(f"open_clip:tiny?init=random&seed={seed}") for seed in (0, 0, 1)
    )
    batch = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    assert torch.equal(first(batch), again(batch))
    assert not torch.equal(first(batch), other(batch))
