"""Encoders of feature vectors: nothing at all, or a head of one or two layers; and its file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodml.embed import EncoderSpec
from oodml.errors import WeightsError
from oodml.store import replacing

if TYPE_CHECKING:
    import torch

    from oodml.embed.network import Network
    from oodml.methods.method import FeatureEncoder

_HEAD = re.compile(
    r"[^+]+\+(?:linear:(?P<dim>[1-9]\d*)|mlp:(?P<hidden>[1-9]\d*)-(?P<out>[1-9]\d*))"
)
Layers = tuple[tuple["torch.Tensor", "torch.Tensor"], ...]


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
class Head:
    """`x -> x W^T + b` with W `(dim, d)`, or two of these with a ReLU between."""

    spec: EncoderSpec
    layers: Layers

    @classmethod
    def of(cls, *layers: tuple[torch.Tensor, torch.Tensor]) -> Head:
        """The head of these weights and biases, with the arch that they have."""
        d, dim = layers[0][0].shape[1], layers[-1][0].shape[0]
        return cls(vectors_spec(d, head_arch([w.shape[0] for w, _ in layers]), out=dim), layers)

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        import torch

        first, *others = self.layers
        found = torch.nn.functional.linear(batch, *first)
        for layer in others:
            found = torch.nn.functional.linear(torch.relu(found), *layer)
        return found

    def state(self) -> Mapping[str, torch.Tensor]:
        names = layer_names(len(self.layers))
        pairs = zip(names, self.layers, strict=True)
        return {
            f"{name}.{what}": value
            for name, layer in pairs
            for what, value in zip(("weight", "bias"), layer, strict=True)
        }


def with_head(network: Network, head: Head) -> Network:
    """The network with the head on its vectors, sharing the network's weights.

    It has no identity of its own until it is a file: its `weights` are None.
    """
    import torch

    from oodml.embed.network import Network
    from oodml.embed.trained import build_head, join_head

    arch = head.spec.arch.partition("+")[2]
    module = build_head(network.spec.dim, arch).requires_grad_(requires_grad=False)
    state = {key.removeprefix("head."): value for key, value in head.state().items()}
    module.load_state_dict(state)
    device = next(iter(network.module.parameters()), torch.empty(0)).device
    name, whole = f"{network.spec.name}+{arch}", f"{network.spec.arch}+{arch}"
    spec = replace(network.spec, name=name, arch=whole, dim=head.spec.dim, weights=None)
    whole_module = join_head(network.module, module.to(device)).eval()
    return Network(spec, whole_module, str(device))


def parts_of(network: Network) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Backbone and head of what `with_head` made."""
    return network.module.get_submodule("backbone"), network.module.get_submodule("head")


def head_arch(widths: Sequence[int]) -> str:
    """`+linear:512` for one layer, `+mlp:1024-512` for two."""
    kind = "linear" if len(widths) == 1 else "mlp"
    return f"+{kind}:{'-'.join(map(str, widths))}"


def layer_names(layers: int) -> list[str]:
    """The names of the layers in a file: those of a `torch.nn.Sequential` where there are two."""
    return ["head"] if layers == 1 else [f"head.{2 * at}" for at in range(layers)]


# Files -------------------------------------------------------------------------------------------


def write_head(path: Path, encoder: FeatureEncoder) -> None:
    """Write the weights as safetensors, atomically, with the arch in their metadata."""
    from safetensors.torch import save_file

    state = {key: value.detach().cpu().contiguous() for key, value in encoder.state().items()}
    with replacing(path) as temporary:
        save_file(state, temporary, metadata={"arch": encoder.spec.arch})


def read_head(path: Path, d: int) -> Head:
    """The head of a file that `write_head` or `write_trained` wrote, for vectors `(n, d)`.

    Raises `WeightsError` where arch, names, types or shapes of the tensors are not exactly those of
    such a head, or a weight is not finite.
    """
    arch, state = _read(path)
    widths = _widths(arch)
    if not widths or (arch.startswith("vectors:") and not arch.startswith(f"vectors:{d}+")):
        raise WeightsError(
            f"{path} has arch {arch!r}; expected vectors:{d}+linear:DIM or vectors:{d}+mlp:H-DIM."
        )
    names = layer_names(len(widths))
    expected: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, columns, rows in zip(names, (d, *widths), widths, strict=False):
        expected[f"{name}.weight"] = ("float32", (rows, columns))
        expected[f"{name}.bias"] = ("float32", (rows,))
    found = {
        key: (str(value.dtype).removeprefix("torch."), tuple(value.shape))
        for key, value in state.items()
    }
    if found != expected:
        raise WeightsError(f"{path} holds {found}; expected {expected}, as its arch says.")
    if not all(value.isfinite().all() for value in state.values()):
        raise WeightsError(f"{path} holds weights that are not finite; expected finite ones only.")
    # Copies: the file is mapped into memory, and may be replaced.
    return Head.of(
        *((state[f"{name}.weight"].clone(), state[f"{name}.bias"].clone()) for name in names)
    )


def _widths(arch: str) -> tuple[int, ...]:
    match = _HEAD.fullmatch(arch)
    if match is None:
        return ()
    return (int(match["dim"]),) if match["dim"] else (int(match["hidden"]), int(match["out"]))


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    """The arch and the tensors of a safetensors file, without those of a backbone."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            keys = [key for key in file.keys() if not key.startswith("backbone.")]  # noqa: SIM118
            state = {key: file.get_tensor(key) for key in keys}
            return (file.metadata() or {}).get("arch", ""), state
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} cannot be read as safetensors: {error}.") from None
