"""Images as batches, read in threads ahead of the encoder."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from oodml.data import Dataset
from oodml.data.images import read_image
from oodml.embed.decode import image_pixels
from oodml.embed.images import SpecTransform, frame_of, shape_image
from oodml.embed.resize import Rows, resize_into, rows_for
from oodml.embed.spec import Encoder, EncoderSpec

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]
READING = 2  # the version of how an image becomes an encoder's input; 1 was Pillow for every image
_SMALL = 1 << 14  # pixels before and after, below which Pillow is as fast


def batches(
    data: Dataset, encoder: Encoder, rows: Sequence[int], batch: int
) -> Iterator[torch.Tensor]:
    """Batches of uint8 images; the next ones are read while this one is encoded.

    Where the transform is a `SpecTransform`, no grey level differs by more than 1 from that of
    Pillow; any other is called with the picture.
    """
    plain = isinstance(encoder.transform, SpecTransform)
    begin = _shaped if plain else _transformed
    ahead = 2 * reader_threads()
    pending: deque[Callable[[], torch.Tensor]] = deque()
    with reader_pool() as pool:
        for start in range(0, len(rows), batch):
            pending.append(begin(pool, data, encoder, rows[start : start + batch]))
            if (len(pending) - 1) * batch >= ahead:
                yield pending.popleft()()
        while pending:
            yield pending.popleft()()


@contextmanager
def reader_pool() -> Iterator[ThreadPoolExecutor]:
    """Threads that read images, in each of which torch works alone."""
    import torch

    # What one thread sets is also where threads that have not used torch yet begin.
    own = torch.get_num_threads()
    pool = ThreadPoolExecutor(reader_threads(), initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(own)


def reader_threads() -> int:
    """How many images are read at once: one on every core that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _transformed(
    pool: ThreadPoolExecutor, data: Dataset, encoder: Encoder, rows: Sequence[int]
) -> Callable[[], torch.Tensor]:
    """Begin a batch of an encoder with a transform of its own; the result waits for its end."""
    import torch

    def load(row: int) -> Array:
        return encoder.transform(read_image(data, row))

    pending = [pool.submit(load, row) for row in rows]
    return lambda: torch.from_numpy(np.stack([future.result() for future in pending]))


def _shaped(
    pool: ThreadPoolExecutor, data: Dataset, encoder: Encoder, rows: Sequence[int]
) -> Callable[[], torch.Tensor]:
    """Begin a batch, `(b, channels, size, size)`, in which every reader fills its own place."""
    import torch

    spec = encoder.spec
    fast = rows_for(len(data))
    channels = 1 if spec.mode == "L" else 3
    images = np.empty((len(rows), spec.size, spec.size, channels), np.uint8)
    pending: list[Future[None]] = [
        pool.submit(read_into, out, data, row, spec, fast)
        for out, row in zip(images, rows, strict=True)
    ]

    def finish() -> torch.Tensor:
        for future in pending:
            future.result()
        return torch.from_numpy(images).permute(0, 3, 1, 2)

    return finish


def read_into(out: Array, data: Dataset, row: int, spec: EncoderSpec, fast: Rows) -> None:
    """Fill `out` `(size, size, channels)` with image `row` as the spec wants it."""
    if spec.interpolation != "bilinear":
        out[:] = shape_image(read_image(data, row), spec).transpose(1, 2, 0)
        return
    pixels = image_pixels(data, row, spec.mode)
    height, width = pixels.shape[:2]
    frame = frame_of((width, height), spec)
    inside = min(frame.left, frame.top) >= 0  # else there is a margin, which Pillow fills
    if inside and height * width + out[..., 0].size >= _SMALL:
        resize_into(out, pixels, frame, fast)
    else:
        image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        out[:] = shape_image(image, spec).transpose(1, 2, 0)
