"""A trained network: a backbone, a head on its vectors, and the file of both.

The architecture is written `tv:mobilenet_v2+linear:512` or `tv:mobilenet_v2+mlp:1024-512`. In the
file the backbone's tensors are `backbone.<name without a classifier>`; the head's are `head.weight`
and `head.bias`, of an mlp `head.0.weight`, `head.0.bias`, `head.2.weight`, `head.2.bias`. The
metadata hold `arch` and `spec`, the input that it was trained for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodml.embed.architectures import Body, find_architecture
from oodml.embed.network import Network
from oodml.embed.opening import fitted, make_network
from oodml.embed.shapes import spec_faults
from oodml.embed.spec import EncoderSpec
from oodml.embed.weights import filled, read_safetensors
from oodml.errors import FormatError, UnknownNameError, WeightsError
from oodml.store import file_digest, replacing

if TYPE_CHECKING:
    import torch

    State = Mapping[str, torch.Tensor]

_HEAD = re.compile(r"linear:(?P<linear>[1-9]\d*)|mlp:(?P<hidden>[1-9]\d*)-(?P<mlp>[1-9]\d*)")
# What of a spec says how images become the input, and how the network computes.
_INPUT = ("size", "resize", "mode", "mean", "std", "interpolation", "precision")


def split_head(arch: str) -> tuple[str, str]:
    """`("tv:resnet50", "linear:512")` of `tv:resnet50+linear:512`; an empty head where it has none.

    Raises `UnknownNameError` where the head is of no known kind.

    >>> split_head("tv:mobilenet_v2+mlp:1024-512")
    ('tv:mobilenet_v2', 'mlp:1024-512')
    """
    backbone, plus, head = arch.partition("+")
    if plus and _HEAD.fullmatch(head) is None:
        raise UnknownNameError(
            f"arch {arch!r} has the head {head!r}; expected one such as +linear:512 or "
            "+mlp:1024-512."
        )
    return backbone, head


def build_head(in_dim: int, head: str) -> torch.nn.Module:
    """The head `linear:D` or `mlp:H-D` on vectors `(b, in_dim)`, with torch's own random start."""
    import torch

    match = _HEAD.fullmatch(head)
    if match is None:
        raise UnknownNameError(
            f"Head {head!r} is not known; expected linear:DIM or mlp:HIDDEN-DIM."
        )
    if match["linear"]:
        return torch.nn.Linear(in_dim, int(match["linear"]))
    hidden, dim = int(match["hidden"]), int(match["mlp"])
    return torch.nn.Sequential(
        torch.nn.Linear(in_dim, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, dim)
    )


def join_head(backbone: torch.nn.Module, head: torch.nn.Module) -> torch.nn.Module:
    """The two as one module, whose parts are called `backbone` and `head`."""
    from collections import OrderedDict

    import torch

    return torch.nn.Sequential(OrderedDict(backbone=backbone, head=head))


# Files -------------------------------------------------------------------------------------------


def write_trained(
    path: Path, spec: EncoderSpec, backbone: torch.nn.Module, head: torch.nn.Module | None
) -> None:
    """Write a trained network as safetensors, atomically; `read_trained` gives it back.

    `spec.arch` is the architecture with its head (`tv:mobilenet_v2+linear:512`); without a head,
    which is then None, the backbone's tensors keep their plain names. Raises `UnknownNameError`
    where nobody could read that architecture, `ValueError` where head and arch disagree.
    """
    from safetensors.torch import save_file

    name, text = split_head(spec.arch)
    find_architecture(name)
    if bool(text) != (head is not None):
        raise ValueError(f"arch is {spec.arch!r} and the head {head!r}; expected both or neither")
    module = join_head(backbone, head) if head is not None else backbone
    # Copies: safetensors refuses tensors that share memory.
    state = {
        key: value.detach().cpu().clone(memory_format=_contiguous())
        for key, value in module.state_dict().items()
    }
    record = {key: value for key, value in spec.to_json().items() if key in _INPUT}
    metadata = {"arch": spec.arch, "spec": json.dumps(record, sort_keys=True)}
    with replacing(path) as temporary:
        save_file(state, temporary, metadata=metadata)


def _contiguous() -> Any:
    import torch

    return torch.contiguous_format


def read_trained(path: Path) -> Network:
    """The encoder of a file that `write_trained` wrote; raises `WeightsError` where it is none."""
    state, metadata = read_safetensors(path)
    if not metadata.get("arch"):
        raise WeightsError(
            f"{path} does not say of which architecture it is; name it as in "
            f"file:{path.name}?arch=tv:resnet50."
        )
    shape = stored_shape(path, metadata)
    return trained_network(f"file:{path.name}", metadata["arch"], state, path, shape)


def stored_shape(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """What a file says of its input; empty where it says nothing."""
    if "spec" not in metadata:
        return {}
    try:
        record = json.loads(metadata["spec"])
        spec = EncoderSpec.from_json({"name": "", "arch": "", "dim": 0, **record})
    except (ValueError, TypeError, FormatError) as error:
        raise WeightsError(f"{path} has metadata that are no spec ({error}).") from None
    assert spec is not None
    if faults := spec_faults(replace(spec, dim=1)):
        raise WeightsError(f"{path} has metadata that are no spec ({faults[0].rstrip('.')}).")
    if spec.mode != "RGB":
        raise WeightsError(f"{path} has metadata of mode {spec.mode!r}; networks take RGB images.")
    return {key: getattr(spec, key) for key in _INPUT if key in record}


def trained_network(
    name: str, arch: str, state: State, path: Path, shape: Mapping[str, Any]
) -> Network:
    """The encoder of a state dict of `arch`, with or without a head; `shape` completes its own."""
    backbone, head = split_head(arch)
    architecture = find_architecture(backbone)
    own = {key: value for key, value in architecture.shape.items() if key != "refused"}
    whole = {**own, **shape}
    precision = whole.pop("precision", "float32")
    canonical = architecture.name + (f"+{head}" if head else "")
    if head:
        build = partial(_build, architecture.build, whole["size"], head, state)
        module = filled(build, state, path.name, canonical)
    else:
        module = fitted(architecture, state, whole["size"], path.name)
    network = make_network(name, canonical, module, weights=file_digest(path), shape=whole)
    return Network(replace(network.spec, precision=precision), network.module)


def _build(make: Any, size: int, head: str, state: State) -> Body:
    """The backbone with a head on as many dimensions as the file has."""
    body: Body = make(size)
    first = state.get("head.weight", state.get("head.0.weight"))
    in_dim = first.shape[-1] if first is not None and first.ndim else 1
    prefixed = tuple(f"backbone.{key}" for key in body.classifier)
    return Body(join_head(body.module, build_head(in_dim, head)), prefixed)
