"""`oodml bench embed`: how fast networks embed, and what bf16 changes.

Networks get random images in memory; images of files come in with the last task, which needs the
photos and weights of the test data (`OODML_TEST_DATA`) and prints the largest change of recall@1.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oodml.bench.reading import bench_reading
from oodml.bench.timing import BenchRow, timed
from oodml.data import load_data
from oodml.embed import embed_data, open_encoder
from oodml.embed.device import find_device
from oodml.embed.network import Network, set_precision
from oodml.embed.worker import start_worker
from oodml.metrics import evaluate
from oodml.split import build_splits
from oodml.store import shipped

if TYPE_CHECKING:
    import torch

    from oodml.embed import EmbeddingSet

Array = np.ndarray[Any, Any]
PLAIN_BATCH = 64
_FULL = ("tv:resnet50?init=random&seed=0", "tv:mobilenet_v2?init=random&seed=0")
_QUICK = ("tv:resnet18?init=random&seed=0&size=64",)
_WEIGHTS = "mobilenet_v2/mobilenet_v2_imagenet.safetensors"
_BARE = "tv:mobilenet_v2?init=random&seed=0&size=32"
_PRECISIONS = ("bf16", "float32")
_OPTIONS = "arch=tv:mobilenet_v2&mean=0.5&std=0.5&size=224"


def bench_embed(*, quick: bool = False) -> Iterator[BenchRow]:
    """A row as each is measured; of every task, ours in bf16 comes first."""
    for name in _QUICK if quick else _FULL:
        yield from _networks(name, images=16 if quick else PLAIN_BATCH, repeats=1 if quick else 3)
    yield from bench_reading(quick=quick)
    if not quick:
        yield from _recall()


def _networks(name: str, images: int, repeats: int) -> Iterator[BenchRow]:
    """The same images through one network in all ways, those of oodml as `embed_data` has them."""
    import torch

    encoder = open_encoder(name)
    assert isinstance(encoder, Network)
    side = encoder.spec.size
    generator = torch.Generator().manual_seed(0)
    shape = (images, 3, side, side)
    batch = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    device = find_device("auto")
    expected = _plainly(encoder, batch, images)
    ways: list[tuple[str, Callable[[], Array]]] = []
    for precision in _PRECISIONS:
        worker = start_worker(set_precision(encoder, precision), device, None)
        way = f"oodml, {precision}, {device}, batches of {min(worker.most, images)}"
        ways.append((way, _calling(worker, batch)))
    plain = replace(encoder, module=encoder.module.to(memory_format=torch.contiguous_format))
    ways.append((f"torch as it comes, float32, cpu, batches of {images}", _plain(plain, batch, 1)))
    ways.append(
        ("torch as it comes, float32, cpu, batches of 8", _plain(plain, batch, images // 8))
    )
    for way, call in ways:
        seconds, vectors = timed(call, repeats=repeats)
        cosine = _least_cosine(vectors, expected)
        note = f"{images / seconds:,.1f} images/s, least cosine to float32 {cosine:.6f}"
        yield BenchRow(f"embed {images} images, {name}", way, seconds, note=note)


def _calling(worker: Callable[[torch.Tensor], Array], batch: torch.Tensor) -> Callable[[], Array]:
    """All images, in batches as large as the worker takes them."""
    return lambda: worker(batch)


def _plain(network: Network, batch: torch.Tensor, parts: int) -> Callable[[], Array]:
    return lambda: _plainly(network, batch, len(batch) // parts)


def _plainly(network: Network, batch: torch.Tensor, size: int) -> Array:
    """Normalise, contiguous; the network; no autocast, nothing folded."""
    import torch

    with torch.inference_mode():
        parts = [
            network.module(network.normalised(part).contiguous()) for part in batch.split(size)
        ]
        return np.asarray(torch.cat(parts).numpy())


def _least_cosine(vectors: Array, expected: Array) -> float:
    """The least cosine of a vector with the one that was expected, of those that are not zero."""
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(expected, axis=1)
    products = np.einsum("ij,ij->i", vectors, expected)
    return float((products[lengths > 0] / lengths[lengths > 0]).min(initial=1.0))


# What bf16 changes -------------------------------------------------------------------------------


def _recall() -> Iterator[BenchRow]:
    """From files to recall@1, in float32 and in bf16."""
    folder = _test_data()
    weights, photos = folder / _WEIGHTS, folder / "cub127" / "images"
    if not (weights.is_file() and photos.is_dir()):
        note = f"unknown: there are no photos and weights in {folder}; random weights, time only"
        yield from _embedded("glyphs", _BARE, note=note)
        return
    yield from _embedded(f"folder:{photos}?name=cub127", f"file:{weights}?{_OPTIONS}")


def _test_data() -> Path:
    """The folder of real data beside a checkout, or where `OODML_TEST_DATA` says."""
    checkout = shipped("splits").parent
    return (checkout / os.environ.get("OODML_TEST_DATA", "../shared/data")).resolve()


def _embedded(name: str, encoder: str, note: str = "") -> Iterator[BenchRow]:
    data = load_data(name)
    task = f"embed {len(data):,} images of {data.name} from files to vectors"
    found = {}
    for precision in _PRECISIONS:

        def embed(precision: str = precision) -> EmbeddingSet:
            return embed_data(data, encoder, cache=False, precision=precision)

        seconds, found[precision] = timed(embed, repeats=1, warm=False)
        rate = f"{len(data) / seconds:,.1f} images/s"
        yield BenchRow(task, f"oodml, {precision}", seconds, note=rate)
    note = note or _changes(found["float32"], found["bf16"])
    yield BenchRow(task, "change of recall@1 by bf16", None, note=note)


def _changes(exact: EmbeddingSet, rounded: EmbeddingSet) -> str:
    """The largest change of recall@1, over all images and the test sides of 9 splits."""
    sequence = build_splits(exact, partitions=0, controls=0)
    sides = [exact.classes, *(split.test for split in sequence.splits)]
    pairs = [(_recall_at_1(exact, side), _recall_at_1(rounded, side)) for side in sides]
    largest = max(abs(one - other) for one, other in pairs)
    (before, after), *_ = pairs
    return (
        f"largest {largest:.4f}, over all images and the test sides of {len(sides) - 1} splits; of "
        f"all images: float32 {before:.4f}, bf16 {after:.4f}"
    )


def _recall_at_1(vectors: EmbeddingSet, classes: tuple[str, ...]) -> float:
    some = vectors.of(classes)
    return evaluate(some.vectors, some.labels, "recall@1")["recall@1"]
