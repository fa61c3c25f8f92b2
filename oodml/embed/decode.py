"""Images as arrays: by torchvision's decoder where that gives what Pillow gives, else by Pillow.

Both decode JPEGs with libjpeg-turbo; torchvision's way has fewer copies. Whether a file is one of
the plain ones that it may have is Pillow's word, and where it fails, Pillow is asked again, so that
damage is found and named as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from oodml.data.dataset import Dataset, Files
from oodml.data.images import Picture, mode_of_plain_jpeg, open_image, read_image

Array = np.ndarray[Any, Any]
Decoder = Callable[..., Any]
_MODES = {"L": 1, "RGB": 3}  # as the decoder numbers them


def image_pixels(data: Dataset, index: int, mode: str) -> Array:
    """Image `index` in mode L or RGB, as `(h, w, c)` uint8; c may be 1 where RGB would be grey."""
    if isinstance(data.source, Files):
        path = data.source.root / data.ids[index]
        found = _fast(path, mode)
        return _array(open_image(path), mode) if found is None else found
    return _array(read_image(data, index), mode)


def _array(image: Picture, mode: str) -> Array:
    """In the mode asked for, except that grey is not repeated."""
    pixels = np.array(image if image.mode == "L" else image.convert(mode))
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _fast(path: Path, mode: str) -> Array | None:
    """The pixels of a plain JPEG; None where Pillow has to see to it."""
    import torch

    decode = _decoder()
    if decode is None:
        return None
    try:
        content = bytearray(path.read_bytes())
        found = mode_of_plain_jpeg(content)
        if found is None or (found, mode) == ("RGB", "L"):  # Pillow's brightness is its own
            return None
        image = decode(torch.frombuffer(content, dtype=torch.uint8), _MODES[found])
    except (OSError, RuntimeError):
        return None
    pixels: Array = image.permute(1, 2, 0).numpy()
    return pixels


@cache
def _decoder() -> Decoder | None:
    """torchvision's JPEG decoder, where this one still has it.

    The operator itself: the function around it warns at every call, from 0.29 on, that torchvision
    will drop it.
    """
    import torch
    import torchvision  # noqa: F401  (loads the operators)

    try:
        decoder: Decoder = torch.ops.image.decode_jpeg.default
    except (AttributeError, RuntimeError):
        return None
    return decoder
