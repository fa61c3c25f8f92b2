"""Content hashes of files, remembered by path, size and time of change."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from oodml.errors import DataError
from oodml.store import file_digest, home

_TABLE = "CREATE TABLE IF NOT EXISTS hashes (path TEXT PRIMARY KEY, stamp TEXT, sha256 TEXT)"


def file_hashes(root: Path, ids: tuple[str, ...]) -> list[str]:
    """The sha256 of each file `root / id`; only files that changed since the last call are read."""
    home().mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(home() / "hashes.sqlite", timeout=60)) as database, database:
        database.execute(_TABLE)
        return _hashes(database, root.resolve(), ids)


def _hashes(database: sqlite3.Connection, root: Path, ids: tuple[str, ...]) -> list[str]:
    query = "SELECT path, stamp, sha256 FROM hashes WHERE path >= ? AND path < ?"
    below = (f"{root}/", f"{root}0")  # "0" follows "/"
    known = {row[0]: row[1:] for row in database.execute(query, below)}
    hashes, fresh = [], []
    for path in (root / name for name in ids):
        stamp = _stamp(path)
        seen = known.get(str(path))
        if seen is None or seen[0] != stamp:
            seen = (stamp, file_digest(path))
            fresh.append((str(path), *seen))
        hashes.append(seen[1])
    database.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?)", fresh)
    return hashes


def _stamp(path: Path) -> str:
    try:
        facts = path.stat()
    except FileNotFoundError:
        raise DataError(f"{path} is gone since the data set was read; load it again.") from None
    return f"{facts.st_size}:{facts.st_mtime_ns}"
