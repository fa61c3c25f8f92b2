"""Embedding a data set: encode in batches, keep every finished shard."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np

from oodml.data import Dataset, Vectors
from oodml.embed import claims
from oodml.embed.cache import Cache
from oodml.embed.embeddings import EmbeddingSet, write_facts
from oodml.embed.network import Network, set_precision
from oodml.embed.reading import batches
from oodml.embed.reuse import Known, find_known
from oodml.embed.sources import open_encoder
from oodml.embed.spec import Encoder, EncoderSpec
from oodml.embed.worker import Worker, check_place, start_worker
from oodml.errors import DataError

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]
Progress = Callable[[int, int], None]


class Computing(TypedDict, total=False):
    """How vectors are computed: precision (float32, bf16), device (auto, cpu, cuda), batch."""

    precision: str | None
    device: str
    batch: int | None


def embed_data(
    data: Dataset,
    encoder: Encoder | str | None = None,
    *,
    cache: bool = True,
    progress: Progress | None = None,
    **how: Unpack[Computing],
) -> EmbeddingSet:
    """The vectors `(n, dim)` of a data set; with `cache`, the same data are not embedded twice.

    A data set that holds vectors embeds as itself, and takes no encoder. `precision` is float32,
    or bf16 for torch networks, faster and rounded to 3 digits on the way; by default the
    encoder's own. `device` is `auto` (cuda where there is one), `cpu` or `cuda`. `batch` images are
    encoded at once, by default as many as suit the device; too many for its memory are halved.
    `progress(done, total)` is called after every batch. Raises `DataError` naming the image that
    cannot be read, or the encoder that gives no finite vector.
    """
    check_encoder(data, encoder)
    if isinstance(data.source, Vectors):
        return _as_embeddings(data, data.source.vectors, data.content_fingerprint(), None)
    assert encoder is not None
    encoder = open_encoder(encoder) if isinstance(encoder, str) else encoder
    encoder = set_precision(encoder, how.get("precision") or encoder.spec.precision)
    device = how.get("device", "auto")
    check_place(encoder.spec, isinstance(encoder, Network), device)
    fingerprint = data.content_fingerprint()
    if not cache:
        worker = start_worker(encoder, device, how.get("batch"))
        vectors = _in_memory(data, worker, progress)
        return _as_embeddings(data, vectors, fingerprint, encoder.spec)
    kept = Cache.of(encoder.spec, fingerprint, len(data), data.name)
    kept.tidy()
    while (found := kept.vectors()) is None:
        with claims.held(kept.folder / f"process-{secrets.token_hex(8)}.claim"):  # not to be pruned
            _fill(kept, data, start_worker(encoder, device, how.get("batch")), progress)
    embeddings = _as_embeddings(data, found, fingerprint, encoder.spec)
    write_facts(kept.folder, embeddings)
    return embeddings


def check_encoder(data: Dataset, encoder: object) -> None:
    """Raise `DataError` unless there is an encoder where there are images, and none for vectors."""
    if encoder is None and not isinstance(data.source, Vectors):
        raise DataError(
            f"Data set {data.name!r} holds images; name an encoder for them, such as oodml:hog."
        )
    if encoder is not None and isinstance(data.source, Vectors):
        raise DataError(
            f"Data set {data.name!r} holds vectors, which are their own embedding; leave the "
            "encoder out."
        )


def _as_embeddings(
    data: Dataset, vectors: Array, fingerprint: str, spec: EncoderSpec | None
) -> EmbeddingSet:
    return EmbeddingSet(
        dataset=data.name,
        classes=data.classes,
        labels=data.labels,
        ids=data.ids,
        vectors=vectors,
        content_fingerprint=fingerprint,
        encoder=spec,
        groups=data.groups,
        default=data.default,
        roles=data.roles,
        source=_source(spec) if spec else "embeddings",
        terms=data.terms,
    )


def _source(spec: EncoderSpec) -> str:
    """An encoder's name for people, who should see where it rounds."""
    return spec.name if spec.precision == "float32" else f"{spec.name} ({spec.precision})"


def _in_memory(data: Dataset, worker: Worker, progress: Progress | None) -> Array:
    vectors = np.empty((len(data), worker.encoder.spec.dim), np.float32)
    done = 0
    for block in batches(data, worker.encoder, range(len(data)), worker.block):
        vectors[done : done + len(block)] = worker(block)
        done += len(block)
        if progress:
            progress(done, len(data))
    return vectors


# Filling the cache -------------------------------------------------------------------------------


def _fill(cache: Cache, data: Dataset, worker: Worker, progress: Progress | None) -> None:
    """Embed what is missing; several processes may, each takes shards that no other works on."""
    filling = _Filling(cache, data, worker, find_known(cache, data))
    looks = 0
    try:
        while cache.vectors() is None:
            if missing := cache.missing():
                before = sum(len(cache.ranges()[shard]) for shard in missing)
                if not filling.work(missing, len(data) - before, progress):
                    # Others are at work on all that is left.
                    looks = claims.wait(cache.claim(missing[0]), looks)
            else:
                cache.tidy()
                cache.seal()
    finally:
        filling.release()


@dataclass(slots=True)
class _Piece:
    """Some rows of a shard that are to be encoded, and whether they are its last ones.

    With it, `count` rows are done: those, and with the last ones those that were known.
    """

    shard: int
    out: Array
    places: Array
    block: torch.Tensor | None
    last: bool
    count: int


@dataclass(slots=True)
class _Filling:
    """One process at work on a cache."""

    cache: Cache
    data: Dataset
    worker: Worker
    known: Known
    held: set[Path] = field(default_factory=set)

    def work(self, missing: list[int], done: int, progress: Progress | None) -> bool:
        """Fill those shards of the missing that no other works on; whether there were any."""
        worked = False
        with closing(self._pieces(missing)) as made, closing(_ahead(made)) as pieces:
            for piece in pieces:
                worked = True
                if piece.block is not None:
                    piece.out[piece.places] = self.worker(piece.block)
                done += piece.count
                if progress:
                    progress(done, len(self.data))
                if piece.last:
                    self.cache.put(piece.shard, piece.out)
                    self._give_back(self.cache.claim(piece.shard))
        return worked

    def _pieces(self, missing: list[int]) -> Generator[_Piece, None, None]:
        ranges = self.cache.ranges()
        for shard in missing:
            if not self._take(self.cache.claim(shard)):
                continue
            if self.cache.has(shard):
                self._give_back(self.cache.claim(shard))
                continue
            rows = ranges[shard]
            out = np.empty((len(rows), self.cache.dim), np.float32)
            left = self.known.fill(rows, out)
            if not left:
                yield _Piece(shard, out, np.arange(0), None, last=True, count=len(rows))
            at, known = 0, len(rows) - len(left)
            encoder, size = self.worker.encoder, self.worker.block
            for block in batches(self.data, encoder, left, size) if left else ():
                places = np.array(left[at : at + len(block)]) - rows.start
                at += len(block)
                last = at == len(left)
                yield _Piece(shard, out, places, block, last, len(block) + known * last)

    def _take(self, claim: Path) -> bool:
        if claims.take(claim):
            self.held.add(claim)
            return True
        return False

    def _give_back(self, claim: Path) -> None:
        claims.release(claim)
        self.held.discard(claim)

    def release(self) -> None:
        for claim in list(self.held):
            self._give_back(claim)


def _ahead(pieces: Iterator[_Piece]) -> Generator[_Piece, None, None]:
    """The same, each made in a thread while the one before is used: reading does not wait."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, pieces, None)
        while (piece := coming.result()) is not None:
            coming = reader.submit(next, pieces, None)
            yield piece
