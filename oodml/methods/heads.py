"""Encoders of feature vectors: nothing at all, or one linear layer; and the file of one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodml.embed import EncoderSpec
from oodml.errors import WeightsError
from oodml.store import replacing

if TYPE_CHECKING:
    import torch

    from oodml.methods.method import FeatureEncoder

_LINEAR = re.compile(r"vectors:(?P<d>[1-9][0-9]*)\+linear:(?P<dim>[1-9][0-9]*)")


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

    @classmethod
    def of(cls, weight: torch.Tensor, bias: torch.Tensor) -> LinearHead:
        """The head of these weights, with the arch that they have."""
        dim, d = weight.shape
        return cls(vectors_spec(d, f"+linear:{dim}", out=dim), weight, bias)

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        import torch

        return torch.nn.functional.linear(batch, self.weight, self.bias)

    def state(self) -> Mapping[str, torch.Tensor]:
        return {"head.weight": self.weight, "head.bias": self.bias}


# Files -------------------------------------------------------------------------------------------


def write_head(path: Path, encoder: FeatureEncoder) -> None:
    """Write the weights as safetensors, atomically, with the arch in their metadata."""
    from safetensors.torch import save_file

    state = {key: value.detach().cpu().contiguous() for key, value in encoder.state().items()}
    with replacing(path) as temporary:
        save_file(state, temporary, metadata={"arch": encoder.spec.arch})


def read_head(path: Path, d: int) -> LinearHead:
    """The linear layer of a file that `write_head` wrote, for vectors `(n, d)`.

    Raises `WeightsError` where arch, names, types or shapes of the tensors are not exactly those of
    such a layer, or a weight is not finite.
    """
    arch, state = _read(path)
    match = _LINEAR.fullmatch(arch)
    if match is None or int(match["d"]) != d:
        raise WeightsError(f"{path} has arch {arch!r}; expected vectors:{d}+linear:DIM.")
    dim = int(match["dim"])
    expected = {"head.weight": ("float32", (dim, d)), "head.bias": ("float32", (dim,))}
    found = {
        key: (str(value.dtype).removeprefix("torch."), tuple(value.shape))
        for key, value in state.items()
    }
    if found != expected:
        raise WeightsError(f"{path} holds {found}; expected {expected}, as its arch says.")
    if not all(value.isfinite().all() for value in state.values()):
        raise WeightsError(f"{path} holds weights that are not finite; expected finite ones only.")
    # Copies: the file is mapped into memory, and may be replaced.
    return LinearHead.of(state["head.weight"].clone(), state["head.bias"].clone())


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    """The arch and the tensors of a safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return (file.metadata() or {}).get("arch", ""), state
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} cannot be read as safetensors: {error}.") from None
