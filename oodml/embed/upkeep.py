"""What the caches hold, whether it is as it was written, and what may go."""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oodml.embed.cache import VERSION, Cache
from oodml.embed.claims import being_filled
from oodml.embed.prepared import KIND as PIXELS
from oodml.errors import FormatError
from oodml.store import home, read_json

# Data set, encoder, precision; rows, dimension, rows that are there.
_Described = tuple[str, str, str, tuple[int, int, int]]
_YOUNG = 600.0  # seconds in which a folder without a manifest may be one that is being begun
_GONE = ".removed-"  # what a folder's name begins with while it is removed


@dataclass(frozen=True, slots=True)
class Entry:
    """The cache of one encoder's vectors on one data set, or of decoded images (`dim` 0).

    Of `rows` images, `done` are there; `bytes` are on disk; `used` is the time of the last use in
    seconds since 1970. `old` ones are of a format that is not read any more, or what was left of a
    removal, and hold nothing.
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
    """The caches in `embeddings` and `pixels` of `OODML_HOME`, the one used last first.

    Those of a newer format, and those that cannot be read just now, are left out.
    """
    entries = [entry for folder in _folders() if (entry := _entry(folder))]
    return sorted(entries, key=lambda entry: -entry.used)


def prune(*, most_bytes: int | None = None, older: float | None = None) -> list[Entry]:
    """Remove caches until `most_bytes` are left, least recently used first; those removed.

    Also those not used for `older` seconds, and all of an old format. One that is being filled
    stays, and so does what cannot be removed.
    """
    entries = find_entries()
    left = sum(entry.bytes for entry in entries)
    removed = []
    for entry in sorted(entries, key=lambda entry: (not entry.old, entry.used)):
        late = older is not None and time.time() - entry.used > older
        many = most_bytes is not None and left > most_bytes
        if (entry.old or late or many) and not entry.filling and _remove(entry.folder):
            left -= entry.bytes
            removed.append(entry)
    return removed


def _remove(folder: Path) -> bool:
    """Remove a folder, under another name first: no part of it passes for a cache."""
    gone = folder
    try:
        if not folder.name.startswith(_GONE):
            gone = folder.rename(folder.with_name(_GONE + secrets.token_hex(8)))
    except OSError:
        return not folder.exists()
    shutil.rmtree(gone, ignore_errors=True)
    return not gone.exists()


def check_caches(*, repair: bool = False) -> Iterator[Checked]:
    """Read every shard and compare it with its sha256; with `repair`, remove the damaged ones.

    They are then missing, and the next use of the cache embeds these images again. Decoded images
    have no digests and are left out.
    """
    for entry in find_entries():
        if not entry.old and entry.dim:
            cache = Cache.read(entry.folder)
            damaged = cache.mend() if repair else cache.damaged()
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
    places = [home() / "embeddings", home() / "pixels"]
    return [path for place in places for path in sorted(place.glob("*")) if path.is_dir()]


def _entry(folder: Path) -> Entry | None:
    """What a folder holds; None where that cannot be said, so that it is left alone."""
    pixels = folder.parent.name == "pixels"
    kind, version = (PIXELS, 1) if pixels else ("embedding-cache", VERSION)
    try:
        size = folder_bytes(folder)
        age = _age(folder, f"oodml.{kind}", version)
        if age is None:
            return None
        if age != version:
            used = folder.stat().st_mtime
            return Entry(folder, "", "", "", 0, 0, 0, size, used, being_filled(folder), old=True)
        facts = read_json(folder / "manifest.json", kind, version=version)
        used = (folder / "manifest.json").stat().st_mtime
        name, encoder, precision, counts = (_images if pixels else _vectors)(folder, facts)
        filling = being_filled(folder)
        return Entry(folder, name, encoder, precision, *counts, size, used, filling)
    except (OSError, FormatError, KeyError, TypeError):  # removed meanwhile
        return None


def _age(folder: Path, kind: str, version: int) -> int | None:
    """The version of a folder, 0 where it has no manifest (any more) that could be read.

    None where that cannot be said, or where it is of another program.
    """
    if folder.name.startswith(_GONE):
        return 0
    try:
        facts = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        found = facts["version"] if facts["format"] == kind else None
    except FileNotFoundError:
        return None if time.time() - folder.stat().st_mtime < _YOUNG else 0
    except (ValueError, KeyError, TypeError):
        return 0
    return found if isinstance(found, int) and found <= version else None


def _vectors(folder: Path, facts: Mapping[str, Any]) -> _Described:
    cache = Cache.read(folder)
    ranges = cache.ranges()
    there = ranges if cache.is_sealed() else [ranges[shard] for shard in cache.shards()]
    encoder = facts.get("encoder") or {}
    names = [str(text) for text in (facts.get("dataset", ""), encoder.get("name", ""))]
    counts = (cache.rows, cache.dim, sum(map(len, there)))
    return names[0], names[1], str(encoder.get("precision", "")), counts


def _images(folder: Path, facts: Mapping[str, Any]) -> _Described:
    done = len(list(folder.glob("pixels-*.npy"))) * int(facts["shard_rows"])
    rows = int(facts["rows"])
    return "", f"decoded images, shorter side {facts['shorter']}", "", (rows, 0, min(done, rows))
