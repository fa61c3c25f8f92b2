"""`oodml bench large`: a million vectors through the cache's format, split and scored.

The vectors are written shard by shard and stay on disk, mapped into memory. What counts is the
time, and the memory that the process needs beyond that map.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from oodml.bench.timing import BenchRow, peak_memory, timed
from oodml.embed import EmbeddingSet, read_embeddings
from oodml.embed.cache import Cache
from oodml.embed.embeddings import write_facts
from oodml.score import Subject, score_split
from oodml.split import build_splits
from oodml.store import digest, home

Array = np.ndarray[Any, Any]
_DAY = 86400.0
_STEP = 8192  # rows a shard


@dataclass(frozen=True, slots=True)
class Size:
    """So many images in so many classes, in `d` dimensions; classes come in groups of 100."""

    images: int
    classes: int
    d: int
    noise: float = 2.2

    @property
    def text(self) -> str:
        return f"{self.images:,} x {self.d}, {self.classes:,} classes"


LARGE, QUICK = Size(1_000_000, 10_000, 128), Size(4_000, 200, 16)


def bench_large(*, quick: bool = False, size: Size | None = None) -> Iterator[BenchRow]:
    """A row as each is measured, with the most memory that was needed. `quick`: 4,000 images."""
    size = size or (QUICK if quick else LARGE)
    home().mkdir(parents=True, exist_ok=True)
    for left in home().glob(".bench-*"):  # of a process that was killed
        if time.time() - left.stat().st_mtime > _DAY:
            shutil.rmtree(left, ignore_errors=True)
    with TemporaryDirectory(dir=home(), prefix=".bench-") as place:
        folder = Path(place)
        row, _ = _step(size, "write the cache, shard by shard", lambda: write_large(folder, size))
        yield row
        row, vectors = _step(size, "read it", lambda: read_embeddings(folder))
        yield row
        row, sequence = _step(size, "build splits", lambda: build_splits(vectors))
        yield row
        metrics = ("recall@1", "map@r")
        row, card = _step(
            size,
            "score the test side of split 1",
            lambda: score_split(vectors, sequence, 1, subject=Subject(), metrics=metrics),
        )
        values = ", ".join(f"{name} {card.values[name]:.4f}" for name in metrics)
        note = f"{int(card.counts.sum()):,} queries, {values}; {row.note}"
        yield BenchRow(row.task, row.way, row.seconds, note=note)


def _step(size: Size, way: str, call: Callable[[], Any]) -> tuple[BenchRow, Any]:
    with peak_memory(every=0.02, anonymous=True) as peak:
        seconds, result = timed(call, repeats=1, warm=False)
    note = "" if peak.mib is None else f"{peak.mib:,.0f} MiB of memory at most, beyond the map"
    return BenchRow(f"large: {size.text}", way, seconds, note=note), result


def write_large(folder: Path, size: Size) -> None:
    """Vectors around random class centres, which lie around those of their groups, as a cache."""
    rng = np.random.default_rng(0)
    groups = rng.standard_normal((size.classes // 100 + 1, size.d), np.float32)
    centres = groups[np.arange(size.classes) // 100]
    centres += rng.standard_normal(centres.shape, np.float32)
    labels = np.arange(size.images) % size.classes
    cache = Cache.create(folder, (size.images, size.d), _STEP, {"dataset": "large"})
    for shard in cache.missing():
        rows = cache.ranges()[shard]
        block = centres[labels[rows.start : rows.stop]]
        noise = np.random.default_rng([1, shard]).standard_normal(block.shape, np.float32)
        cache.put(shard, block + np.float32(size.noise) * noise)
    cache.seal()
    found = cache.vectors()
    assert found is not None
    embeddings = EmbeddingSet(
        dataset="large",
        classes=tuple(f"c{number:05}" for number in range(size.classes)),
        labels=labels,
        ids=tuple(f"c{row % size.classes:05}/{row:07}.jpg" for row in range(size.images)),
        vectors=found,
        content_fingerprint=digest(["large", size.text, size.noise]),
    )
    write_facts(folder, embeddings)
