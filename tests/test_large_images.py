"""Images of 20,000 x 20,000 pixels: read at a smaller size within bounds, or refused."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oodml.data import images
from oodml.data.images import open_image
from oodml.errors import DataError

SIDE = 20_000


def strip(colour: tuple[int, int, int]) -> tuple[bytes, bytes]:
    """Header and coded data of a JPEG, `SIDE` pixels wide and 16 high: half black, half colour."""
    picture = np.zeros((16, SIDE, 3), np.uint8)
    picture[:, SIDE // 2 :] = colour
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", subsampling=2, restart_marker_rows=1)
    content = stream.getvalue()
    start = content.index(b"\xff\xda") + 14
    return content[:start], content[start:-2]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JPEG of strips, written row by row: red on the right above, blue on the right below."""
    header, above = strip((254, 0, 0))
    _, below = strip((0, 0, 254))
    rows = SIDE // 16
    size = header.index(b"\xff\xc0") + 5
    header = header[:size] + SIDE.to_bytes(2, "big") + header[size + 2 :]
    path = tmp_path_factory.mktemp("large") / "large.jpg"
    with path.open("wb") as stream:
        stream.write(header)
        for row in range(rows):
            marker = bytes([0xFF, 0xD0 + row % 8]) if row < rows - 1 else b"\xff\xd9"
            stream.write((above if row < rows // 2 else below) + marker)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_jpeg_is_read_at_a_quarter_of_its_size_within_bounds(large: Path) -> None:
    """In a process of its own, whose largest memory is seen: the whole would take 1.6 GB."""
    look = (
        "import sys; from pathlib import Path; from oodml.data.images import open_image\n"
        "image = open_image(Path(sys.argv[1]))\n"
        "places = [(1200, 1200), (3700, 1200), (1200, 3700), (3700, 3700)]\n"
        "print(*image.size, *(v for place in places for v in image.getpixel(place)))\n"
        "status = Path('/proc/self/status').read_text()\n"  # ru_maxrss is the parent's, if larger
        "print(status.partition('VmHWM:')[2].split()[0])"
    )
    command = [sys.executable, "-c", look, str(large)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    values, memory = done.stdout.splitlines()
    width, height, *seen = map(int, values.split())
    assert (width, height) == (5000, 5000)
    expected = [[0, 0, 0], [254, 0, 0], [0, 0, 0], [0, 0, 254]]
    assert np.abs(np.array(seen).reshape(4, 3) - expected).max() <= 2
    assert int(memory) < 600_000  # KiB


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\xff\xc0\x00\x11", b"\xff\xc2\x00\x11"),  # progressive
        (b"\xff\xda\x00\x0c\x03", b"\xff\xda\x00\x0c\x01"),  # a scan a colour
        (b"\xff\xdb\x00\x43", b"\xff\xff\xdb\x00\x43"),  # a form that is not looked through
    ],
)
def test_a_jpeg_whose_decoder_would_hold_all_of_it_is_refused(
    large: Path, tmp_path: Path, old: bytes, new: bytes
) -> None:
    content = large.read_bytes()
    assert old in content
    (tmp_path / "x.jpg").write_bytes(content.replace(old, new, 1))
    with pytest.raises(DataError, match=r"x\.jpg is too large to be safe \(20000 x 20000 pixels"):
        open_image(tmp_path / "x.jpg")


@pytest.mark.parametrize("kind", ["png", "gif", "tif", "bmp"])
def test_other_enormous_pictures_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"huge.{kind}"
    Image.new("1", (SIDE, SIDE)).save(path)
    with pytest.raises(
        DataError,
        match=rf"huge\.{kind} is too large to be safe \(20000 x 20000 pixels\); expected at most",
    ):
        open_image(path)


def test_pictures_between_once_and_twice_pillows_limit_are_refused_without_a_warning(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    Image.new("1", (10_000, 10_000)).save(tmp_path / "big.png")
    with pytest.raises(DataError, match=r"big\.png is too large to be safe \(10000 x 10000 pixels"):
        open_image(tmp_path / "big.png")
    assert not recwarn.list


@pytest.mark.parametrize(("largest", "scale"), [(5120, 1), (5119, 2), (1279, 4), (319, 8)])
@pytest.mark.parametrize("turn", [1, 6])
def test_a_smaller_size_shows_the_same_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, largest: int, scale: int, turn: int
) -> None:
    """As the means of scale x scale pixels, within 4 grey levels."""
    y, x = np.mgrid[:64, :80]
    picture = np.stack([3 * x, 3 * y, 255 - x - y], axis=2).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = turn
    path = tmp_path / "x.jpg"
    Image.fromarray(picture).save(path, quality=100, subsampling=0, exif=exif)
    whole = open_image(path).convert("RGB")
    monkeypatch.setattr(images, "LARGEST", largest)
    found = np.asarray(open_image(path)).astype(int)
    expected = np.asarray(whole.reduce(scale)).astype(int)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 4
    monkeypatch.setattr(images, "LARGEST", 79)
    with pytest.raises(DataError, match=r"too large to be safe \(80 x 64 pixels"):
        open_image(path)
