"""One training on several processes, as torchrun starts them: the global batch in equal shares.

Every process passes its share of the images through the backbone; the pooled features of all are
gathered, and head and loss are computed on the whole batch everywhere. So a loss over pairs sees
the same pairs as in one process, and its gradients are those of one process.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed

T = TypeVar("T")
_TALK: list[distributed.ProcessGroup] = []  # the group of processes, once they have met


def join() -> str | None:
    """Meet the processes that torchrun started with this one; the device of this process.

    None where this process is alone.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    if not torch.cuda.is_available():
        device = torch.device("cpu")
        distributed.init_process_group("gloo")
    else:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
        distributed.init_process_group("nccl", device_id=device)
    # What is agreed on is no tensor of a GPU, and may have to wait while the first one scores.
    group: Any = distributed.new_group(backend="gloo", timeout=timedelta(days=1))
    _TALK.append(group)
    return str(device)


def together() -> bool:
    """Whether there are other processes."""
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """The number of this process; 0 where there is only one."""
    return distributed.get_rank() if together() else 0


def share(n: int) -> slice:
    """The places of this process's images in a batch of n."""
    if not together():
        return slice(0, n)
    size, at = distributed.get_world_size(), distributed.get_rank()
    return slice(n * at // size, n * (at + 1) // size)


def gather(mine: torch.Tensor, n: int) -> torch.Tensor:
    """The rows `(n, d)` of all processes in order; gradients reach only those of this one."""
    if not together():
        return mine
    size = distributed.get_world_size()
    counts = [n * (at + 1) // size - n * at // size for at in range(size)]
    padded = mine.new_zeros((max(counts), *mine.shape[1:]))
    padded[: len(mine)] = mine.detach()
    blocks = [torch.empty_like(padded) for _ in counts]
    distributed.all_gather(blocks, padded)
    rows = [block[:count] for block, count in zip(blocks, counts, strict=True)]
    rows[distributed.get_rank()] = mine
    return torch.cat(rows)


def add_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Sum the gradients of what each process computed on its own share."""
    if not together():
        return
    for parameter in parameters:
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            distributed.all_reduce(parameter.grad)


def agreed(value: T) -> T:
    """What the first process says, for all of them; it waits until every process has asked."""
    if not together():
        return value
    said = [value]
    distributed.broadcast_object_list(said, group=_TALK[0])
    distributed.barrier(group=_TALK[0])
    return said[0]
