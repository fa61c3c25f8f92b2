"""One published file from the first of its mirrors that gives it, going on where it broke off.

What came so far lies in `.FILE.part`, and beside it `.FILE.part.json` says what it is a part of:
the address, the server's validator (ETag or Last-Modified), the length, and of how many pieces it
is. A part is gone on with only where a mixture would be noticed: by the validator, or by a known
hash.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import oodml
from oodml.data.facts import Archive
from oodml.data.transport import (
    PassingError,
    Patience,
    RangeError,
    RefusedError,
    Response,
    asked,
)
from oodml.data.unpack import suffix_of
from oodml.errors import DataError, FormatError
from oodml.store import read_json, write_json

Progress = Callable[[int, int], None]
_MAGIC = {".zip": (b"PK\x03\x04", b"PK\x05\x06"), ".gz": (b"\x1f\x8b",)}
_MAGIC |= {".tgz": _MAGIC[".gz"], ".tar.gz": _MAGIC[".gz"]}
_PAGE = re.compile(rb"\A(\xef\xbb\xbf)?\s*<(!doctype html|html|head|body|\?xml|!--)", re.IGNORECASE)
_TITLE = re.compile(rb"<title[^>]*>\s*([^<]{1,80})", re.IGNORECASE)
_BLOCK = 1 << 16
_MARGIN = 64 << 20  # bytes of the disk that are left alone


class UnobtainableError(DataError):
    """No mirror gave the file."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A whole file: its size and sha256, and the published hash that it has ("sha256", "md5")."""

    bytes: int
    sha256: str
    checked: str | None


@dataclass(frozen=True, slots=True)
class _State:
    """What a part is a part of."""

    url: str
    validator: str | None
    total: int | None
    pieces: int


@dataclass(frozen=True, slots=True)
class Part:
    """The part of `archive` in `folder`."""

    archive: Archive
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / f".{self.archive.file}.part"

    @property
    def notes(self) -> Path:
        return self.folder / f".{self.archive.file}.part.json"

    def size(self) -> int:
        """The bytes that came so far, if it is known of what they are."""
        return self.path.stat().st_size if self.path.exists() and self.state() else 0

    def state(self) -> _State | None:
        try:
            return _State(**read_json(self.notes, "part"))
        except (FormatError, TypeError):
            return None

    def note(self, state: _State) -> None:
        write_json(self.notes, "part", asdict(state))

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)


def download(part: Part, urls: tuple[str, ...], patience: Patience, update: Progress) -> Checked:
    """Fill `part` from the first of `urls` that can; the file is whole and checked afterwards.

    Raises `UnobtainableError` with what each address said; what came so far stays.
    """
    said = []
    for url in urls:
        try:
            return _patiently(part, url, patience, update)
        except (RefusedError, PassingError) as error:
            said.append(f"{url} {error}")
    file, size = part.archive.file, part.size()
    kept = f"go on from the {size:,} bytes that came" if size else "try again later"
    raise UnobtainableError(
        f"{file} cannot be fetched: {'; '.join(said)}. The same command will {kept}; or get the "
        f"file with a browser and put it at {part.folder / file}."
    )


def _patiently(part: Part, url: str, patience: Patience, update: Progress) -> Checked:
    failures = 0
    while True:
        before = part.size()
        try:
            came = _piece(part, url, patience, update)
            return _whole(part, again=not came)
        except PassingError:
            failures = 0 if part.size() - before >= patience.worth else failures + 1
            if failures >= patience.tries:
                raise
            time.sleep(patience.pause * 2 ** max(0, failures - 1))


def _piece(part: Part, url: str, patience: Patience, update: Progress) -> bool:
    """Ask once for what is missing, if anything is; whether it was asked for."""
    archive, state, have = part.archive, part.state(), part.size()
    if state and have and have == (archive.bytes or state.total):
        return False
    headers = {"User-Agent": f"oodml/{oodml.__version__}", **_range(archive, url, have, state)}
    try:
        with asked(url, headers, patience) as response:
            start = have if response.status == 206 else 0
            first = _beginning(response, patience)
            if not start:
                _require_archive(archive.file, first, "gives")
            total = _total(response, start, part, url)
            require_space(part.folder, (total or archive.bytes or 0) - start)
            if not start:
                part.path.write_bytes(b"")
            pieces = state.pieces + 1 if state and start else 1
            part.note(_State(url, _validator(response), total, pieces))
            _receive(part, response, first, (start, total or archive.bytes), patience, update)
    except RangeError as error:
        raise _mismatch(part, url, str(error)) from None
    return True


def _mismatch(part: Part, url: str, why: str) -> RefusedError | PassingError:
    """What to do where the answer does not fit the part: begin anew, if the part is from here."""
    state = part.state()
    if state is None or state.url != url:
        return RefusedError(why)
    part.remove()
    return PassingError(why)


def _beginning(response: Response, patience: Patience) -> bytes:
    """The first bytes, enough to tell what they are of."""
    first, start = b"", time.monotonic()
    while len(first) < 512 and (block := response.read1(_BLOCK)):
        first += block
        if time.monotonic() - start > patience.read:
            raise PassingError(f"gave {len(first)} bytes in {patience.read:g} s")
    if not first:
        raise PassingError("gave nothing")
    return first


def _range(archive: Archive, url: str, have: int, state: _State | None) -> dict[str, str]:
    """The headers that ask for the rest; none where a mixture of two files could pass."""
    if not have or state is None:
        return {}
    same = state.url == url and state.validator
    if not same and not (archive.sha256 or archive.md5):
        return {}
    rest = {"Range": f"bytes={have}-"}
    return {**rest, "If-Range": state.validator} if same and state.validator else rest


def _validator(response: Response) -> str | None:
    """What tells two states of a file apart; a weak ETag does not."""
    tag = response.headers.get("ETag")
    return tag if tag and tag.startswith('"') else response.headers.get("Last-Modified")


def _total(response: Response, start: int, part: Part, url: str) -> int | None:
    """The length of the whole file as the server says it; None where it does not.

    Raises where the answer is none to what was asked for, or of another length than is known.
    """
    state, published = part.state(), part.archive.bytes
    if response.status == 200:
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
    elif response.status == 206 and state:
        said = response.headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", said)
        if match is None or int(match[1]) != start:
            raise _mismatch(part, url, f"gives another part than was asked for ({said[:80]!a})")
        total = state.total if match[3] == "*" else int(match[3])
        if state.url == url and None not in (total, state.total) and total != state.total:
            raise _mismatch(part, url, "has another file than before")
    else:
        raise RefusedError(f"answers {response.status}, which was not asked for")
    if published and total is not None and total != published:
        raise RefusedError(f"has {total:,} bytes; expected {published:,}")
    return total


def _receive(
    part: Part,
    response: Response,
    block: bytes,
    span: tuple[int, int | None],
    patience: Patience,
    update: Progress,
) -> None:
    """Append what comes, from `span[0]` to `span[1]`; bytes that came stay whatever happens."""
    size, total = span
    mark, marked = time.monotonic(), size
    with part.path.open("ab") as stream:
        while block:
            size += len(block)
            if total is not None and size > total:
                raise RefusedError(f"gives more than the {total:,} bytes of the file")
            _append(stream, block, part.path)
            update(size, total or size)
            if (now := time.monotonic()) - mark >= patience.read:
                if size - marked < patience.least:
                    raise PassingError(f"gave {size - marked} bytes in {patience.read:g} s")
                mark, marked = now, size
            block = response.read1(_BLOCK)
    if total is not None and size < total:
        raise PassingError(f"broke off after {size:,} of {total:,} bytes")


def _append(stream: BinaryIO, block: bytes, path: Path) -> None:
    try:
        stream.write(block)
        stream.flush()
    except OSError as error:
        raise DataError(
            f"Cannot write {path}: {error.strerror or error}; make room and go on with the "
            "same command."
        ) from None


def require_space(folder: Path, size: int) -> None:
    """Raise `DataError` unless the disk of `folder` has room for `size` bytes."""
    free, needed = shutil.disk_usage(folder).free, size + _MARGIN
    if needed > free and size > 0:
        raise DataError(
            f"The disk of {folder} has {free >> 20:,} MiB left, and {needed >> 20:,} are needed; "
            "free some of it or choose another --root."
        )


# Checks ------------------------------------------------------------------------------------------


def _whole(part: Part, *, again: bool) -> Checked:
    """The part as a whole file; where it is another one, it is removed, perhaps to come `again`."""
    state = part.state()
    try:
        return check_file(part.path, part.archive)
    except DataError:
        part.remove()
        if again or (state and state.pieces > 1):  # perhaps pieces of two files
            raise PassingError("gave pieces that do not fit together") from None
        raise RefusedError("gives a file of another content than the published one") from None


def check_file(path: Path, archive: Archive) -> Checked:
    """What a whole file is; raises `DataError` where it is not the published one."""
    with path.open("rb") as stream:
        try:
            _require_archive(archive.file, stream.read(1 << 12), "is")
        except RefusedError as error:
            raise DataError(f"{path} {error}; remove it and get it again.") from None
        found = _hashes(stream)
    published = {"sha256": archive.sha256, "md5": None if archive.sha256 else archive.md5}
    for kind, known in published.items():
        if known and found[kind] != known:
            raise DataError(
                f"{path} has the {kind} {found[kind]}; expected the published {known}: it is "
                "damaged or another version, remove it and get it again."
            )
    checked = next((kind for kind, known in published.items() if known), None)
    return Checked(path.stat().st_size, found["sha256"], checked)


def _hashes(stream: BinaryIO) -> dict[str, str]:
    states = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    stream.seek(0)
    while block := stream.read(1 << 20):
        for state in states.values():
            state.update(block)
    return {kind: state.hexdigest() for kind, state in states.items()}


def _require_archive(file: str, start: bytes, gives: str) -> None:
    """Raise `RefusedError` where the first bytes are those of a web page, or of no such archive."""
    if not start:
        raise RefusedError(f"{gives} an empty file")
    magic = _MAGIC.get(suffix_of(file))
    if magic and start.startswith(magic):
        return
    if _PAGE.match(start):
        title = _TITLE.search(start)
        named = f" (titled {title[1].decode('utf-8', 'replace').strip()!r})" if title else ""
        raise RefusedError(
            f"{gives} a web page{named} in place of {file}: a login, a form or a notice that it "
            "has moved; look at it with a browser"
        )
    if magic:
        raise RefusedError(f"{gives} no {suffix_of(file)} file: it begins with {start[:8]!a}")
