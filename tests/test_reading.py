"""What an encoder gets of an image by the fast way, beside what Pillow gives it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_images import CUT, FORMS, exif, file_of

from oodml.bench import bench_reading
from oodml.data import Dataset, Files, Pixels
from oodml.data.images import Picture, mode_of_plain_jpeg, open_image, read_image
from oodml.embed import EncoderSpec, decode, reading, resize
from oodml.embed.images import Frame, SpecTransform, frame_of, shape_image
from oodml.embed.reading import batches
from oodml.embed.resize import resize_into, rows_by_numba, rows_by_pillow
from oodml.errors import DataError

Array = np.ndarray[Any, Any]
WAYS = [rows_by_pillow, rows_by_numba]
SPECS = [
    EncoderSpec("squashed", "x", dim=1, size=224),
    EncoderSpec("cropped", "x", dim=1, size=160, resize=176),
    EncoderSpec("small", "x", dim=1, size=24, resize=29),
    EncoderSpec("grey", "x", dim=1, size=130, mode="L"),
    EncoderSpec("margin", "x", dim=1, size=140, resize=129),
    *(EncoderSpec(name, "x", dim=1, size=150, resize=170, interpolation=name)
      for name in ("nearest", "bicubic", "lanczos")),
]  # fmt: skip


@dataclass(frozen=True)
class Plain:
    """An encoder whose transform is all in its spec."""

    spec: EncoderSpec

    @property
    def transform(self) -> SpecTransform:
        return SpecTransform(self.spec)

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        return batch.float().mean(dim=(2, 3))


def files(folder: Path, contents: dict[str, bytes]) -> Dataset:
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return Dataset("x", ("a",), np.zeros(len(contents), int), tuple(contents), Files(folder))


def read(data: Dataset, spec: EncoderSpec, batch: int = 5) -> Array:
    found = list(batches(data, Plain(spec), range(len(data)), batch))
    assert all(block.dtype == torch.uint8 for block in found)
    return torch.cat(found).numpy()


def assert_as_pillow(data: Dataset, spec: EncoderSpec) -> None:
    found = read(data, spec)
    for row, name in enumerate(data.ids):
        expected = shape_image(read_image(data, row), spec)
        assert found[row].shape == expected.shape
        assert np.abs(found[row].astype(int) - expected).max() <= 1, (name, spec.name)


def smooth(height: int, width: int, seed: int) -> Array:
    """A picture (h, w, 3) as smooth as a photograph, in which many rounded values are near ties."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 9 + 2, width // 9 + 2, 3), np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def picture(kind: str, height: int, width: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.integers(0, 256, (height, width, 3), np.uint8)
    if kind == "black and white":
        return rng.integers(0, 2, (height, width, 3), np.uint8) * 255
    if kind == "stripes":
        return np.repeat(rng.integers(0, 256, (1, width, 3), np.uint8), height, axis=0)
    return smooth(height, width, seed)


# Resizing ----------------------------------------------------------------------------------------

SIZES = [(1, 1), (1, 40), (40, 1), (2, 300), (300, 2), (192, 192), (120, 192), (192, 120)]
SIZES += [(400, 500), (500, 150), (224, 224), (225, 223), (37, 53), (640, 100)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["noise", "black and white", "stripes", "smooth"])
def test_resizing_is_within_one_level_of_pillow(kind: str, way: resize.Rows) -> None:
    if way is rows_by_numba:
        pytest.importorskip("numba")
    for seed, (height, width) in enumerate(SIZES):
        whole = picture(kind, height, width, seed)
        for to in [(224, 224), (32, 32), (1, 1), (100, 224), (240, 90)]:
            for channels in (1, 3):
                pixels = np.ascontiguousarray(whole[:, :, :channels])
                out = np.empty((*to, channels), np.uint8)
                resize_into(out, pixels, Frame(to[1], to[0], 0, 0), way)
                image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
                expected = np.asarray(image.resize(to[::-1], Image.Resampling.BILINEAR))
                away = np.abs(out.astype(int) - expected.reshape(out.shape))
                assert away.max() <= 1, (height, width, to, channels)


def test_torch_alone_would_be_further_off() -> None:
    """The reason why the rows are not torch's: from 192 to 224 pixels it is off by 2 in places."""
    away = 0
    for seed in range(6):
        pixels = smooth(192, 192, seed)
        image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        both = torch.nn.functional.interpolate(
            image, size=(224, 224), mode="bilinear", antialias=True
        )
        expected = Image.fromarray(pixels).resize((224, 224), Image.Resampling.BILINEAR)
        found = both[0].permute(1, 2, 0).numpy().astype(int)
        away = max(away, int(np.abs(found - np.asarray(expected)).max()))
    assert away == 2


@pytest.mark.parametrize("before", [1, 2, 7, 120, 192, 400, 1601])
def test_rows_by_numba_are_pillows_to_the_bit(before: int) -> None:
    pytest.importorskip("numba")
    flat = np.random.default_rng(before).integers(0, 256, (before, 37), np.uint8)
    for after in (1, 3, 32, 224, 225, 336, 900):
        if after != before:
            np.testing.assert_array_equal(rows_by_numba(flat, after), rows_by_pillow(flat, after))


def test_numba_is_for_large_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resize.rows_for(resize.WORTH_COMPILING - 1) is rows_by_pillow
    monkeypatch.setattr(resize.importlib.util, "find_spec", lambda _: None)
    assert resize.rows_for(10**6) is rows_by_pillow


def test_the_axis_that_comes_first_is_pillows() -> None:
    """Seen where it matters most: black and white, bicubic, height falling far more than width."""
    pixels = picture("black and white", 300, 60, 0)
    image, cubic = Image.fromarray(pixels), Image.Resampling.BICUBIC
    by_rows = image.resize((60, 80), cubic).resize((50, 80), cubic)
    by_columns = image.resize((50, 300), cubic).resize((50, 80), cubic)
    expected = by_rows if resize.rows_come_first((300, 60), Frame(50, 80, 0, 0)) else by_columns
    assert by_rows.tobytes() != by_columns.tobytes()
    assert image.resize((50, 80), cubic).tobytes() == expected.tobytes()
    assert not resize.rows_come_first((300, 400), Frame(224, 224, 0, 0))


# Files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_batch_of_any_files_is_what_pillow_gives(tmp_path: Path, spec: EncoderSpec) -> None:
    """Every form of a file, upright or turned, large enough and too small for the fast way."""
    contents = {name: make() for name, (_, make, _) in FORMS.items()}
    for side, (height, width) in enumerate([(150, 200), (201, 133), (300, 51), (2, 60)]):
        shown = smooth(height, width, side)
        contents |= {
            f"{side}.jpg": file_of(shown, "JPEG", quality=90),
            f"{side} fine.jpg": file_of(shown, "JPEG", quality=95, subsampling=0),
            f"{side} progressive.jpg": file_of(shown, "JPEG", progressive=True),
            f"{side} grey.jpg": file_of(shown, "JPEG", mode="L"),
            f"{side} cmyk.jpg": file_of(shown, "JPEG", mode="CMYK"),
            f"{side} turned.jpg": file_of(shown, "JPEG", exif=exif(6)),
            f"{side} upright.jpg": file_of(shown, "JPEG", exif=exif(1)),
            f"{side}.png": file_of(shown, "PNG"),
            f"{side} grey.png": file_of(shown, "PNG", mode="L"),
        }
    assert_as_pillow(files(tmp_path, contents), spec)


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("spec", SPECS[:4], ids=lambda spec: spec.name)
def test_images_in_memory_are_read_as_well(spec: EncoderSpec, *, colour: bool) -> None:
    images = np.stack([smooth(150, 120, seed) for seed in range(3)])
    source = Pixels(images if colour else images[..., 0].copy())
    assert_as_pillow(Dataset("x", ("a",), np.zeros(3, int), ("1", "2", "3"), source), spec)


def test_plain_jpegs_are_decoded_by_torchvision_and_others_are_not(tmp_path: Path) -> None:
    shown = smooth(40, 50, 0)
    plain = {"L": {"mode": "L"}, "RGB": {"progressive": True}}
    for mode, options in plain.items():
        assert mode_of_plain_jpeg(file_of(shown, "JPEG", **options)) == mode  # type: ignore[arg-type]
    for content in (
        file_of(shown, "PNG"),
        file_of(shown, "JPEG", mode="CMYK"),
        file_of(shown, "JPEG", exif=exif(3)),
        b"\xff\xd8\xff",
        b"",
    ):
        assert mode_of_plain_jpeg(content) is None
    path = tmp_path / "x.jpg"
    path.write_bytes(file_of(shown, "JPEG"))
    found = decode._fast(path, "RGB")
    assert found is not None
    np.testing.assert_array_equal(found, np.asarray(open_image(path)))
    assert decode._fast(path, "L") is None
    assert decode._fast(tmp_path / "none.jpg", "RGB") is None


def test_a_torchvision_without_the_decoder_reads_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = files(tmp_path, {"x.jpg": file_of(smooth(300, 400, 0), "JPEG")})
    first = read(data, SPECS[0])
    monkeypatch.setattr(decode, "_decoder", lambda: None)
    np.testing.assert_array_equal(read(data, SPECS[0]), first)


def _damaged(content: bytes, seed: int) -> bytes:
    """Cut, or with other bytes in places."""
    rng = np.random.default_rng(seed)
    found = bytearray(content)
    if seed % 3 == 0:
        return bytes(found[: rng.integers(3, len(found))])
    for place in rng.integers(2, len(found), 1 + seed % 4):
        found[place] = rng.integers(256)
    return bytes(found)


def _outcome(call: Callable[[], Any]) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call()
    except DataError as error:
        return str(error)


@pytest.mark.parametrize("name", [name for name in FORMS if name.endswith("jpg")])
def test_damage_is_seen_as_pillow_sees_it(tmp_path: Path, name: str) -> None:
    """The same sentence, or the same picture where the decoder goes on."""
    content, path = FORMS[name][1](), tmp_path / "x.jpg"
    data = files(tmp_path, {"x.jpg": content})
    for seed in range(60):
        path.write_bytes(_damaged(content, seed))
        found = _outcome(lambda: decode.image_pixels(data, 0, "RGB"))
        expected = _outcome(lambda: open_image(path))
        if isinstance(expected, Picture):
            shown = np.asarray(expected).reshape(found.shape[0], found.shape[1], -1)
            expected = shown[:, :, : found.shape[2]]
        np.testing.assert_array_equal(found, expected, err_msg=f"{name}, {seed}")


@pytest.mark.parametrize("name", CUT)
def test_a_cut_file_in_a_batch_is_named(tmp_path: Path, name: str) -> None:
    contents = {f"{i}.jpg": file_of(smooth(90, 90, i), "JPEG") for i in range(5)}
    content = FORMS[name][1]()
    data = files(tmp_path, {**contents, name: content[: len(content) // 3]})
    with pytest.raises(DataError, match=f"{name} is "):
        read(data, SPECS[0], batch=2)


# Encoders ----------------------------------------------------------------------------------------


def test_an_encoder_with_a_transform_of_its_own_gets_the_picture(tmp_path: Path) -> None:
    seen: list[Any] = []

    @dataclass(frozen=True)
    class Own:
        spec: EncoderSpec

        def transform(self, image: Picture) -> Array:
            seen.append(image)
            return np.full((3, 8, 8), image.width, np.uint8)

        def __call__(self, batch: torch.Tensor) -> torch.Tensor:
            return batch.float().mean(dim=(2, 3))

    sides = range(150, 157)
    data = files(tmp_path, {f"{w}.jpg": file_of(smooth(140, w, w), "JPEG") for w in sides})
    found = torch.cat(list(batches(data, Own(SPECS[0]), range(7), 3)))
    assert found[:, 0, 0, 0].tolist() == list(sides)
    assert all(isinstance(image, Picture) for image in seen)


@pytest.mark.parametrize("batch", [1, 3, 50])
@pytest.mark.parametrize("threads", [1, 3])
def test_batches_are_in_order_whatever_their_size(
    monkeypatch: pytest.MonkeyPatch, batch: int, threads: int
) -> None:
    monkeypatch.setattr(reading, "reader_threads", lambda: threads)
    images = np.arange(23, dtype=np.uint8)[:, None, None] * np.ones((1, 130, 130), np.uint8)
    ids = tuple(map(str, range(23)))
    data = Dataset("x", ("a",), np.zeros(23, int), ids, Pixels(images))
    found = list(batches(data, Plain(SPECS[0]), range(4, 23), batch))
    assert [len(block) for block in found[:-1]] == [batch] * (len(found) - 1)
    assert torch.cat(found)[:, 0, 5, 5].tolist() == list(range(4, 23))


def test_reading_leaves_torchs_threads_as_they_were() -> None:
    """Also those of threads that begin later."""
    from concurrent.futures import ThreadPoolExecutor

    images = np.zeros((2, 130, 130), np.uint8)
    data = Dataset("x", ("a",), np.zeros(2, int), ("1", "2"), Pixels(images))
    own = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        read(data, SPECS[0])
        with ThreadPoolExecutor(1) as other:
            assert other.submit(torch.get_num_threads).result() == 3
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(own)


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["cub127", "cars196_half"])
def test_real_photographs_are_within_one_level_of_pillow(test_data: Path, folder: str) -> None:
    root = test_data / folder / "images"
    ids = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpg"))[::25]
    data = Dataset("photos", ("a",), np.zeros(len(ids), int), tuple(ids), Files(root))
    for spec in (SPECS[0], EncoderSpec("usual", "x", dim=1, size=224, resize=256), SPECS[3]):
        assert_as_pillow(data, spec)
    assert frame_of((500, 400), SPECS[1]) == Frame(220, 176, 30, 8)


def test_reading_is_benched_in_one_table(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(file_of(smooth(192, 192, number), "JPEG"))
    rows = list(bench_reading([tmp_path], quick=True))
    tasks = list(dict.fromkeys(row.task for row in rows))
    assert len(tasks) == 3
    for task in tasks:
        own, *others = (row for row in rows if row.task == task)
        assert own.way == "oodml"
        assert others[-1].way == "Pillow and torchvision's v1 transforms"
        assert all(row.seconds is not None and row.seconds > 0 for row in (own, *others))
        assert "at most 0 grey levels off" in others[-1].note
        for row in (own, *others):
            assert int(row.note.split("at most ")[1].split()[0]) <= 1
