"""scikit-learn's handwritten digits: 1,797 real images of 8x8 pixels, which need no download."""

from __future__ import annotations

import numpy as np

from oodml.data.dataset import Dataset, Pixels


def load_digits() -> Dataset:
    """The 1,797 images (n, 8, 8), grey, with the classes "0" to "9"."""
    from sklearn import datasets

    bunch = datasets.load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)  # they come as 0 to 16
    return Dataset(
        name="digits",
        classes=tuple(str(digit) for digit in range(10)),
        labels=bunch.target,
        ids=tuple(f"digit-{index:04d}" for index in range(len(images))),
        source=Pixels(images),
    )
