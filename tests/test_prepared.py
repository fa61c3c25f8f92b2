"""The cache of decoded images, and the crops that are made of them."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_images import file_of

from oodml.data import Dataset, Files, Pixels, Vectors
from oodml.embed import claims, prepared
from oodml.embed.augment import ATTEMPTS, CropRule, centre_crops, crop_box, training_crops
from oodml.embed.prepared import prepare_images
from oodml.errors import DataError, FormatError

Array = np.ndarray[Any, Any]
SIDES = [(90, 120), (130, 61), (64, 64), (20, 300), (65, 64), (10, 10), (200, 100)]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OODML_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(prepared, "SHARD_ROWS", 3)


def shown(height: int, width: int) -> Array:
    coarse = np.random.default_rng(height).integers(0, 256, (5, 6, 3), np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def photos(folder: Path) -> Dataset:
    folder.mkdir(exist_ok=True)
    names = tuple(f"{height} {width}.jpg" for height, width in SIDES)
    for name, (height, width) in zip(names, SIDES, strict=True):
        grey = "L" if height == 65 else "RGB"
        (folder / name).write_bytes(file_of(shown(height, width), "JPEG", mode=grey))
    return Dataset("x", ("a",), np.zeros(len(names), int), names, Files(folder))


# Prepared images ---------------------------------------------------------------------------------


def test_images_are_shrunk_as_pillow_does_and_never_enlarged(tmp_path: Path) -> None:
    data, seen = photos(tmp_path / "set"), []
    found = prepare_images(data, 64, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(3, 7), (6, 7), (7, 7)]
    assert len(found) == len(data) == len(list(found))
    for row, (height, width) in enumerate(SIDES):
        with Image.open(tmp_path / "set" / data.ids[row]) as image:
            expected = image.convert("RGB")
        if min(height, width) > 64:
            by = 64 / min(height, width)
            expected = expected.resize(
                (int(width * by), int(height * by)), Image.Resampling.BILINEAR
            )
        assert found[row].shape == (expected.height, expected.width, 3)
        assert np.abs(found[row].astype(int) - np.asarray(expected)).max() <= 1
        assert not found[row].flags.writeable
    np.testing.assert_array_equal(found[-1], found[6])
    with pytest.raises(IndexError):
        found[7]


def test_grey_pixels_become_colour() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 9, 8), np.uint8)
    found = prepare_images(Dataset("x", ("a",), np.zeros(4, int), tuple("1234"), Pixels(images)))
    for row in range(4):
        np.testing.assert_array_equal(found[row], np.repeat(images[row][:, :, None], 3, axis=2))


def test_only_what_is_missing_is_read_again(tmp_path: Path) -> None:
    data = photos(tmp_path / "set")
    first = prepare_images(data, 50)
    before = [image.tobytes() for image in first]
    gone = first.folder / "pixels-00001.npy"
    gone.unlink()
    kept = {path: path.stat().st_mtime_ns for path in first.folder.glob("pixels*")}
    again = prepare_images(data, 50)
    assert again.folder == first.folder
    assert [image.tobytes() for image in again] == before
    assert all(path.stat().st_mtime_ns == at for path, at in kept.items())
    assert gone.exists()
    assert not list(first.folder.glob(".*"))


def test_the_folder_follows_what_the_pixels_depend_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = photos(tmp_path / "set")
    folders = {prepare_images(data, shorter).folder for shorter in (50, 60)}
    monkeypatch.setattr(prepared, "READING", prepared.READING + 1)
    folders.add(prepare_images(data, 60).folder)
    (tmp_path / "set" / data.ids[0]).write_bytes(file_of(shown(80, 80), "JPEG"))
    folders.add(prepare_images(data, 60).folder)
    assert len(folders) == 4


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("pixels-00000.npy", np.zeros(5, np.uint8), "it holds uint8 (5,)"),
        ("pixels-00000.npy", np.zeros((2, 2), np.float32), "it holds float32 (2, 2)"),
        ("shapes-00001.npy", np.ones((3, 3), np.int32), "it holds int32 (3, 3)"),
        ("shapes-00001.npy", np.zeros((3, 2), np.int32), "it holds int32 (3, 2)"),
        ("shapes-00002.npy", None, ""),
        ("pixels-00002.npy", None, ""),
    ],
)
def test_other_contents_are_named_and_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, array: Array | None, message: str
) -> None:
    data = photos(tmp_path / "set")
    first = prepare_images(data, 50)
    before, path = [image.tobytes() for image in first], first.folder / name
    path.unlink()  # mapped by the first
    if array is None:
        path.write_bytes(b"nothing")
    else:
        np.save(path, array)
    assert [image.tobytes() for image in prepare_images(data, 50)] == before
    assert f"{path} is damaged ({message}" in caplog.records[0].message
    assert "it is made anew" in caplog.records[0].message


def test_a_file_that_cannot_be_read_just_now_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = photos(tmp_path / "set")
    prepare_images(data, 50)

    def failing(*_: object, **__: object) -> Array:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(prepared, "_fill", None)
        patch.setattr(np, "load", failing)
        with pytest.raises(FormatError, match=r"^Cannot read .*npy: Input/output error; try again"):
            prepare_images(data, 50)


def test_a_shard_that_another_makes_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = photos(tmp_path / "set")
    folder = prepare_images(data, 50).folder
    kept = (folder / "pixels-00001.npy").rename(folder / "kept")
    claim = folder / "pixels-00001.claim"
    assert claims.take(claim)

    def other(_: float) -> None:
        kept.rename(folder / "pixels-00001.npy")
        claims.release(claim)

    monkeypatch.setattr(time, "sleep", other)
    monkeypatch.setattr(prepared, "_fill", None)
    assert len(list(prepare_images(data, 50))) == 7
    assert not list(folder.glob("*.claim"))


def test_what_cannot_be_prepared_is_named_and_leaves_no_shard(tmp_path: Path) -> None:
    vectors = Dataset("v", ("a",), np.zeros(2, int), ("1", "2"), Vectors(np.ones((2, 3), "f4")))
    with pytest.raises(DataError, match="'v' holds vectors; there are no images"):
        prepare_images(vectors)
    data = photos(tmp_path / "set")
    with pytest.raises(ValueError, match="shorter is 0"):
        prepare_images(data, 0)
    (tmp_path / "set" / data.ids[1]).write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(DataError, match=r"130 61\.jpg"):
        prepare_images(data)
    assert not list((tmp_path / "home").rglob("*.npy"))


FILLING = """
import sys
from oodml import load_data
from oodml.embed import prepared
prepared.SHARD_ROWS = 8
prepared.prepare_images(load_data(f"folder:{sys.argv[1]}"), 100)
"""


@pytest.mark.slow
def test_killed_again_and_again_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes at once, one of them killed after every shard or so; nothing partial stays."""
    monkeypatch.setattr(prepared, "SHARD_ROWS", 8)
    for number in range(96):
        path = tmp_path / "set" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file_of(shown(600 + number, 700), "JPEG"))
    words = [sys.executable, "-c", FILLING, str(tmp_path / "set")]
    home, kills = tmp_path / "home", 0
    done: set[Path] = set()
    for _ in range(2):
        with subprocess.Popen(words, env=dict(os.environ)) as process:
            while process.poll() is None and len(done) == len(
                now := set(home.rglob("pixels-*.npy"))
            ):
                time.sleep(0.005)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
        assert done <= now
        done = now
    assert kills >= 1
    whole = {path: path.stat().st_mtime_ns for path in done}
    with subprocess.Popen(words) as other:
        assert subprocess.run(words, check=False).returncode == 0
        assert other.wait() == 0
    assert all(path.stat().st_mtime_ns == at for path, at in whole.items())
    import oodml

    data = oodml.load_data(f"folder:{tmp_path / 'set'}")
    found = prepare_images(data, 100)
    monkeypatch.setenv("OODML_HOME", str(tmp_path / "other"))
    for image, expected in zip(found, prepare_images(data, 100), strict=True):
        np.testing.assert_array_equal(image, expected)


# Crops -------------------------------------------------------------------------------------------


def images() -> list[Array]:
    return [shown(height, width) for height, width in SIDES]


def test_crops_follow_seed_and_step_and_not_what_comes_after() -> None:
    first = training_crops(images(), 48, seed=3, step=5)
    assert (first.shape, first.dtype) == ((7, 3, 48, 48), torch.uint8)
    assert torch.equal(first, training_crops(images(), 48, seed=3, step=5))
    assert torch.equal(first[:4], training_crops(images()[:4], 48, seed=3, step=5))
    for seed, step in [(3, 6), (4, 5)]:
        assert not torch.equal(first, training_crops(images(), 48, seed=seed, step=step))


def _boxes(height: int, width: int, rule: CropRule, times: int) -> Array:
    draws = np.random.default_rng(0).random((times, ATTEMPTS, 4))
    return np.array([crop_box(height, width, draw, rule) for draw in draws])


@pytest.mark.parametrize("size", [(90, 120), (130, 61), (20, 300)])
@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.5, 0.6)])
def test_boxes_are_drawn_as_torchvision_draws_them(
    size: tuple[int, int], scale: tuple[float, float]
) -> None:
    """Means and deviations of 3,000 boxes, each within five of its standard errors."""
    from torchvision.transforms.v2 import RandomResizedCrop

    times = 3000
    ours = _boxes(*size, CropRule(scale=scale), times)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = RandomResizedCrop(8, scale=scale, antialias=True)
        image = torch.empty(3, *size)
        drawn = [theirs.make_params([image]) for _ in range(times)]
    expected = np.array([[box[key] for key in ("top", "left", "height", "width")] for box in drawn])
    error = np.sqrt((ours.var(axis=0) + expected.var(axis=0)) / times)
    assert (np.abs(ours.mean(axis=0) - expected.mean(axis=0)) <= 5 * error + 1e-9).all()
    np.testing.assert_allclose(ours.std(axis=0), expected.std(axis=0), rtol=0.08, atol=0.1)


def test_boxes_lie_inside_and_have_an_allowed_shape() -> None:
    rule = CropRule(scale=(0.2, 0.5), ratio=(0.5, 2.0))
    for height, width in [*SIDES, (1, 1), (1, 50), (50, 1)]:
        top, left, h, w = _boxes(height, width, rule, 200).T
        assert min(top.min(), left.min()) >= 0
        assert min(h.min(), w.min()) >= 1
        assert (top + h <= height).all()
        assert (left + w <= width).all()
        if min(height, width) >= 64:
            assert (np.abs(h * w / (height * width) - 0.35) <= 0.15 + 0.02).all()
            assert np.abs(np.log(w / h)).max() <= np.log(2) + 0.05


def test_a_box_is_resized_as_torchvision_does_and_half_are_flipped() -> None:
    from torchvision.transforms.v2.functional import resized_crop

    pictures = images() * 12
    found = training_crops(pictures, 40, seed=1, step=2)
    draws = np.random.default_rng([1, 2, 2]).random((len(pictures), 4 * ATTEMPTS + 1))
    flips = 0
    for crop, image, draw in zip(found, pictures, draws, strict=True):
        box = crop_box(*image.shape[:2], draw[:-1].reshape(ATTEMPTS, 4), CropRule())
        whole = torch.from_numpy(image).permute(2, 0, 1)
        expected = resized_crop(whole, *box, size=[40, 40], antialias=True)
        flipped = bool(draw[-1] < 0.5)
        flips += flipped
        away = crop.int() - (expected.flip(2) if flipped else expected).int()
        assert away.abs().max() <= 1
    assert 20 < flips < 64


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_flips_are_none_or_all_where_the_rule_says_so(flip: float) -> None:
    whole = CropRule(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=flip)
    image = shown(64, 64)
    found = training_crops([image] * 3, 64, seed=0, step=0, rule=whole)
    expected = torch.from_numpy(image).permute(2, 0, 1)
    assert all(torch.equal(crop, expected.flip(2) if flip else expected) for crop in found)


def test_the_middle_is_that_of_evaluation() -> None:
    from torchvision.transforms import CenterCrop, Compose, PILToTensor, Resize

    whole = Compose([Resize(56), CenterCrop(40), PILToTensor()])
    found = centre_crops(images(), 56, 40)
    for crop, image in zip(found, images(), strict=True):
        assert (crop.int() - whole(Image.fromarray(image)).int()).abs().max() <= 1
    with pytest.raises(ValueError, match="size is 57; expected 1 to resize = 56"):
        centre_crops(images(), 56, 57)


def test_prepared_images_can_be_cropped(tmp_path: Path) -> None:
    """They are read-only maps."""
    found = prepare_images(photos(tmp_path / "set"), 64)
    assert training_crops([found[i] for i in (0, 3)], 32, seed=0, step=0).shape == (2, 3, 32, 32)
    assert centre_crops([found[i] for i in (0, 3)], 64, 32).shape == (2, 3, 32, 32)
