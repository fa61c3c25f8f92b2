"""Embedding a data set: encode in batches, keep every finished shard."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from oodml.data import Dataset, Vectors
from oodml.embed.cache import Shards
from oodml.embed.embeddings import EmbeddingSet
from oodml.embed.reading import batches
from oodml.embed.sources import open_encoder
from oodml.embed.spec import Encoder, EncoderSpec
from oodml.errors import DataError

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]
Progress = Callable[[int, int], None]
# On a CPU larger batches are slower: their activations leave the caches (measured: MobileNetV2 93
# images/s at 8 and 49 at 64, ResNet-50 24 and 16, at 224 x 224 on 2 cores).
PIXELS_A_BATCH = 8 * 224 * 224
LARGEST_BATCH = 256


def embed_data(
    data: Dataset,
    encoder: Encoder | str | None = None,
    *,
    batch: int | None = None,
    cache: bool = True,
    progress: Progress | None = None,
) -> EmbeddingSet:
    """The vectors `(n, dim)` of a data set; with `cache`, no image is embedded twice.

    A data set that holds vectors embeds as itself, and takes no encoder.
    `batch` images are encoded at once; by default as many as make 8 of 224 x 224.
    `progress(done, total)` is called after every batch. Raises `DataError` naming the image that
    cannot be read, or the encoder that gives no finite vector.
    """
    check_encoder(data, encoder)
    if isinstance(data.source, Vectors):
        return _as_embeddings(data, data.source.vectors, data.content_fingerprint(), None)
    assert encoder is not None
    encoder = open_encoder(encoder) if isinstance(encoder, str) else encoder
    fingerprint = data.content_fingerprint()
    shards = Shards.of(encoder.spec, fingerprint, len(data), keep=cache)
    if not shards.complete():
        batch = batch or min(
            LARGEST_BATCH, max(1, PIXELS_A_BATCH // max(1, encoder.spec.size) ** 2)
        )
        _fill(shards, data, encoder, batch, progress)
    return _as_embeddings(data, shards.join(), fingerprint, encoder.spec)


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
        source=spec.name if spec else "embeddings",
        terms=data.terms,
    )


def _fill(
    shards: Shards, data: Dataset, encoder: Encoder, batch: int, progress: Progress | None
) -> None:
    done = 0
    for shard, rows in enumerate(shards.ranges()):
        if not shards.has(shard):
            vectors = []
            for block in batches(data, encoder, rows, batch):
                vectors.append(_encode(encoder, block))
                if progress:
                    progress(done + sum(map(len, vectors)), len(data))
            shards.put(shard, np.concatenate(vectors))
        done += len(rows)
        if progress:
            progress(done, len(data))


def _encode(encoder: Encoder, block: torch.Tensor) -> Array:
    import torch

    with torch.inference_mode():
        vectors = encoder(block).float().cpu().numpy()
    expected = (len(block), encoder.spec.dim)
    if vectors.shape != expected or not np.isfinite(vectors).all():
        raise DataError(
            f"Encoder {encoder.spec.name!r} gave vectors of shape {vectors.shape}"
            f"{' with NaN or infinity' if vectors.shape == expected else ''}; expected finite "
            f"{expected}."
        )
    return vectors
