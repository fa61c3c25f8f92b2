"""Images as batches, read in threads ahead of the encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from oodml.data import Dataset
from oodml.data.images import read_image
from oodml.embed.spec import Encoder

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]
READING = 1  # the version of how pixels are read: vectors of another one are not reused
_READERS = 4


def batches(
    data: Dataset, encoder: Encoder, rows: Sequence[int], batch: int
) -> Iterator[torch.Tensor]:
    """Batches of uint8 images; the next one is read while this one is encoded."""
    import torch

    def load(row: int) -> Array:
        return encoder.transform(read_image(data, row))

    with ThreadPoolExecutor(_READERS) as readers:
        pending = [readers.submit(load, row) for row in rows[:batch]]
        for start in range(batch, len(rows) + batch, batch):
            ahead = [readers.submit(load, row) for row in rows[start : start + batch]]
            yield torch.from_numpy(np.stack([future.result() for future in pending]))
            pending = ahead
