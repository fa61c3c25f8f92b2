"""Unpacking an archive that nobody vouches for, into a folder that nothing can leave."""

from __future__ import annotations

import errno
import lzma
import os
import re
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from oodml.data.lzw import MAGIC, decode
from oodml.data.members import Member, RefusedError, members_of
from oodml.errors import DataError

Progress = Callable[[int, int], None]
SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip", ".gz")
_DEEPEST = 32  # folders in one another
_SMALL = 1 << 20  # bytes that any archive may unpack to
_BROKEN = (
    *(OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(ValueError, RuntimeError, NotImplementedError, LookupError),
)


class ArchiveError(DataError):
    """An archive that is damaged, or that is not to be unpacked."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may unpack to: how many members, and how many times its own size."""

    members: int
    expands: float


def suffix_of(file: str) -> str:
    """The suffix by which a file is unpacked; empty where it is used as it is."""
    return next((suffix for suffix in SUFFIXES if file.lower().endswith(suffix)), "")


def unpack(archive: Path, file: str, folder: Path, limits: Limits, update: Progress) -> None:
    """Unpack `archive`, which is called `file`, into the empty `folder`.

    Only plain files and folders are made, below `folder`; what macOS puts beside files is left out,
    and members of Unix compress (.Z) are unpacked in turn. `update(done, total)` gets bytes of the
    archive. Raises `ArchiveError`, with a part of it unpacked, on anything else.
    """
    size = archive.stat().st_size
    tree = _Tree(folder, limits, max(_SMALL, int(limits.expands * size)))
    suffix = suffix_of(file)
    try:
        with archive.open("rb") as raw:
            single = file[: -len(suffix)]
            for member in members_of(raw, suffix, single, tree.spend, limits.members):
                tree.add(member)
                update(raw.tell(), size)
        tree.decompress()
    except RefusedError as error:
        raise ArchiveError(
            f"{archive} {error}; nothing of it was kept: get it from another place."
        ) from None
    except _BROKEN as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(f"The disk of {folder} is full; free some of it and go on.") from None
        raise ArchiveError(
            f"{archive} is damaged ({error}); remove it and fetch it again."
        ) from None
    if not tree.count:
        raise ArchiveError(f"{archive} holds nothing; remove it and fetch it again.")


@dataclass(slots=True)
class _Tree:
    """The folder that members go to, and all that was seen so far."""

    root: Path
    limits: Limits
    left: int
    count: int = 0
    seen: dict[str, tuple[str, bool]] = field(default_factory=dict)

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise RefusedError(
                f"unpacks to more than {self.limits.expands:g} times its size (a decompression "
                "bomb?)"
            )

    def add(self, member: Member) -> None:
        self.count += 1
        if self.count > self.limits.members:
            raise RefusedError(f"has more than {self.limits.members} members")
        parts = safe_parts(member.name)
        if member.kind not in ("file", "folder"):
            raise RefusedError(f"has the member {member.name!a}, which is {member.kind}")
        if not parts or _is_litter(parts):
            return
        self._claim(parts, folder=member.kind == "folder")
        path = self.root.joinpath(*parts)
        if member.kind == "folder":
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, member.blocks)

    def _claim(self, parts: tuple[str, ...], *, folder: bool) -> None:
        """Each name once, also where a file system takes several spellings for one."""
        for depth in range(1, len(parts) + 1):
            name = "/".join(parts[:depth])
            here = (name, folder or depth < len(parts))
            key = unicodedata.normalize("NFC", name).casefold()
            known = self.seen.setdefault(key, here)
            if known is here or (known == here and here[1]):
                continue
            if known[0] != name:
                raise RefusedError(f"has {known[0]!a} and {name!a}, one name on some file systems")
            what = "twice" if known == here else "as a file and as a folder"
            raise RefusedError(f"has {name!a} {what}")

    def decompress(self) -> None:
        """Replace the files of Unix compress by their content."""
        for path in sorted(self.root.rglob("*.Z")):
            with path.open("rb") as stream:
                if stream.read(2) != MAGIC:
                    continue
                stream.seek(0)
                self._claim(path.with_suffix("").relative_to(self.root).parts, folder=False)
                _write(path.with_suffix(""), self._spent(decode(stream)))
            path.unlink()

    def _spent(self, blocks: Iterable[bytes]) -> Iterable[bytes]:
        for block in blocks:
            self.spend(len(block))
            yield block


def _write(path: Path, blocks: Iterable[bytes]) -> None:
    with path.open("xb") as stream:
        for block in blocks:
            stream.write(block)


def safe_parts(name: str) -> tuple[str, ...]:
    """The parts of a member's path; raises `RefusedError` where it could leave the folder."""
    wrong = next((why for why, pattern in _WRONG.items() if re.search(pattern, name)), None)
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if len(parts) > _DEEPEST or len(os.fsencode(name)) > 4096:
        wrong = "is too deep or too long"
    if wrong:
        raise RefusedError(f"has the member {name[:200]!a}, whose name {wrong}")
    return parts


_WRONG = {
    "has a NUL in it": r"\0",
    "has a backslash in it": r"\\",
    "is an absolute path": r"\A/|\A[A-Za-z]:",
    "leads out of the folder": r"(\A|/)\.\.(/|\Z)",
}


def _is_litter(parts: tuple[str, ...]) -> bool:
    """What macOS adds to archives."""
    return parts[0] == "__MACOSX" or parts[-1] == ".DS_Store" or parts[-1].startswith("._")
