"""What an archive says that it holds, member by member, read as it comes and never believed.

A tar is read here rather than by `tarfile`, which keeps headers of any size in memory; `zipfile`
keeps the whole table of contents in memory, whose size is bounded.
"""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

BLOCK = 1 << 20
_HEADERS = 1 << 20  # bytes that the headers of one tar member may take
_RECORD = 512
_KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
Spend = Callable[[int], None]
_Readable = IO[bytes] | gzip.GzipFile


class RefusedError(ValueError):
    """Why an archive is not unpacked."""


@dataclass(frozen=True, slots=True)
class Member:
    """`kind` is "file", "folder", or what else it is, in words; `blocks` are a file's bytes.

    The blocks are to be taken before the next member is.
    """

    name: str
    kind: str
    blocks: Iterator[bytes]


def members_of(raw: IO[bytes], suffix: str, name: str, spend: Spend, most: int) -> Iterator[Member]:
    """The members of an archive; `spend` is told of unpacked bytes before they are kept.

    `suffix` is the archive's, `name` what a single file is called, `most` the number of members
    that will do. Raises `RefusedError`, or what the libraries raise on damage.
    """
    if suffix == ".zip":
        yield from _zip_members(raw, spend, most)
    elif suffix == ".gz":
        with gzip.open(raw) as unzipped:
            yield Member(name, "file", _blocks(unzipped, spend))
    elif suffix == ".tar":
        yield from _tar_members(_Counted(raw, spend))
    else:
        with gzip.open(raw) as unzipped:
            yield from _tar_members(_Counted(unzipped, spend))


def _blocks(stream: _Readable, spend: Spend) -> Iterator[bytes]:
    with stream:
        while block := stream.read(BLOCK):
            spend(len(block))
            yield block


# Zip ---------------------------------------------------------------------------------------------


class _Frugal(io.BufferedIOBase):
    """A file that refuses to be read in one gulp larger than `most` bytes."""

    def __init__(self, raw: IO[bytes], most: int) -> None:
        self._raw, self._most = raw, most

    def read(self, size: int | None = -1, /) -> bytes:
        data = self._raw.read(self._most + 1 if size is None or size < 0 else size)
        if (size or 0) > self._most or len(data) > self._most:
            raise RefusedError("has a table of contents larger than its members could need")
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell()

    def seekable(self) -> bool:
        return True


def _zip_members(raw: IO[bytes], spend: Spend, most: int) -> Iterator[Member]:
    frugal: Any = _Frugal(raw, 512 * most + 2 * BLOCK)
    with zipfile.ZipFile(frugal) as archive:
        entries = archive.infolist()
        if len(entries) > most:
            raise RefusedError(f"has {len(entries)} members; expected at most {most}")
        for entry in entries:
            # `filename` is cut at a NUL and turned around where the separator is another one.
            yield Member(entry.orig_filename, _zip_kind(entry), _entry(archive, entry, spend))


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, spend: Spend) -> Iterator[bytes]:
    yield from _blocks(archive.open(entry), spend)  # opened when it is wanted


def _zip_kind(entry: zipfile.ZipInfo) -> str:
    if entry.flag_bits & 1:
        return "encrypted"
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a symbolic link" if stat.S_ISLNK(mode) else "a device, pipe or socket"
    return "folder" if entry.orig_filename.endswith("/") or stat.S_ISDIR(mode) else "file"


# Tar ---------------------------------------------------------------------------------------------


class _Counted:
    """A stream whose bytes are spent as they are read."""

    def __init__(self, stream: _Readable, spend: Spend) -> None:
        self._stream, self._spend = stream, spend

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._spend(len(data))
        return data

    def exactly(self, size: int) -> bytes:
        data = self.read(size)
        if len(data) < size:
            raise EOFError("it ends in the middle of a member")
        return data


def _tar_members(stream: _Counted) -> Iterator[Member]:
    while (info := _next_header(stream)) is not None:
        blocks = _tar_blocks(stream, info.size)
        yield Member(info.name, _tar_kind(info), blocks)
        for _ in blocks:  # what the caller did not want
            pass
        if padding := -info.size % _RECORD:
            stream.exactly(padding)
    while stream.read(BLOCK):  # to the end, where gzip has its checksum
        pass


def _tar_blocks(stream: _Counted, size: int) -> Iterator[bytes]:
    for start in range(0, size, BLOCK):
        yield stream.exactly(min(BLOCK, size - start))


def _next_header(stream: _Counted) -> tarfile.TarInfo | None:
    """The header of the next member with its long name, from either convention; None at the end."""
    spent = 0
    changes: dict[str, str] = {}
    while True:
        header = stream.read(_RECORD)
        if not header or not any(header):
            return None
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.TarError as error:
            raise EOFError(f"no header of a member where one should be ({error})") from None
        if info.type not in b"xgLK" or not info.type:
            return _changed(info, changes)
        spent += _RECORD + info.size
        if info.size < 0 or spent > _HEADERS:
            raise RefusedError(f"has a member whose headers take more than {_HEADERS} bytes")
        body = stream.exactly(info.size + -info.size % _RECORD)[: info.size]
        if info.type == tarfile.XHDTYPE:
            changes.update(_pax(body))
        elif info.type == tarfile.GNUTYPE_LONGNAME:
            changes["path"] = body.rstrip(b"\0").decode("utf-8", "surrogateescape")


def _pax(body: bytes) -> dict[str, str]:
    """The records "length key=value" of an extended header."""
    records = {}
    while body:
        length, space, _ = body.partition(b" ")
        if not space or not length.isdigit() or not len(length) + 1 < int(length) <= len(body):
            raise EOFError("an extended header that cannot be read")
        key, _, value = body[len(length) + 1 : int(length) - 1].partition(b"=")
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        body = body[int(length) :]
    return records


def _changed(info: tarfile.TarInfo, changes: dict[str, str]) -> tarfile.TarInfo:
    info.name = changes.get("path", info.name)
    if not changes.get("size", "0").isdecimal():
        raise EOFError("an extended header that cannot be read")
    info.size = int(changes.get("size", info.size))
    if any(key.startswith("GNU.sparse") for key in changes):
        info.type = tarfile.GNUTYPE_SPARSE
    if info.size < 0:
        raise RefusedError(f"has the member {info.name!a} of a negative size")
    if info.type not in _FILES:
        info.size = 0 if info.isdir() or info.type in _KINDS else info.size
    return info


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.isdir():
        return "folder"
    return "file" if info.type in _FILES else _KINDS.get(info.type, "of an unknown kind")
