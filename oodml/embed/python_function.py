"""`py:module:function`: an encoder of one's own, made by a Python function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodml.embed.network import Network
from oodml.embed.opening import make_network
from oodml.embed.shapes import IMAGENET, SHAPE_OPTIONS, input_shape
from oodml.embed.spec import Encoder, EncoderSpec
from oodml.errors import OodmlError, UnknownNameError, WeightsError
from oodml.registry import Name, current_folder, error_line, find_function
from oodml.store import digest, file_digest

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL.Image import Image


@dataclass(frozen=True, slots=True, eq=False)
class OwnEncoder:
    """An object with the methods of an encoder, under a spec that follows its code and weights."""

    spec: EncoderSpec
    encoder: Encoder

    def transform(self, image: Image) -> np.ndarray[Any, Any]:
        return self.encoder.transform(image)

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        return self.encoder(batch)


def open_python(name: Name) -> Encoder:
    """`py:module:function[?key=value]`: what the function gives, an encoder or a torch module.

    The module is also looked for in the current folder. Parameters are given to the function,
    converted to the types of its defaults; those of the input (`size`, `mean`, ...) that it does
    not have itself say how images are shown to a bare module, which gets 224 x 224 pixels in
    ImageNet's scale without them. The spec's `weights` are a digest of the function's file and of
    all tensors of modules, so that a change of either is another encoder.
    """
    attribute = name.argument.rpartition(":")[2]
    with current_folder():
        function = find_function(name)
        defaults = _parameters(function)
        options = name.resolve({**SHAPE_OPTIONS, **defaults})
        given = {key: options[key] for key in defaults if key in name.params}
        made = _called(name, function, given)
    # The name is no part of an identity, so that what is given to the function is one here.
    facts = [_source(function), {key: name.params[key] for key in sorted(given)}]
    arch = f"py:{name.argument}"
    if isinstance(made, _torch_module()):
        shape = {key: options[key] for key in SHAPE_OPTIONS}
        whole = input_shape(name, shape, {"size": 224, "resize": None, **IMAGENET})
        return make_network(name.text, arch, made, weights=_digest(facts, [made]), shape=whole)
    if given.keys() != name.params.keys():
        more = ", ".join(sorted(name.params.keys() - given.keys()))
        raise UnknownNameError(
            f"{name.text!r} gives {more}, which {attribute} does not take: it makes an encoder, "
            "which says itself what its input is."
        )
    return _own(name, arch, facts, made)


def _own(name: Name, arch: str, facts: list[Any], made: Any) -> Encoder:
    spec = getattr(made, "spec", None)
    if not isinstance(spec, EncoderSpec) or not callable(made) or not _has_transform(made):
        raise WeightsError(
            f"{name.text!r} gives a {type(made).__name__}; expected an encoder (spec: EncoderSpec, "
            "transform(image), __call__(batch)) or a torch.nn.Module."
        )
    weights = _digest([*facts, spec.weights], _modules(made))
    spec = replace(spec, name=name.text, arch=f"{arch} {spec.arch}".strip(), weights=weights)
    return replace(made, spec=spec) if isinstance(made, Network) else OwnEncoder(spec, made)


def _has_transform(made: Any) -> bool:
    return callable(getattr(made, "transform", None))


def _torch_module() -> Any:
    import torch

    return torch.nn.Module


# The function ------------------------------------------------------------------------------------


def _parameters(function: Callable[..., Any]) -> dict[str, Any]:
    """The parameters of a function with their defaults; None where they have none."""
    empty = inspect.Parameter.empty
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        key: None if parameter.default is empty else parameter.default
        for key, parameter in inspect.signature(function).parameters.items()
        if parameter.kind in kinds
    }


def _called(name: Name, function: Callable[..., Any], given: Mapping[str, Any]) -> Any:
    try:
        return function(**given)
    except OodmlError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a function of one's own does
        raise WeightsError(
            f"{name.text!r} cannot be opened ({error_line(error)}); mend it."
        ) from None


# What it is --------------------------------------------------------------------------------------


def _source(function: Callable[..., Any]) -> str | None:
    """The sha256 of the file that a function is written in; None where it is in none."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:
        return None
    return file_digest(Path(file)) if file and Path(file).is_file() else None


def _modules(made: Any) -> list[torch.nn.Module]:
    """The torch modules that an object holds, in the order of their names."""
    slots = [slot for kind in type(made).__mro__ for slot in getattr(kind, "__slots__", ())]
    held = {**{slot: getattr(made, slot, None) for slot in slots}, **getattr(made, "__dict__", {})}
    return [held[key] for key in sorted(held) if isinstance(held[key], _torch_module())]


def _digest(facts: list[Any], modules: list[torch.nn.Module]) -> str:
    """The digest of facts that are JSON, and of the tensors of modules."""
    import hashlib

    state = hashlib.sha256()
    for number, module in enumerate(modules):
        for key, value in sorted(module.state_dict().items()):
            tensor = value.detach().cpu().contiguous()
            state.update(f"{number} {key} {tensor.dtype} {tuple(tensor.shape)}".encode())
            state.update(_bytes(tensor))
    return digest(["py", 1, facts, state.hexdigest()])


def _bytes(tensor: torch.Tensor) -> bytes:
    import torch

    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
