"""How products are computed: in full float32, on one pool of threads."""

from __future__ import annotations

from collections import deque
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
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0][:120]
        raise UnknownNameError(
            f"Device {device!r} cannot be used here ({reason}); expected cpu, or cuda on a machine "
            "with a GPU and a torch that was built for it."
        ) from None
    return device


@contextmanager
def full_float32(device: str) -> Iterator[None]:
    """Products in full float32, though the caller may train with TF32 or bf16. For all threads."""
    import torch

    kind = torch.device(device).type
    backends: Any = torch.backends
    products = backends.cuda.matmul if kind == "cuda" else backends.mkldnn.matmul
    before = products.fp32_precision
    if before in ("none", "ieee"):  # left alone: to write "none" back would not be to write nothing
        yield
        return
    try:
        products.fp32_precision = "ieee"
        yield
    finally:
        products.fp32_precision = before


@contextmanager
def plain_arithmetic(device: str) -> Iterator[None]:
    """No autocast and no gradients, in this thread."""
    import torch

    with torch.inference_mode(), torch.autocast(torch.device(device).type, enabled=False):
        yield
