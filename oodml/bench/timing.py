"""Measuring: the median of several runs, and rows of a table that compares them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
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
