"""An encoder at work: on a device, in batches that fit its memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from oodml.embed.device import find_device, in_threads
from oodml.embed.network import Network
from oodml.embed.spec import Encoder, EncoderSpec
from oodml.errors import DataError, RunError, UnknownNameError

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]
# On a CPU larger batches are slower: their activations leave the caches (measured: MobileNetV2 93
# images/s at 8 and 49 at 64, ResNet-50 24 and 16, at 224 x 224 on 2 cores; in bf16 134 and 67, 52
# and 10).
PIXELS_A_BATCH = 8 * 224 * 224
LARGEST_BATCH = 256
# What an image takes on a GPU, in float32 copies of its input: a guess on the high side, since a
# batch that is too large is halved anyway.
_COPIES = 64
_BATCHES_A_CORE = 4


@dataclass(slots=True)
class Worker:
    """Encodes batches of at most `most` images at once, halved whenever memory runs out.

    `shared`: a batch on every core of the CPU rather than all cores on one batch, which is about as
    fast on an idle machine and 3 to 5 times on a busy one, where cores wait for each other.
    """

    encoder: Encoder
    most: int
    shared: bool = False

    @property
    def block(self) -> int:
        """How many images it takes at a time, to have enough batches for all cores."""
        import torch

        return self.most * (_BATCHES_A_CORE * torch.get_num_threads() if self.shared else 1)

    def __call__(self, block: torch.Tensor) -> Array:
        """`(b, channels, size, size)` uint8 as `(b, dim)` float32 vectors.

        Raises `RunError` where not even one image fits, `DataError` where the encoder gives no
        finite vectors of its dimension.
        """
        import torch

        while True:
            try:
                return np.concatenate(list(self._parts(block)))
            except RuntimeError as error:
                if not _is_of_memory(error):
                    raise
                if min(self.most, len(block)) == 1:
                    spec = self.encoder.spec
                    raise RunError(
                        f"Not even one image of {spec.size} x {spec.size} pixels fits the memory "
                        f"that is free with {spec.name!r}; end what else takes memory, or choose "
                        "a smaller size, a smaller encoder or another device."
                    ) from None
                self.most = min(self.most, len(block)) // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _parts(self, block: torch.Tensor) -> Iterator[Array]:
        work = partial(_encode, self.encoder)
        parts = block.split(self.most)
        return in_threads(work, parts, "cpu") if self.shared else map(work, parts)


def _is_of_memory(error: RuntimeError) -> bool:
    """Whether torch, or a library under it, has run out of memory."""
    import torch

    signs = ("out of memory", "ALLOC_FAILED", "can't allocate memory")
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in signs)


def start_worker(encoder: Encoder, device: str, batch: int | None) -> Worker:
    """An encoder on a device, with batches of `batch` images, by default as many as suit it.

    Only torch networks can be put on a device; others compute where they like.
    """
    device = check_place(encoder.spec, isinstance(encoder, Network), device)
    if isinstance(encoder, Network):
        encoder = encoder.prepared(device)
    shared = isinstance(encoder, Network) and device == "cpu"
    return Worker(encoder, batch or _fitting(encoder.spec.size, device), shared)


def check_place(spec: EncoderSpec, moves: bool, device: str) -> str:  # noqa: FBT001
    """The device of a name, for an encoder that can be moved or not."""
    if not moves and device not in ("auto", "cpu"):
        raise UnknownNameError(
            f"Encoder {spec.name!r} is no torch network and cannot be put on {device!r}; leave the "
            "device out."
        )
    return find_device(device) if moves else "cpu"


def _fitting(size: int, device: str) -> int:
    """How many images of `size` x `size` are encoded at once."""
    import torch

    pixels = max(1, size) ** 2
    most = PIXELS_A_BATCH // pixels
    if device.startswith("cuda"):
        free = torch.cuda.mem_get_info(device)[0]
        most = free // (_COPIES * 3 * 4 * pixels)
    return min(LARGEST_BATCH, max(1, most))


def _encode(encoder: Encoder, block: torch.Tensor) -> Array:
    import torch

    with torch.inference_mode():
        vectors: Array = encoder(block).float().cpu().numpy()
    expected = (len(block), encoder.spec.dim)
    if vectors.shape != expected or not np.isfinite(vectors).all():
        raise DataError(
            f"Encoder {encoder.spec.name!r} gave vectors of shape {vectors.shape}"
            f"{' with NaN or infinity' if vectors.shape == expected else ''}; expected finite "
            f"{expected}."
        )
    return vectors
