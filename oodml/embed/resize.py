"""Resizing faster than Pillow, and within one grey level of it at every pixel.

Pillow resizes along one axis, rounds to whole grey levels, and goes on along the other. torch does
the same several times as fast, with weights of 14 bits or a few more in place of 22, so that a
value near the middle between two levels is rounded the other way now and then. An image is then off
by at most 1 after one axis and by at most 2 after both: where 192 pixels become 224, that is so in
a few pixels of most photographs. So the columns are torch's here, and the rows are what Pillow
makes of them: by itself, which is quickest on grey, so that it gets `w` colours as `3 * w` grey
pixels; or, with the extra `fast`, by the same integers in a compiled loop. The weights of bilinear
resizing are positive and sum up to 1, which carries an error of 1 no further. Those of the other
ways do not; they are left to Pillow.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import numpy as np
from PIL import Image

from oodml.embed.images import FILTERS, Frame

Array = np.ndarray[Any, Any]
Rows = Callable[[Array, int], Array]
_BITS = 22  # of Pillow's weights
WORTH_COMPILING = 5000  # images; below, compiling takes longer than it saves


def resize_into(out: Array, pixels: Array, frame: Frame, rows: Rows) -> None:
    """Fill `out` (h, w, c) with that part of `pixels` (H, W, c), resized bilinearly.

    `frame` is the size of the whole and the corner of the part; `rows` is one of the two ways that
    `rows_for` chooses from. All are uint8, and writeable.
    """
    down = slice(frame.top, frame.top + out.shape[0])
    across = slice(frame.left, frame.left + out.shape[1])
    if rows_come_first(pixels.shape[:2], frame):
        out[:] = _columns(_rows(pixels, frame.height, rows)[down], frame.width)[:, across]
    else:
        out[:] = _rows(_columns(pixels, frame.width)[:, across], frame.height, rows)[down]


def _rows(pixels: Array, height: int, rows: Rows) -> Array:
    """`pixels` (H, w, c) as `(height, w, c)`."""
    if len(pixels) == height:
        return pixels
    return rows(pixels.reshape(len(pixels), -1), height).reshape(height, *pixels.shape[1:])


def rows_for(images: int) -> Rows:
    """What makes `(height, n)` of `(H, n)`, when so many images are to come."""
    if images < WORTH_COMPILING or importlib.util.find_spec("numba") is None:
        return rows_by_pillow
    _compiled()  # here, once, and not in many threads
    return rows_by_numba


def rows_by_pillow(flat: Array, height: int) -> Array:
    size = (flat.shape[1], height)
    return np.array(Image.fromarray(flat).resize(size, FILTERS["bilinear"]))


def rows_by_numba(flat: Array, height: int) -> Array:
    out = np.empty((height, flat.shape[1]), np.uint8)
    total = np.empty(flat.shape[1], np.int32)
    _compiled()(out, np.ascontiguousarray(flat), *taps(len(flat), height), total)
    return out


@cache
def _compiled() -> Callable[..., None]:
    import numba

    images, whole = numba.uint8[:, ::1], numba.int32[:, ::1]
    signature = numba.void(images, images, whole, whole, numba.int32[::1])
    compiled: Callable[..., None] = numba.njit(signature, nogil=True)(_mix)
    return compiled


def _mix(out: Array, flat: Array, rows: Array, weights: Array, total: Array) -> None:
    """Row i of `out` is the sum of `flat[rows[i, t]] * weights[i, t]`; `total` is for its sums."""
    for i in range(out.shape[0]):
        for x in range(out.shape[1]):
            total[x] = 1 << (_BITS - 1)
        for t in range(rows.shape[1]):
            row, weight = rows[i, t], weights[i, t]
            if weight != 0:
                for x in range(out.shape[1]):
                    total[x] += np.int32(flat[row, x]) * weight
        for x in range(out.shape[1]):
            out[i, x] = total[x] >> _BITS


@lru_cache(maxsize=256)
def taps(before: int, after: int) -> tuple[Array, Array]:
    """Which rows make a row, and how much of each: `(after, t)` int32 indices and weights.

    A triangle, as wide as two pixels of the smaller image, stands over the middle of each new row;
    its values at the middles of the old ones, over their sum, are the weights, in units of 2^-22.
    """
    scale = before / after
    reach = max(scale, 1.0)
    middle = (np.arange(after) + 0.5) * scale
    start = np.maximum((middle - reach + 0.5).astype(np.int64), 0)
    stop = np.minimum((middle + reach + 0.5).astype(np.int64), before)
    rows = start[:, None] + np.arange((stop - start).max())
    values = 1 - np.abs(rows - middle[:, None] + 0.5) * (1 / reach)
    values = np.where(rows < stop[:, None], np.maximum(values, 0), 0)
    values /= sum(values.T, np.zeros(after))[:, None]
    weights = (0.5 + values * (1 << _BITS)).astype(np.int32)
    return np.minimum(rows, before - 1).astype(np.int32), weights  # those beyond weigh nothing


def _columns(pixels: Array, width: int) -> Array:
    """`pixels` (h, W, c) as `(h, width, c)`, by torch."""
    import torch

    if pixels.shape[1] == width:
        return pixels
    # By strides that torch takes for channels_last, so that its result is (h, width, c) in memory.
    image = torch.from_numpy(pixels).unsqueeze(0).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(
        image, size=(len(pixels), width), mode="bilinear", antialias=True
    )
    found: Array = resized.permute(0, 2, 3, 1)[0].numpy()
    return found


def rows_come_first(size: tuple[int, ...], frame: Frame) -> bool:
    """Whether Pillow begins with the rows: from 13 on, where the height falls far more."""
    fall, narrowing = size[0] - frame.height, size[1] - frame.width
    return _chooses_an_axis() and fall > 0 and fall > 2 * narrowing


@cache
def _chooses_an_axis() -> bool:
    black_and_white = np.random.default_rng(0).integers(0, 2, (64, 16), np.uint8) * 255
    image, resampling = Image.fromarray(black_and_white), FILTERS["bicubic"]
    in_turn = image.resize((16, 24), resampling).resize((12, 24), resampling)
    return in_turn.tobytes() == image.resize((12, 24), resampling).tobytes()
