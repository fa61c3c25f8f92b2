"""Files of Unix `compress` (.Z), which Python's library cannot read: UCI's ISOLET comes in them.

The format: the magic bytes 1f 9d, a byte of flags (its low five bits: the width of the widest code;
its highest bit: code 256 clears the table), then codes of 9 bits and more, lowest bit first. The
codes of one width fill groups of eight; what is left of a group is skipped when the width changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

MAGIC = b"\x1f\x9d"
_CLEAR, _BLOCK_MODE, _WIDEST = 256, 0x80, 16


def decode(stream: IO[bytes]) -> Iterator[bytes]:
    """The content, in blocks; raises `ValueError` where it is no such file, or damaged."""
    header = stream.read(3)
    if header[:2] != MAGIC or len(header) < 3:
        raise ValueError("no file of compress")
    widest, clears = header[2] & 0x1F, bool(header[2] & _BLOCK_MODE)
    if not 10 <= widest <= _WIDEST:  # programs disagree on how 9 is meant
        raise ValueError(f"codes of up to {widest} bits")
    table = _fresh_table(clears=clears)
    last = b""
    codes = _Codes(stream)
    while (code := codes.next(_width(table, last, widest))) is not None:
        if clears and code == _CLEAR:
            table, last = _fresh_table(clears=clears), b""
            codes.skip_group()
            continue
        if code > len(table) or (code == len(table) and not last):
            raise ValueError("a code that is not known yet")
        word = table[code] if code < len(table) else last + last[:1]
        if last and len(table) < 1 << widest:
            table.append(last + word[:1])
        last = word
        yield word


def _fresh_table(*, clears: bool) -> list[bytes]:
    return [bytes([value]) for value in range(256)] + [b""] * clears


def _width(table: list[bytes], last: bytes, widest: int) -> int:
    """The bits of the next code: the encoder is one entry ahead, once it has written a word."""
    return min(widest, max(9, (len(table) + bool(last) - 1).bit_length()))


class _Codes:
    """The codes of a stream, group by group."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._width = 0
        self._group: Iterator[int] = iter([])

    def skip_group(self) -> None:
        self._group = iter([])

    def next(self, width: int) -> int | None:
        """The next code; None at the end."""
        if width != self._width:
            self._width = width
            self.skip_group()
        code = next(self._group, None)
        if code is None:
            self._group = self._read_group()
            code = next(self._group, None)
        return code

    def _read_group(self) -> Iterator[int]:
        width = self._width
        group = self._stream.read(width)  # eight codes
        bits, mask = int.from_bytes(group, "little"), (1 << width) - 1
        codes = len(group) * 8 // width
        return iter([bits >> (width * place) & mask for place in range(codes)])
