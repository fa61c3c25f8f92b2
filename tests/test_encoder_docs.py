"""docs/encoders.md against the libraries: which file of which repository, and what it is shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from oodml.embed import open_encoder
from oodml.embed.architectures import find_architecture
from oodml.errors import WeightsError

pytest.importorskip("timm", reason="the extra timm is not installed")
pytest.importorskip("open_clip", reason="the extra clip is not installed")
TEXT = (Path(__file__).resolve().parent.parent / "docs" / "encoders.md").read_text()
ROWS = re.findall(r"^\| `(\S+)`[^|]*\| `([^`|]+)` \| `([^`|]+)` \|$", TEXT, re.MULTILINE)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OODML_OFFLINE", "1")
    for name in ("OODML_HOME", "HF_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path))


@pytest.mark.parametrize(("name", "repository", "file"), ROWS)
def test_the_files_are_those_that_are_asked_for(name: str, repository: str, file: str) -> None:
    place = f"/weights/{repository}/{file} "
    with pytest.raises(
        WeightsError, match=f"put {file} .*huggingface.co/{repository} at .*{place}"
    ):
        open_encoder(name)


def test_the_table_was_read() -> None:
    assert len(ROWS) == 9


@pytest.mark.parametrize("tag", ["", ".IMAGENET1K_V1"])
def test_torchvisions_file_is_the_one_that_is_named(tag: str) -> None:
    with pytest.raises(WeightsError) as caught:
        open_encoder(f"tv:resnet50{tag}")
    found = re.search(r"Weights (\S+) are", str(caught.value))
    assert found
    assert f"`{found[1]}`" in TEXT


@pytest.mark.parametrize(
    ("name", "size", "resize", "interpolation"),
    [
        ("timm:vit_small_patch14_dinov2.lvd142m", 518, 518, "bicubic"),
        ("timm:vit_small_patch16_dinov3.lvd1689m", 256, 256, "bicubic"),
        ("timm:vit_base_patch16_siglip_224.v2_webli", 224, 248, "bicubic"),
        ("open_clip:ViT-B-16-SigLIP2/webli", 224, None, "bicubic"),
        ("open_clip:ViT-B-32/openai", 224, 224, "bicubic"),
        ("tv:resnet50", 224, 232, "bilinear"),
        ("timm:resnet50.a1_in1k", 224, 235, "bicubic"),
    ],
)
def test_the_inputs_are_as_they_say(
    name: str, size: int, resize: int | None, interpolation: str
) -> None:
    shape = find_architecture(name).published().shape
    assert (shape["size"], shape["resize"], shape["interpolation"]) == (size, resize, interpolation)
