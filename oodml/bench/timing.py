"""Measuring: the median of several runs, and rows of a table that compares them."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class BenchRow:
    """One way of doing a task: median seconds, and relative error where the truth is known.

    `seconds` is None where a peer is not installed; `note` says so, or how a number was obtained.
    """

    task: str
    way: str
    seconds: float | None
    error: float | None = None
    note: str = ""


def timed(call: Callable[[], Any], *, repeats: int = 5, warm: bool = True) -> tuple[float, Any]:
    """Median seconds of a call, and what it returned last."""
    if warm:
        call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


@dataclass(slots=True)
class Peak:
    """Memory in MiB; None where the system does not tell (it is read from /proc)."""

    mib: float | None = None


@contextmanager
def peak_memory(every: float = 0.005, *, anonymous: bool = False) -> Iterator[Peak]:
    """The most memory that the process had inside the block, beyond what it had before.

    `anonymous`: all that it had, but what files in it take, which the system can drop.
    """
    peak, over = Peak(), threading.Event()
    before = _resident(anonymous=anonymous)
    if before is not None and anonymous:
        before = 0.0

    def watch() -> None:
        while not over.wait(every):
            if before is not None:
                now = _resident(anonymous=anonymous) or 0.0
                peak.mib = max(peak.mib or 0.0, now - before)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()


def _resident(*, anonymous: bool) -> float | None:
    """The memory of this process in MiB, with or without the pages of files."""
    try:
        numbers = Path("/proc/self/statm").read_text().split()
    except OSError:
        return None
    pages = int(numbers[1]) - (int(numbers[2]) if anonymous else 0)
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
