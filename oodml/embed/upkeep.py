"""What the caches hold, whether it is as it was written, and what may go."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from oodml.embed.cache import VERSION, Cache
from oodml.errors import FormatError
from oodml.store import home, read_json


@dataclass(frozen=True, slots=True)
class Entry:
    """The cache of one encoder's vectors on one data set.

    Of `rows` images, `done` are there; `bytes` are on disk; `used` is the time of the last use in
    seconds since 1970. `old` ones are of a format that is not read any more, and hold nothing.
    """

    folder: Path
    dataset: str
    encoder: str
    precision: str
    rows: int
    dim: int
    done: int
    bytes: int
    used: float
    filling: bool = False
    old: bool = False

    @property
    def complete(self) -> bool:
        return self.done == self.rows and not self.old


@dataclass(frozen=True, slots=True)
class Checked:
    """The shards of a cache whose numbers are not what was written, of how many there are."""

    folder: Path
    shards: int
    damaged: list[int]


def find_entries() -> list[Entry]:
    """The caches below `OODML_HOME/embeddings`, the one used last first."""
    entries = [entry for folder in _folders() if (entry := _entry(folder))]
    return sorted(entries, key=lambda entry: -entry.used)


def prune(*, most_bytes: int | None = None, older: float | None = None) -> list[Entry]:
    """Remove caches until `most_bytes` are left, least recently used first; those removed.

    Also those not used for `older` seconds, and all of an old format. One that is being filled
    stays.
    """
    entries = find_entries()
    left = sum(entry.bytes for entry in entries)
    removed = []
    for entry in sorted(entries, key=lambda entry: (not entry.old, entry.used)):
        late = older is not None and time.time() - entry.used > older
        many = most_bytes is not None and left > most_bytes
        if (entry.old or late or many) and not entry.filling:
            shutil.rmtree(entry.folder, ignore_errors=True)
            left -= entry.bytes
            removed.append(entry)
    return removed


def check_caches(*, repair: bool = False) -> Iterator[Checked]:
    """Read every shard and compare it with its sha256; with `repair`, remove the damaged ones.

    They are then missing, and the next use of the cache embeds these images again.
    """
    for entry in find_entries():
        if not entry.old:
            cache = Cache.read(entry.folder)
            damaged = cache.reopen() if repair else cache.damaged()
            yield Checked(entry.folder, len(cache.ranges()), damaged)


def folder_bytes(folder: Path) -> int:
    """What the files below a folder take."""
    sizes = 0
    for path in folder.rglob("*"):
        try:
            sizes += path.lstat().st_size if path.is_file() else 0
        except OSError:  # gone meanwhile
            continue
    return sizes


def _folders() -> list[Path]:
    """The folders of caches: those with a manifest, of any version."""
    return [path.parent for path in (home() / "embeddings").glob("*/manifest.json")]


def _entry(folder: Path) -> Entry | None:
    try:
        used = (folder / "manifest.json").stat().st_mtime
        size = folder_bytes(folder)
        try:
            facts = read_json(folder / "manifest.json", "embedding-cache", version=VERSION)
            cache = Cache.read(folder)
        except FormatError:
            return Entry(folder, "", "", "", 0, 0, 0, size, used, old=True)
        ranges = cache.ranges()
        there = ranges if cache.is_sealed() else [ranges[shard] for shard in cache.shards()]
        encoder = facts.get("encoder") or {}
        return Entry(
            folder=folder,
            dataset=str(facts.get("dataset", "")),
            encoder=str(encoder.get("name", "")),
            precision=str(encoder.get("precision", "")),
            rows=cache.rows,
            dim=cache.dim,
            done=sum(map(len, there)),
            bytes=size,
            used=used,
            filling=cache.being_filled(),
        )
    except (OSError, FormatError):  # removed meanwhile
        return None
