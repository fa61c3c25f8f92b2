"""Content hashes of files, remembered by path, size and time of change."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from oodml.errors import DataError
from oodml.store import file_digest, home

_TABLE = "CREATE TABLE IF NOT EXISTS hashes (path TEXT PRIMARY KEY, stamp TEXT, sha256 TEXT)"
_UNUSABLE = (sqlite3.Error, OSError, UnicodeEncodeError)  # a path may hold what is no text
_log = logging.getLogger(__name__)


def file_hashes(root: Path, ids: tuple[str, ...]) -> list[str]:
    """The sha256 of each file `root / id`; only files that changed since the last call are read.

    What is remembered is a convenience: where the database cannot be used, every file is read.
    """
    root = root.resolve()
    known = _remembered(root)
    hashes, fresh = [], []
    for path in (root / name for name in ids):
        stamp = _stamp(path)
        seen = (known or {}).get(str(path))
        if seen is None or seen[0] != stamp:
            seen = (stamp, _digest(path))
            fresh.append((str(path), *seen))
        hashes.append(seen[1])
    if fresh and known is not None:
        _remember(fresh)
    return hashes


def _remembered(root: Path) -> dict[str, tuple[str, str]] | None:
    """Stamp and sha256 of the files below `root`; None where the database cannot be used."""
    query = "SELECT path, stamp, sha256 FROM hashes WHERE path >= ? AND path < ?"
    below = (f"{root}/", f"{root}0")  # "0" follows "/"
    try:
        with _database() as database:
            return {row[0]: (row[1], row[2]) for row in database.execute(query, below)}
    except _UNUSABLE as error:
        _log.warning("No hashes from %s, every file is read: %s.", _place(), error)
        return None


def _remember(fresh: list[tuple[str, str, str]]) -> None:
    try:
        with _database() as database:
            database.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?)", fresh)
    except _UNUSABLE as error:
        _log.warning("No hashes kept in %s: %s.", _place(), error)


@contextmanager
def _database() -> Iterator[sqlite3.Connection]:
    home().mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(_place(), timeout=60)) as database, database:
        database.execute(_TABLE)
        yield database


def _place() -> Path:
    return home() / "hashes.sqlite"


def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror or error}); make it readable or remove it."
        ) from None


def _stamp(path: Path) -> str:
    try:
        facts = path.stat()
    except FileNotFoundError:
        raise DataError(f"{path} is gone since the data set was read; load it again.") from None
    return f"{facts.st_size}:{facts.st_mtime_ns}"
