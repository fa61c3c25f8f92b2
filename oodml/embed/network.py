"""A torch module as an encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oodml.embed.images import SpecTransform
from oodml.embed.spec import EncoderSpec

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A torch module on normalised images."""

    spec: EncoderSpec
    module: torch.nn.Module

    @property
    def transform(self) -> SpecTransform:
        return SpecTransform(self.spec)

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
