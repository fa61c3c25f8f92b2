"""What an image looks like in few numbers, so that two can be compared."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

Array = np.ndarray[Any, Any]
SIDE = 64  # pixels of a thumbnail
_CELLS, _FIELDS = 16, 4  # a side, of a sketch
_FAINTEST = 1.0  # grey levels, root mean square: with less, there is nothing to recognise


def thumbnail(image: Image.Image) -> Array:
    """The image squeezed into a square, `(SIDE, SIDE, 3)` uint8."""
    size = (SIDE, SIDE)
    return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BOX))


def sketch(pixels: Array) -> Array:
    """The outline of a thumbnail: `(256,)` float32 of length 1; 0 where it shows next to nothing.

    16 x 16 grey levels less the mean of each of 4 x 4 fields: those means are much alike in all
    photos of dark things on white ground, what is left is not.
    """
    part = SIDE // _CELLS
    cells = pixels.reshape(_CELLS, part, _CELLS, part, 3).mean(axis=(1, 3, 4))
    part = _CELLS // _FIELDS
    fields = cells.reshape(_FIELDS, part, _FIELDS, part)
    rest = (fields - fields.mean(axis=(1, 3), keepdims=True)).ravel()
    length = float(np.linalg.norm(rest))
    faint = length < _FAINTEST * _CELLS
    return np.zeros(rest.shape, np.float32) if faint else (rest / length).astype(np.float32)


def likeness(one: Array, other: Array) -> float:
    """How much two thumbnails are alike: the correlation of sketches or pixels that is smaller.

    It is rounded to what float32 can tell, so that equal pictures are alike by 1.
    """
    return round(min(float(sketch(one) @ sketch(other)), _correlation(one, other)), 6)


def _correlation(one: Array, other: Array) -> float:
    """Pearson's, of all pixels; 0 where one is of one brightness."""
    x, y = (pixels.astype(np.float64).ravel() - pixels.mean() for pixels in (one, other))
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale else 0.0
