"""On what retrieval is computed: a device, and one pool of threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from oodml.embed.device import check_device, exact_arithmetic

__all__ = ["check_device", "exact_arithmetic", "in_threads"]

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
