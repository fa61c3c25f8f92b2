"""Who works on what: claims on parts of a work that several processes share.

A claim is a file that only one process can create. It spares work and nothing depends on it: a
claim of a process that died, or that has not been renewed for long, is taken over.
"""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from oodml.errors import FormatError

STALE = 600.0  # seconds without a sign of life, longer than any part should take between two


def renew(path: Path) -> None:
    """Give a sign of life."""
    with suppress(OSError):  # taken over, perhaps
        os.utime(path)


def is_held(path: Path) -> bool:
    """Whether a process that seems to live holds the claim."""
    try:
        if is_stale(path):
            return False
        holder = json.loads(path.read_text(encoding="utf-8"))
        return holder["host"] != socket.gethostname() or _lives(int(holder["pid"]))
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError):
        return True  # being written


def is_stale(path: Path) -> bool:
    """Whether a file has not been touched for longer than any work on it should take."""
    return time.time() - path.stat().st_mtime >= STALE


def take(path: Path) -> bool:
    """Claim; whether it was to be had. Raises `FormatError` where nothing can be written."""
    try:
        if path.exists() and not is_held(path):
            path.unlink(missing_ok=True)
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return False
    except OSError as error:
        raise FormatError(
            f"Cannot write {path}: {error.strerror or error}; set OODML_HOME to a folder of your "
            "own."
        ) from None
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump({"pid": os.getpid(), "host": socket.gethostname()}, stream)
    return True


def release(path: Path) -> None:
    """Give a claim back."""
    path.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
