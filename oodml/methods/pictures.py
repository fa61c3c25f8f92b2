"""Pictures for training: those of some rows of a data set, and of no others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from oodml.data import Dataset
from oodml.embed.reading import batches
from oodml.embed.spec import Encoder

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]
Read = Callable[[int], Array]


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """n images by their places 0 to n - 1: as crops for training, or as they are scored.

    `read(place)` gives one as `(h, w, 3)` uint8, `scored(batch)` all of them in batches of
    `(b, 3, size, size)` uint8.
    """

    n: int
    size: int
    read: Read
    scored: Callable[[int], Iterator[torch.Tensor]]

    def __len__(self) -> int:
        return self.n

    def augmented(self, places: Array, *, seed: int, step: int, first: int = 0) -> torch.Tensor:
        """Random resized crops of the images at `places`, half of them mirrored: `(b, 3, s, s)`.

        A function of seed, step and the place in the batch, which begins at `first`.
        """
        from oodml.embed.augment import training_crops
        from oodml.embed.reading import reader_pool

        with reader_pool() as pool:
            images = list(pool.map(self.read, places.tolist()))
        crops: torch.Tensor = training_crops(images, self.size, seed=seed, step=step, first=first)
        return crops


def pictures_of(data: Dataset, rows: Array, encoder: Encoder, read: Read) -> Pictures:
    """The images of these rows of a data set; `read` takes rows of the data set."""
    own = np.array(rows)

    def place(at: int) -> Array:
        return read(int(own[at]))

    def scored(batch: int) -> Iterator[torch.Tensor]:
        return batches(data, encoder, own.tolist(), batch)

    return Pictures(len(own), encoder.spec.size, place, scored)
