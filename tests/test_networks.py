"""torchvision's networks: every one of them, their published files, and how these are fetched."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from published_weights import publish_torchvision, silent_server
from safetensors.torch import save_file
from torchvision import models
from web import answering, dying, serving

from oodml.embed import files, open_encoder
from oodml.embed.architectures import find_architecture
from oodml.embed.network import Network
from oodml.embed.opening import make_network
from oodml.embed.shapes import IMAGENET
from oodml.embed.trained import write_trained
from oodml.errors import WeightsError

NAMES = models.list_models(module=models)
# One of each family; those that cannot be built without memory are among the small ones below.
FAMILIES = [
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b1", "googlenet", "inception_v3"),
    *("maxvit_t", "mnasnet0_5", "mobilenet_v3_large", "resnext50_32x4d", "shufflenet_v2_x0_5"),
    *("squeezenet1_0", "swin_t", "swin_v2_t", "vgg11_bn", "vit_b_16", "vit_h_14"),
]


def classifier_inputs(arch: str) -> int:
    """How many numbers the last layer of the whole network takes: the slow way to the dimension."""
    with torch.device("meta"):
        options = {"init_weights": False} if arch in ("googlenet", "inception_v3") else {}
        whole = models.get_model(arch, weights=None, **options)
    last = [m for m in whole.modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)][-1]
    return last.in_features if isinstance(last, torch.nn.Linear) else last.in_channels


@pytest.mark.parametrize("arch", FAMILIES)
def test_each_family_gives_what_its_classifier_took(arch: str) -> None:
    """On the meta device, which has shapes and no numbers."""
    architecture = find_architecture(f"tv:{arch}")
    size = architecture.shape["size"]
    with torch.device("meta"), torch.inference_mode():
        found = architecture.build(size).module.eval()(torch.zeros(2, 3, size, size))
    assert found.shape == (2, classifier_inputs(arch))


@pytest.mark.slow
@pytest.mark.parametrize("arch", NAMES)
def test_every_network_opens_at_its_own_size(arch: str) -> None:
    parameters = models.get_model_weights(arch).DEFAULT.meta["num_params"]
    if parameters > 30e6:
        if arch.startswith("regnet"):
            pytest.skip("regnets are built with all their memory; the small ones stand for them")
        architecture = find_architecture(f"tv:{arch}")
        size = architecture.shape["size"]
        with torch.device("meta"), torch.inference_mode():
            found = architecture.build(size).module.eval()(torch.zeros(2, 3, size, size))
        assert found.shape == (2, classifier_inputs(arch))
        return
    encoder = open_encoder(f"tv:{arch}?init=random")
    size, dim = encoder.spec.size, encoder.spec.dim
    vectors = encoder(torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8))
    assert vectors.shape == (2, dim)
    assert vectors.isfinite().all()
    if not arch.startswith("regnet"):
        assert dim == classifier_inputs(arch)


def test_squeezenet_averages_what_its_last_convolution_took() -> None:
    encoder = open_encoder("tv:squeezenet1_1?init=random&size=64")
    whole = models.squeezenet1_1(weights=None)
    whole.load_state_dict(encoder.module.state_dict(), strict=False)  # type: ignore[attr-defined]
    batch = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        expected = whole.features(encoder.normalised(batch)).mean((2, 3))  # type: ignore[attr-defined]
    torch.testing.assert_close(encoder(batch), expected, rtol=1e-4, atol=1e-5)


def test_a_network_whose_vectors_are_not_finite_is_refused() -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2))
    torch.nn.init.constant_(module[1].bias, float("nan"))
    shape = {"size": 4, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    with pytest.raises(WeightsError, match="gives vectors with NaN or infinity"):
        make_network("x", "x", module, weights="", shape=shape)
    with pytest.raises(
        WeightsError, match=r"gives \(1, 3, 4, 4\) for one image .* expected one vec"
    ):
        make_network("x", "x", torch.nn.Identity(), weights="", shape=shape)


# Published files ---------------------------------------------------------------------------------


def test_published_weights_are_not_fetched_offline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OODML_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    with pytest.raises(WeightsError, match=f"at {place} .OODML_OFFLINE is set"):
        open_encoder("tv:resnet18")


def test_published_weights_are_read_from_torchs_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state = models.resnet18(weights=None).state_dict()
    publish_torchvision(monkeypatch, tmp_path, models.ResNet18_Weights.IMAGENET1K_V1, state)
    spec = open_encoder("tv:resnet18").spec
    assert (spec.size, spec.resize, spec.dim) == (224, 256, 512)
    assert spec.mean == (0.485, 0.456, 0.406)
    assert len(spec.weights or "") == 64
    assert spec.licence == "BSD-3-Clause"


def test_a_file_with_another_hash_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state = models.resnet18(weights=None).state_dict()
    path = publish_torchvision(monkeypatch, tmp_path, models.ResNet18_Weights.DEFAULT, state)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match=f"{path} has the sha256 .*; expected one that begins"):
        open_encoder("tv:resnet18")


@pytest.mark.parametrize(
    ("arch", "size", "dim"),
    [("googlenet", 224, 1024), pytest.param("inception_v3", 299, 2048, marks=pytest.mark.slow)],
)
def test_published_inceptions_expect_their_own_scale(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arch: str, size: int, dim: int
) -> None:
    whole = models.get_model(arch, weights=None, init_weights=False, transform_input=True)
    state = whole.state_dict()  # with heads for training; old files hold no counters
    kept = {key: value for key, value in state.items() if "num_batches" not in key}
    publish_torchvision(monkeypatch, tmp_path, models.get_model_weights(arch).DEFAULT, kept)
    encoder = open_encoder(f"tv:{arch}")
    assert (encoder.spec.size, encoder.spec.dim) == (size, dim)
    whole.fc = torch.nn.Identity()
    batch = torch.stack([torch.full((3, size, size), grey, dtype=torch.uint8) for grey in (0, 255)])
    mean, std = (torch.tensor(IMAGENET[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        expected = whole.eval()((batch / 255 - mean) / std)
    contrast = expected[1] - expected[0]
    # In files, too, whose tensors do not say which scale it is.
    save_file(kept, tmp_path / "own.safetensors")
    assert isinstance(encoder, Network)
    write_trained(tmp_path / "written.safetensors", encoder.spec, encoder.module, None)
    names = [
        f"tv:{arch}?weights={tmp_path}/own.safetensors",
        f"file:{tmp_path}/written.safetensors",
    ]
    names.append(f"file:{tmp_path}/own.safetensors?arch=tv:{arch}&size={size}")
    # Random weights leave little of the image in the vectors: what differs between two is compared.
    for same in (encoder, *map(open_encoder, names)):
        found = same(batch)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
        assert (found[1] - found[0] - contrast).norm() < 0.01 * contrast.norm()


def test_old_densenets_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Their files say `denselayer1.norm.1.weight`, which torchvision renames when it loads them."""
    whole = models.densenet121(weights=None)
    torch.nn.init.normal_(whole.features.denseblock1.denselayer1.norm1.weight)
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12]\.)", r"\1.\2", key): value
        for key, value in whole.state_dict().items()
        if "num_batches" not in key
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    publish_torchvision(monkeypatch, tmp_path, models.DenseNet121_Weights.DEFAULT, old)
    encoder = open_encoder("tv:densenet121?size=64")
    counters = [value for key, value in encoder.module.state_dict().items() if "num_batches" in key]  # type: ignore[attr-defined]
    assert len(counters) == 121
    assert not any(counters), "what the file lacks is zero, not what the memory held"
    whole.classifier = torch.nn.Identity()
    batch = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        expected = whole.eval()(encoder.normalised(batch))  # type: ignore[attr-defined]
    torch.testing.assert_close(encoder(batch), expected, rtol=1e-3, atol=1e-4)


def test_a_vision_transformer_takes_another_size(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its position embeddings are interpolated; at its own size they stay as they are."""
    monkeypatch.setattr(models.vision_transformer, "_vision_transformer", small_transformer)
    whole = models.vit_b_16(weights=None, image_size=224)
    torch.nn.init.normal_(whole.encoder.pos_embedding)
    weights = models.ViT_B_16_Weights.DEFAULT
    publish_torchvision(monkeypatch, tmp_path, weights, whole.state_dict())
    own, other = open_encoder("tv:vit_b_16"), open_encoder("tv:vit_b_16?size=64")
    positions = [e.module.encoder.pos_embedding for e in (own, other)]  # type: ignore[attr-defined]
    torch.testing.assert_close(positions[0], whole.encoder.pos_embedding)
    assert positions[1].shape == (1, 17, 24)
    # Corners stay where they are, as the grid's ends are aligned.
    torch.testing.assert_close(positions[1][:, [0, 1, -1]], positions[0][:, [0, 1, -1]])
    batch = torch.randint(0, 256, (1, 3, 224, 224), dtype=torch.uint8)
    whole.heads = torch.nn.Identity()
    with torch.inference_mode():
        expected = whole.eval()(own.normalised(batch))  # type: ignore[attr-defined]
    torch.testing.assert_close(own(batch), expected, rtol=1e-3, atol=1e-4)


def small_transformer(image_size: int = 224, **_: object) -> torch.nn.Module:
    return models.VisionTransformer(image_size, 16, 2, 2, 24, 48)


def test_a_licence_of_its_own_is_told() -> None:
    published = find_architecture("tv:vit_b_16.IMAGENET1K_SWAG_LINEAR_V1").published()
    assert published.licence == "CC-BY-NC-4.0"


# The network -------------------------------------------------------------------------------------


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("OODML_OFFLINE", raising=False)
    monkeypatch.setenv("OODML_HOME", str(tmp_path / "own"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setattr(files, "PROBE", 0.3)
    monkeypatch.setattr(files, "PATIENCE", files.Patience(connect=2, read=0.3, tries=1, pause=0))
    return tmp_path / "own" / "weights" / "me" / "net"


ADVICE = "Weights w.safetensors are not on this machine: put w.safetensors of huggingface.co/me/net"


def test_a_server_that_never_answers_is_given_up_on(
    monkeypatch: pytest.MonkeyPatch, online: Path
) -> None:
    with silent_server() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        with pytest.raises(WeightsError, match=f"{ADVICE} at {online}/w.safetensors .* failed: .*"):
            files.hub_weights("me/net", ("w.safetensors",))
    assert not online.exists()


def test_a_name_server_that_never_answers_is_given_up_on(
    monkeypatch: pytest.MonkeyPatch, online: Path
) -> None:
    never = threading.Event()

    def wait(*_: object) -> None:
        never.wait()
        raise files.PassingError("too late")

    monkeypatch.setattr(files, "asked", wait)
    with pytest.raises(WeightsError, match=r"does not answer within 0\.3 s"):
        files.hub_weights("me/net", ("w.safetensors",))
    never.set()
    assert not online.exists()


def test_the_first_sign_of_life_must_come_in_time() -> None:
    assert files.PROBE <= 2.5  # 5 s are promised, and torch and torchvision are imported first


def test_all_addresses_of_a_file_have_one_deadline(
    monkeypatch: pytest.MonkeyPatch, online: Path
) -> None:
    """The first says at the last moment that it has none, the second never anything."""
    ended, began = threading.Event(), []

    @contextmanager
    def late(url: str, *_: object) -> Iterator[None]:
        began.append(time.monotonic())
        if not url.endswith("first"):
            ended.wait()
        time.sleep(0.25)
        raise files.RefusedError("answers 404")
        yield

    monkeypatch.setattr(files, "asked", late)
    with pytest.raises(WeightsError, match=r"second does not answer within 0\.3 s"):
        files.hub_weights("me/net", ("first", "second"))
    ended.set()
    assert began[1] - began[0] < 0.2, "the second was asked after the first one's answer"
    assert not online.exists()


def test_processes_that_want_one_file_wait_for_the_first(
    monkeypatch: pytest.MonkeyPatch, online: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Threads stand for them: their holds on a folder are as separate."""
    content, inside, enough = bytes(1000), threading.Event(), threading.Event()

    def slow(*words: Any) -> Any:
        inside.set()
        enough.wait(10)
        return download(*words)

    download = files.download
    monkeypatch.setattr(files, "download", slow)
    with serving() as web, ThreadPoolExecutor(3) as pool:
        monkeypatch.setenv("HF_ENDPOINT", web.url)
        web.put("me/net/resolve/main/w", content)
        jobs = [pool.submit(files.hub_weights, "me/net", ("w",)) for _ in range(3)]
        assert inside.wait(10)
        until = time.monotonic() + 10
        while caplog.text.count("waiting for it") < 2 and time.monotonic() < until:
            time.sleep(0.01)
        enough.set()
        assert {job.result() for job in jobs} == {online / "w"}
        assert len(web.asked) == 4, "three looked whether it is there, and one fetched it"
    assert (online / "w").read_bytes() == content
    assert caplog.text.count("/w: 0.0 of 0.0 MB.") == 1


def test_an_unreachable_server_and_a_missing_file_are_told(
    monkeypatch: pytest.MonkeyPatch, online: Path
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(WeightsError, match=f"{ADVICE} .*cannot be reached"):
        files.hub_weights("me/net", ("w.safetensors",))
    with serving() as web:
        monkeypatch.setenv("HF_ENDPOINT", web.url)
        with pytest.raises(WeightsError, match="answers 404"):
            files.hub_weights("me/net", ("w.safetensors",))
        web.put("me/net/resolve/main/w.safetensors", b"", answering(401), answering(401))
        with pytest.raises(WeightsError, match="answers 401"):
            files.hub_weights("me/net", ("w.safetensors", "second"))
    assert not list(online.glob("*"))


def test_a_file_is_fetched_once_and_gone_on_with(
    monkeypatch: pytest.MonkeyPatch, online: Path
) -> None:
    content = bytes(range(256)) * 40
    with serving() as web:
        monkeypatch.setenv("HF_ENDPOINT", web.url)
        web.put("me/net/resolve/main/second", content, dying(100), dying(5000))
        with pytest.raises(WeightsError, match="go on from the 5,000 bytes"):
            files.hub_weights("me/net", ("first", "second"))
        assert not [path for path in online.iterdir() if path.name[0] != "."]
        path = files.hub_weights("me/net", ("first", "second"))
        assert path == online / "second"
        assert path.read_bytes() == content
        asked = len(web.asked)
        assert files.hub_weights("me/net", ("first", "second")) == path
        assert len(web.asked) == asked
    assert [path.name for path in online.iterdir()] == ["second"]


def test_torchvisions_file_is_fetched_and_its_hash_checked(
    monkeypatch: pytest.MonkeyPatch, online: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with serving() as web:
        url = web.put("net-00000000.pth", b"other" * 100)
        with pytest.raises(WeightsError, match="expected one that begins with 00000000"):
            files.torch_weights(url)
    assert not list((tmp_path / "hub" / "checkpoints").iterdir())
    assert not online.exists()
