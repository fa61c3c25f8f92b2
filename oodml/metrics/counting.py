"""How many entries of a tile of similarities reach each of the thresholds of its rows.

Two ways with the same result: plain torch, on any device, and compiled by numba (the extra `fast`),
which pays on large sets with few positives an image. Thresholds of r rows lie one after the other
in `values`, those of row i at `starts[i]:starts[i + 1]`.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

ENGINES = ("auto", "torch", "numba")
FEW = 8  # thresholds a row that are better compared one by one
WORTH_COMPILING = 1_500_000_000  # pairs of images; below, compiling takes longer than it saves


class Counter(Protocol):
    """Counts, (len(values),) int32, of the entries of each row or column that are >= its values."""

    def count(
        self, tile: torch.Tensor, rows: Thresholds, columns: Thresholds | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]: ...


Thresholds = tuple[Any, Any]  # values, starts: two tensors


def find_counter(engine: str, device_type: str, pairs: int) -> Counter:
    """The counter of a name: `torch`, `numba`, or `auto`, which is numba where it pays."""
    there = importlib.util.find_spec("numba") is not None
    if engine == "auto":
        compiled = there and device_type == "cpu" and pairs >= WORTH_COMPILING
        return CompiledCounter() if compiled else TorchCounter()
    if engine == "numba" and not (there and device_type == "cpu"):
        raise ValueError(
            "engine 'numba' is for the CPU and needs the package numba (extra fast); leave the "
            "engine to be chosen."
        )
    return CompiledCounter() if engine == "numba" else TorchCounter()


class TorchCounter:
    """Sorts the rows and finds the thresholds in them; the tile is used up."""

    def count(
        self, tile: torch.Tensor, rows: Thresholds, columns: Thresholds | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        down = None if columns is None else _reached(tile.T.contiguous(), *columns)
        return _reached(tile, *rows), down


def _reached(tile: torch.Tensor, values: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    import torch

    padded, real = _padded(values, starts)
    width = padded.shape[1]
    if width <= FEW and tile.device.type != "cpu":
        counts = torch.stack([(tile >= one[:, None]).sum(dim=1) for one in padded.T], dim=1)
    else:
        counts = tile.shape[1] - torch.searchsorted(sort_rows(tile), padded)
    return counts[real].to(torch.int32)


def _padded(values: torch.Tensor, starts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The thresholds (r, w), shorter rows filled up with what nothing reaches, and which are real.

    w is at least 1.
    """
    import torch

    lengths = starts[1:] - starts[:-1]
    offsets = torch.arange(max(1, int(lengths.max())), device=values.device)
    real = offsets < lengths[:, None]
    padded = torch.full(real.shape, torch.inf, device=values.device)
    padded[real] = values
    return padded, real


def sort_rows(block: torch.Tensor) -> torch.Tensor:
    """The block, every row ascending: a binary search then counts for any number of thresholds."""
    if block.device.type != "cpu":
        return block.sort(dim=1).values
    block.numpy().sort(axis=1)  # in place, with vector instructions: ten times as fast as torch's
    return block


class CompiledCounter:
    """Compares every entry with every threshold of its row, many at a time."""

    def count(
        self, tile: torch.Tensor, rows: Thresholds, columns: Thresholds | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        down = None
        if columns is not None:
            padded, real = _padded(*columns)
            if padded.shape[1] <= FEW:
                thresholds = padded.T.contiguous().numpy()
                down = _tensor(_compiled()[1](tile.numpy(), thresholds)).T[real]
            else:  # along rows it is faster, by more than the copy takes
                down = self._in_rows(tile.T.contiguous(), *columns)
        return self._in_rows(tile, *rows), down

    def _in_rows(
        self, tile: torch.Tensor, values: torch.Tensor, starts: torch.Tensor
    ) -> torch.Tensor:
        return _tensor(_compiled()[0](tile.numpy(), values.numpy(), starts.numpy()))


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    import torch

    return torch.from_numpy(array)


@cache
def _compiled() -> tuple[Any, Any]:
    """The two loops, compiled at the first call; they leave other Python threads running."""
    import numba

    tile, counts = numba.float32[:, ::1], numba.int32[:, ::1]
    in_rows = numba.int32[::1](tile, numba.float32[::1], numba.int64[::1])
    return (
        numba.njit(in_rows, nogil=True)(_count_in_rows),
        numba.njit(counts(tile, tile), nogil=True)(_count_in_columns),
    )


def _count_in_rows(
    tile: NDArray[np.float32], values: NDArray[np.float32], starts: NDArray[np.int64]
) -> NDArray[np.int32]:
    counts = np.empty(len(values), np.int32)
    for row in range(tile.shape[0]):
        for at in range(starts[row] - starts[0], starts[row + 1] - starts[0]):
            threshold, reached = values[at], np.int32(0)
            for column in range(tile.shape[1]):
                reached += np.int32(tile[row, column] >= threshold)
            counts[at] = reached
    return counts


def _count_in_columns(
    tile: NDArray[np.float32], thresholds: NDArray[np.float32]
) -> NDArray[np.int32]:
    counts = np.zeros(thresholds.shape, np.int32)
    for row in range(tile.shape[0]):
        for place in range(thresholds.shape[0]):
            for column in range(tile.shape[1]):
                counts[place, column] += np.int32(tile[row, column] >= thresholds[place, column])
    return counts
