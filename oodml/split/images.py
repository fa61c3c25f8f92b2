"""The images of one side of a split, for a training loop of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch

from oodml.data import Dataset, Vectors
from oodml.data.images import read_image
from oodml.errors import SplitError
from oodml.split.sequence import Split

Side = Literal["train", "val", "test", "train side"]


class SplitImages(torch.utils.data.Dataset[tuple[Any, int]]):
    """A torch `Dataset` of `(image, label)`; labels count the side's classes in name order.

    The image is a PIL image in mode L or RGB, or what `transform` makes of it; for a data set of
    vectors it is the vector.
    """

    def __init__(
        self, data: Dataset, classes: tuple[str, ...], transform: Callable[[Any], Any] | None
    ) -> None:
        index = {name: row for row, name in enumerate(data.classes)}
        if missing := [name for name in classes if name not in index]:
            raise SplitError(
                f"{len(missing)} of {len(classes)} classes are not in {data.name!r}, such as "
                f"{missing[0]!r}; use the data set that the split was made for."
            )
        place = np.full(len(data.classes), -1)
        place[[index[name] for name in classes]] = np.arange(len(classes))
        self.data = data
        self.classes = classes
        self.rows = np.flatnonzero(place[data.labels] >= 0)
        self.labels = place[data.labels[self.rows]]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: int) -> tuple[Any, int]:
        row = int(self.rows[item])
        source = self.data.source
        image: Any = (
            source.vectors[row] if isinstance(source, Vectors) else read_image(self.data, row)
        )
        return self.transform(image) if self.transform else image, int(self.labels[item])


def subset(
    data: Dataset, split: Split, side: Side, *, transform: Callable[[Any], Any] | None = None
) -> SplitImages:
    """The images of `train`, `val`, `test`, or of the `train side` (train and val together)."""
    names = {"train": split.train, "val": split.val, "test": split.test}
    names["train side"] = split.train_side
    if side not in names:
        raise ValueError(f"Side is {side!r}; expected one of {', '.join(names)}.")
    return SplitImages(data, names[side], transform)
