"""Encoders of feature vectors: nothing at all, or one linear layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oodml.embed import EncoderSpec

if TYPE_CHECKING:
    import torch


def vectors_spec(dim: int, head: str = "", *, out: int | None = None) -> EncoderSpec:
    """The spec of an encoder on bare vectors: arch `vectors:1280` or `vectors:1280+linear:512`."""
    arch = f"vectors:{dim}{head}"
    return EncoderSpec(name=arch, arch=arch, dim=out or dim, size=0, mode="")


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """The vectors as they are."""

    spec: EncoderSpec

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        return batch

    def state(self) -> Mapping[str, torch.Tensor]:
        return {}


@dataclass(frozen=True, slots=True, eq=False)
class LinearHead:
    """`x -> x W^T + b` with W `(dim, d)`."""

    spec: EncoderSpec
    weight: torch.Tensor
    bias: torch.Tensor

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        import torch

        return torch.nn.functional.linear(batch, self.weight, self.bias)

    def state(self) -> Mapping[str, torch.Tensor]:
        return {"head.weight": self.weight, "head.bias": self.bias}
