"""Would products in bfloat16 give ranks faster, with a float32 re-check of what they leave open?

Prints for one tile what the products cost either way, how many comparisons bfloat16 leaves open,
and what counting costs with each of these computed again in float32. A comparison is open where
similarity and threshold differ by less than the rounding to bfloat16 can move a similarity of unit
vectors, 2 max |x - bf16(x)|. Run by hand: python scripts/try_bf16.py [--embeddings FILE]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch

from oodml.bench.retrieval import Size, synthetic
from oodml.embed import read_embeddings
from oodml.metrics.counting import _compiled
from oodml.metrics.pool import make_pool
from oodml.metrics.tiles import EDGE, TIE, find_targets

Array = np.ndarray[Any, Any]


@numba.njit(nogil=True, fastmath={"reassoc", "contract"})
def dot(x: Array, y: Array) -> float:
    total = np.float32(0)
    for k in range(x.shape[0]):
        total += x[k] * y[k]
    return total


@numba.njit(nogil=True)
def count(factors: Any, tile: Array, thresholds: Any, margin: float) -> Array:
    """What reaches each threshold, with what is within the margin computed again; and how many."""
    (x, y), (values, starts) = factors, thresholds
    counts = np.zeros(len(values) + 1, np.int64)
    for row in range(tile.shape[0]):
        for at in range(starts[row] - starts[0], starts[row + 1] - starts[0]):
            low, high = values[at] - margin, values[at] + margin
            sure, possible = np.int32(0), np.int32(0)
            for column in range(tile.shape[1]):
                sure += np.int32(tile[row, column] >= high)
                possible += np.int32(tile[row, column] >= low)
            counts[-1] += possible - sure
            if possible > sure:
                for column in range(tile.shape[1]):
                    if low <= tile[row, column] < high:
                        sure += np.int32(dot(x[row], y[column]) >= values[at])
            counts[at] = sure
    return counts


def cost(call: Callable[[], Any]) -> tuple[float, Any]:
    """Milliseconds of processor time, and the result."""
    call()
    start = time.process_time()
    for _ in range(5):
        result = call()
    return 200 * (time.process_time() - start), result


def product(x: torch.Tensor, y: torch.Tensor, precision: str) -> torch.Tensor:
    torch.backends.mkldnn.matmul.fp32_precision = precision
    try:
        return torch.mm(x, y.T)
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = "ieee"


def report(name: str, vectors: Array, labels: Array) -> None:
    pool = make_pool(vectors, labels)
    targets = find_targets(pool, "cpu")
    rows = torch.from_numpy(pool.rows.block(0, 2 * EDGE))
    x, y = rows[:EDGE], rows[EDGE:]
    margin = float(2 * (rows - rows.bfloat16().float()).norm(dim=1).max()) + TIE
    plain, exact = cost(lambda: product(x, y, "ieee"))
    short, rounded = cost(lambda: product(x, y, "bf16"))
    starts = targets.starts[: EDGE + 1]
    values = targets.values[starts[0] : starts[-1]]
    pair, thresholds = (x.numpy(), y.numpy()), (values, starts)
    once, truth = cost(lambda: _compiled()[0](exact.numpy(), values, starts))
    again, found = cost(lambda: count(pair, rounded.numpy(), thresholds, np.float32(margin)))
    opened, differ = int(found[-1]), int((found[:-1] != truth).sum())
    gain = (plain + 2 * once) / (short + 2 * again)
    print(
        f"{name}: float32 {plain:.1f} ms + counting 2 x {once:.1f} ms; bfloat16 {short:.1f} ms + "
        f"counting and re-check 2 x {again:.1f} ms ({opened:,} of {len(values) * EDGE:,} "
        f"comparisons open; {differ} of {len(values):,} counts differ): {gain:.2f} times as fast"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--embeddings", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for each, noise in ((5, 2.2), (60, 3.5)):
        report(f"synthetic, {each} a class", *synthetic(Size(4096, each, noise, 1)))
    if given.embeddings:
        embeddings = read_embeddings(given.embeddings)
        report(embeddings.dataset, embeddings.vectors, embeddings.labels)
        report(f"{embeddings.dataset} in fives", *in_fives(embeddings.vectors, embeddings.labels))


def in_fives(vectors: Array, labels: Array) -> tuple[Array, Array]:
    """Every class cut into classes of five images: as hard as products of an online shop."""
    order = np.argsort(labels, kind="stable")
    place = np.arange(len(order)) - np.searchsorted(labels[order], labels[order])
    fives = labels[order] * 1000 + place // 5
    full = np.isin(
        fives,
        [label for label, n in zip(*np.unique(fives, return_counts=True), strict=True) if n == 5],
    )
    return vectors[order[full]], fives[full]


if __name__ == "__main__":
    main()
