"""Who works on what: claims on parts of a work that several processes share.

A claim is a file that only one process can create. It spares work and nothing depends on it: a
claim of a process that died, or that has not been renewed for long, is taken over. While a process
holds claims, a thread of it renews them.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from oodml.errors import FormatError

STALE = 60.0  # seconds without a sign of life
WAIT = 0.2  # seconds between two looks at what others have done
PATIENCE = 10  # looks before it is said whom one waits for
_TOKEN = secrets.token_hex(8)
_held: set[Path] = set()
_lock = threading.Lock()
_thread: threading.Thread | None = None
_log = logging.getLogger(__name__)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a claim, waiting until it is to be had."""
    looks = 0
    while not take(path):
        looks = wait(path, looks)
    try:
        yield
    finally:
        release(path)


def wait(path: Path, looks: int) -> int:
    """Wait a little for who holds a claim, after so many looks; how many there are then."""
    if looks + 1 == PATIENCE:
        _log.warning("Waiting for %s.", _holder(path))
    time.sleep(WAIT)
    return looks + 1


def take(path: Path) -> bool:
    """Claim; whether it was to be had. Raises `FormatError` where nothing can be written."""
    try:
        if path.exists() and not is_held(path):
            path.unlink(missing_ok=True)
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return False
    except OSError as error:
        raise _cannot_write(path, error) from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump({**_place(), "start": _start(os.getpid()), "token": _TOKEN}, stream)
    except OSError as error:  # the disk is full
        path.unlink(missing_ok=True)
        raise _cannot_write(path, error) from None
    _keep(path)
    return True


def release(path: Path) -> None:
    """Give a claim back; one that another process has taken over stays."""
    with _lock:
        _held.discard(path)
    if (_read(path) or {}).get("token") == _TOKEN:
        path.unlink(missing_ok=True)


def is_held(path: Path) -> bool:
    """Whether a process that seems to live holds the claim."""
    try:
        if is_stale(path):
            return False
    except FileNotFoundError:
        return False
    found = _read(path)
    if found is None:
        return path.exists()  # being written
    place = _place()
    if any(found.get(key) != place[key] for key in ("host", "boot", "pids")):
        return True  # of another machine or container, whose processes cannot be seen from here
    if found.get("pid") == os.getpid():
        return found.get("token") == _TOKEN
    return _lives(int(found["pid"]), found.get("start"))


def being_filled(folder: Path) -> bool:
    """Whether a process holds a claim in a folder."""
    return any(is_held(path) for path in folder.glob("*.claim"))


def is_stale(path: Path, seconds: float = STALE) -> bool:
    """Whether a file has not been touched for so long."""
    return time.time() - path.stat().st_mtime >= seconds


def _holder(path: Path) -> str:
    """Who holds a claim, for people."""
    found = _read(path) or {}
    return f"{found.get('host', 'another process')} (pid {found.get('pid', '?')}, by {path})"


def _read(path: Path) -> dict[str, Any] | None:
    """What a claim says; None where it cannot be read, as while it is written."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {**found, "pid": int(found["pid"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(path: Path) -> None:
    """Have a claim renewed by the one thread that does this."""
    global _thread
    with _lock:
        _held.add(path)
        if _thread is None or not _thread.is_alive():  # as in a forked process
            _thread = threading.Thread(target=_renew, daemon=True)
            _thread.start()


def _renew() -> None:
    """Give signs of life for all claims that are held, for as long as the process lives."""
    pause = threading.Event()
    while not pause.wait(STALE / 4):
        with _lock:
            paths = list(_held)
        for path in paths:
            with suppress(OSError):  # taken over, perhaps
                os.utime(path)


def _place() -> dict[str, Any]:
    """This process, and where its number means something: a machine since it was started."""
    boot = pids = ""
    with suppress(OSError):  # Linux only
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        pids = str(Path("/proc/self/ns/pid").readlink())  # containers count processes on their own
    return {"host": socket.gethostname(), "boot": boot, "pids": pids, "pid": os.getpid()}


def _start(pid: int) -> str | None:
    """When a process began, in ticks since the machine did; None where that is not known."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return text.rpartition(")")[2].split()[19]  # the name before it may hold spaces
    except (OSError, IndexError):
        return None


def _lives(pid: int, start: str | None) -> bool:
    """Whether a process is there, and is not a later one of the same number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return start is None or _start(pid) in (None, start)


def _cannot_write(path: Path, error: OSError) -> FormatError:
    return FormatError(
        f"Cannot write {path}: {error.strerror or error}; set OODML_HOME to a folder of your own, "
        "on a disk that is not full."
    )
