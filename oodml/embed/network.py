"""A torch module as an encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from oodml.embed.images import shape_image
from oodml.embed.spec import EncoderSpec

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL.Image import Image


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A torch module on normalised images."""

    spec: EncoderSpec
    module: torch.nn.Module

    def transform(self, image: Image) -> np.ndarray[Any, Any]:
        return shape_image(image, self.spec)

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        import torch

        with torch.inference_mode():
            vectors: torch.Tensor = self.module(self.normalised(batch))
            return vectors

    def normalised(self, batch: torch.Tensor) -> torch.Tensor:
        """`(b, 3, size, size)` uint8 as the float32 input of the module."""
        import torch

        mean = torch.tensor(self.spec.mean, device=batch.device).view(1, -1, 1, 1)
        std = torch.tensor(self.spec.std, device=batch.device).view(1, -1, 1, 1)
        scaled = (batch.float() / 255 - mean) / std
        return scaled.contiguous(memory_format=torch.channels_last)
