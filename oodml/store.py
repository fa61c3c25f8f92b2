"""Where things lie, and how values become files: atomic JSON, digests, arrays without pickle."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from oodml.errors import FormatError

Arrays = dict[str, np.ndarray[Any, Any]]


# Places ------------------------------------------------------------------------------------------


def home() -> Path:
    """The folder of caches: `OODML_HOME`, else `$XDG_CACHE_HOME/oodml`, else `~/.cache/oodml`."""
    if chosen := os.environ.get("OODML_HOME"):
        return Path(chosen)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "oodml"


def offline() -> bool:
    """Whether downloads are forbidden (`OODML_OFFLINE=1`)."""
    return os.environ.get("OODML_OFFLINE", "") not in ("", "0")


def shipped(kind: str) -> Path:
    """The folder of published files of a kind (`splits`, `leaderboard`).

    In a checkout that is the top-level folder, else the copy inside the installed package.
    """
    package = Path(__file__).resolve().parent
    if (package.parent / "pyproject.toml").is_file():
        return package.parent / kind
    return package / "_shipped" / kind


# Digests -----------------------------------------------------------------------------------------


def canonical_json(value: Any) -> str:
    """One spelling for one value: sorted keys, no spaces, UTF-8, floats by `repr`, no NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest(value: Any) -> str:
    """The sha256 of a JSON value in its canonical spelling, as 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """The sha256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def array_digest(array: np.ndarray[Any, Any]) -> str:
    """The sha256 of an array's type, shape and bytes, read in blocks to spare memory maps."""
    state = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    rows = max(1, (1 << 24) // max(1, array.nbytes // max(1, len(array))))
    for start in range(0, len(array), rows):
        state.update(np.ascontiguousarray(array[start : start + rows]).data)
    return state.hexdigest()


# Files -------------------------------------------------------------------------------------------


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file beside `path` to write to; it takes the name only when all went well.

    A reader sees the old file or the new one, never a part; a crash leaves the old one. A link
    stays, and the file that it points to is written. Raises `FormatError` where that is impossible.
    """
    try:
        with _replacing(path, Path(os.path.realpath(path))) as temporary:
            yield temporary
    except OSError as error:
        reason = error.strerror or error
        raise FormatError(
            f"Cannot write {path}: {reason}; choose a place that can be written to."
        ) from None


@contextmanager
def _replacing(path: Path, target: Path) -> Iterator[Path]:
    mode = None
    if target.exists():
        mode = target.stat().st_mode
        if not stat.S_ISREG(mode):
            raise FormatError(
                f"Cannot write {path}: something that is no regular file has this name; choose "
                "another one."
            )
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{target.name}.{secrets.token_hex(6)}.tmp"
    temporary.touch(exist_ok=False)  # readable and writable as the umask says
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        if mode is not None:
            temporary.chmod(stat.S_IMODE(mode))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, kind: str, body: Mapping[str, Any], *, version: int = 1) -> None:
    """Write `body` as an `oodml.<kind>` file: sorted keys, floats by `repr`, no NaN, atomically."""
    record = {**body, "format": f"oodml.{kind}", "version": version}
    text = json.dumps(record, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path, kind: str, *, version: int = 1) -> dict[str, Any]:
    """The body of an `oodml.<kind>` file of a known version.

    Raises `FormatError` where the file is absent, no JSON, of another kind or of another version.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FormatError(f"{path} does not exist; expected an oodml.{kind} file.") from None
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} cannot be read as an oodml.{kind} file: {error}.") from None
    found = (record.get("format"), record.get("version")) if isinstance(record, dict) else None
    if found != (f"oodml.{kind}", version):
        what = f"format {found[0]!r}, version {found[1]!r}" if found else "no JSON object"
        raise FormatError(
            f"{path} has {what}; this oodml reads format 'oodml.{kind}', version {version}."
        )
    return {key: value for key, value in record.items() if key not in ("format", "version")}


def write_npz(path: Path, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Write an uncompressed npz of exactly this name, atomically."""
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def read_npz(path: Path) -> Arrays:
    """All arrays of an npz file; object arrays, which would need pickle, are refused."""
    try:
        with path.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise FormatError(f"{path} is a single array; expected an npz archive.")
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise FormatError(f"{path} does not exist; expected an npz file.") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise FormatError(f"{path} cannot be read as an npz file: {error}.") from None


def frozen(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same array, read-only from here on."""
    view = array.view()
    view.flags.writeable = False
    return view
