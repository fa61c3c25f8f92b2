"""How products are computed: in full float32, on one pool of threads."""

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


@contextmanager
def exact_arithmetic(device: str) -> Iterator[None]:
    """Products in full float32, without gradients, though the caller may train otherwise.

    That is under autocast, or with TF32 or bf16. How products are rounded holds for all threads of
    a process, so it is set while anyone is in here, and as before when the last one has left.
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
        self._before: dict[str, str] = {}

    def enter(self, kind: str) -> None:
        with self._lock:
            self._users[kind] += 1
            products = _products(kind)
            if self._users[kind] == 1:
                self._before[kind] = products.fp32_precision
                # Else left alone: to write "none" back would not be to have written nothing.
                if self._before[kind] not in ("none", "ieee"):
                    products.fp32_precision = "ieee"

    def leave(self, kind: str) -> None:
        with self._lock:
            self._users[kind] -= 1
            if self._users[kind] == 0 and self._before[kind] not in ("none", "ieee"):
                _products(kind).fp32_precision = self._before[kind]


def _products(kind: str) -> Any:
    import torch

    backends: Any = torch.backends
    return backends.cuda.matmul if kind == "cuda" else backends.mkldnn.matmul


_PRECISION = _Precision()
