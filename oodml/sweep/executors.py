"""Where jobs run. The seam is `concurrent.futures.Executor`: anything with `submit` serves."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any

from oodml.errors import UnknownNameError


class SerialExecutor(Executor):
    """Runs every job at once, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - it belongs to whoever asks the future
            future.set_exception(error)
        return future


def make_executor(name: str) -> Executor:
    """`serial`: this process with all cores; `local`: a spawned process a core, one thread each."""
    if name == "serial":
        return SerialExecutor()
    if name == "local":
        workers = usable_cores()
        spawn = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(workers, mp_context=spawn, initializer=_start_worker)
    raise UnknownNameError(f"{name!r} is no executor; there are serial and local.")


def usable_cores() -> int:
    """The cores that this process may use, which on a shared machine are not all there are."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start_worker() -> None:
    """One thread a worker; and a worker ends with its parent, also when that is killed."""
    import torch

    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)
