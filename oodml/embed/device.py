"""What computes, and how exactly: devices, full float32, bf16."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from oodml.errors import UnknownNameError

T = TypeVar("T")
U = TypeVar("U")
PRECISIONS = ("float32", "bf16")


def find_device(name: str) -> str:
    """The device of a name: `auto` is cuda where there is one, else cpu; others are checked."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return check_device(name)


def check_device(device: str) -> str:
    """The device, if torch can use it here; else `UnknownNameError`."""
    import torch

    try:
        torch.ones(1, device=device).cpu().numpy()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        raise UnknownNameError(
            f"Device {device!r} cannot be used here ({reason}); expected cpu, or cuda on a machine "
            "with a GPU and a torch that was built for it."
        ) from None
    return device


def in_threads(work: Callable[[T], U], items: Iterable[T], device: str) -> Iterator[U]:
    """`work(item)` of every item in order, on as many threads as torch would use on the CPU.

    Each thread runs its torch operations alone, so that one pool does both the products, which
    torch could share out, and the counting, which it could not. Only a few items are under way.
    """
    import torch

    threads = torch.get_num_threads() if torch.device(device).type == "cpu" else 1
    if threads == 1:
        yield from map(work, items)
        return
    pending: deque[Future[U]] = deque()
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) >= 2 * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(threads)


@contextmanager
def arithmetic(device: str, precision: str) -> Iterator[None]:
    """Computing in one of `PRECISIONS`, without gradients: bf16 is torch's autocast."""
    import torch

    if precision == "float32":
        with exact_arithmetic(device):
            yield
    else:
        kind = torch.device(device).type
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16):
            yield


@contextmanager
def exact_arithmetic(device: str) -> Iterator[None]:
    """Full float32 in products and convolutions, no gradients, though the caller may do otherwise.

    That is to train under autocast, or with TF32 or bf16. How products are rounded holds for all
    threads of a process, so it is set while anyone is in here, and as before when the last one has
    left.
    """
    import torch

    kind = torch.device(device).type
    _PRECISION.enter(kind)
    try:
        with torch.inference_mode(), torch.autocast(kind, enabled=False):
            yield
    finally:
        _PRECISION.leave(kind)


class _Precision:
    """How many are computing in full float32, and what was set before they began."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: Counter[str] = Counter()
        self._before: dict[str, list[str]] = {}

    def enter(self, kind: str) -> None:
        with self._lock:
            self._users[kind] += 1
            if self._users[kind] == 1:
                self._before[kind] = [part.fp32_precision for part in _settings(kind)]
                self._set(kind, ["ieee"] * len(self._before[kind]))

    def leave(self, kind: str) -> None:
        with self._lock:
            self._users[kind] -= 1
            if self._users[kind] == 0:
                self._set(kind, self._before[kind])

    def _set(self, kind: str, values: list[str]) -> None:
        for part, before, value in zip(_settings(kind), self._before[kind], values, strict=True):
            # Else left alone: to write "none" back would not be to have written nothing.
            if before not in ("none", "ieee"):
                part.fp32_precision = value


def _settings(kind: str) -> tuple[Any, Any]:
    """Where torch keeps how products and convolutions are rounded."""
    import torch

    backends: Any = torch.backends
    if kind == "cuda":
        return backends.cuda.matmul, backends.cudnn.conv
    return backends.mkldnn.matmul, backends.mkldnn.conv


_PRECISION = _Precision()
