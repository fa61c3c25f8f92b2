"""Files of Unix compress, against a slow encoder whose output `gzip -d` reads too."""

from __future__ import annotations

import io
import random
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oodml.data.lzw import decode
from oodml.data.unpack import Limits, unpack
from oodml.errors import DataError

CLEAR = 256


def compress(content: bytes, widest: int = 16, clear: int = 0) -> bytes:
    """With `clear`, the table is cleared whenever it has that many entries."""
    out = bytearray(b"\x1f\x9d" + bytes([0x80 | widest]))
    group: list[int] = []
    before = 9

    def end_group(*, last: bool = False) -> None:
        bits = sum(code << (before * place) for place, code in enumerate(group))
        size = -(-len(group) * before // 8) if last else before
        out.extend(bits.to_bytes(size, "little") if group else b"")
        group.clear()

    for code, width in _codes(content, widest, clear):
        if width != before or len(group) == 8:
            end_group()
        before = width
        group.append(code)
        if code == CLEAR and clear:
            end_group()
    end_group(last=True)
    return bytes(out)


def _codes(content: bytes, widest: int, clear: int) -> Iterator[tuple[int, int]]:
    """Codes with their width in bits."""
    fresh = {bytes([one]): one for one in range(256)}
    table, free, width, word = dict(fresh), CLEAR + 1, 9, b""
    for one in (content[at : at + 1] for at in range(len(content))):
        if word + one in table:
            word += one
            continue
        yield table[word], width
        if free < 1 << widest:
            table[word + one] = free
            free += 1
        width = min(widest, max(9, (free - 1).bit_length()))
        if clear and free >= clear:
            yield CLEAR, width
            table, free, width = dict(fresh), CLEAR + 1, 9
        word = one
    if word:
        yield table[word], width


@pytest.mark.parametrize("widest", [10, 12, 16])
@pytest.mark.parametrize("clear", [0, 600])
@pytest.mark.parametrize("size", [0, 1, 2, 9, 256, 1000, 60_000])
def test_what_was_compressed_comes_back(widest: int, clear: int, size: int) -> None:
    rng = random.Random(size)
    for content in (bytes(rng.choices(b"0123456789.,- ", k=size)), b"a" * size):
        coded = compress(content, widest, clear)
        assert b"".join(decode(io.BytesIO(coded))) == content
        if shutil.which("gzip"):
            done = subprocess.run(["gzip", "-dc"], input=coded, capture_output=True, check=True)
            assert done.stdout == content  # the encoder is right, too


def members(folder: Path, files: dict[str, bytes]) -> dict[str, bytes]:
    """What a zip of files is unpacked to."""
    with zipfile.ZipFile(folder / "x.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    root = folder / "here"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    unpack(folder / "x.zip", "x.zip", root, Limits(9, 4), lambda *_: None)
    return {path.name: path.read_bytes() for path in root.iterdir()}


def test_compressed_members_are_unpacked_in_turn(tmp_path: Path) -> None:
    rows = b"0.1, 0.2\n" * 100
    files = {"isolet5.data.Z": compress(rows), "not.Z": b"no such file"}
    assert members(tmp_path, files) == {"isolet5.data": rows, "not.Z": b"no such file"}
    for wrong, message in (
        ({**files, "isolet5.data": b""}, "has 'isolet5.data' twice"),
        ({"x.Z": compress(b"a" * 1_100_000)}, "decompression bomb"),
        ({"x.Z": b"\x1f\x9d\x90\xff\xff\xff"}, r"is damaged \(a code that is not known yet\)"),
    ):
        with pytest.raises(DataError, match=message):
            members(tmp_path, wrong)


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_decoded_or_refused(content: bytes) -> None:
    for head in (b"\x1f\x9d\x90", b"\x1f\x9d\x0a"):
        try:
            size = sum(map(len, decode(io.BytesIO(head + content))))
        except ValueError:
            continue
        assert size <= 180 * 180
