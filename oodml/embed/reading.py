"""Images as batches, read in threads ahead of the encoder."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from oodml.data import Dataset
from oodml.data.images import read_image
from oodml.embed.spec import Encoder

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]
READING = 2  # the version of how an image becomes an encoder's input; 1 was Pillow for every image
_READERS = 4


def batches(data: Dataset, encoder: Encoder, rows: range, batch: int) -> Iterator[torch.Tensor]:
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
