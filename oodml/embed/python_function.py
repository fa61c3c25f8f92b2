"""`py:module:function`: an encoder of one's own, made by a Python function."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodml.embed.holdings import held_digest
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
    ImageNet's scale without them. The spec's `weights` are a digest of the module's file, of the
    function's, and of all tensors that are held, so that a change of any is another encoder.
    """
    attribute = name.argument.rpartition(":")[2]
    with current_folder():
        function = find_function(name)
        defaults = _parameters(function)
        options = name.resolve({**SHAPE_OPTIONS, **defaults})
        given = {key: options[key] for key in defaults if key in name.params}
        made = _called(name, function, given)
    # The name is no part of an identity, so that what is given to the function is one here.
    facts = [_sources(name, function), {key: name.params[key] for key in sorted(given)}]
    arch = f"py:{name.argument}"
    if isinstance(made, _torch_module()):
        shape = {key: options[key] for key in SHAPE_OPTIONS}
        whole = input_shape(name, shape, {"size": 224, "resize": None, **IMAGENET})
        return make_network(name.text, arch, made, weights=_digest(facts, made), shape=whole)
    if given.keys() != name.params.keys():
        more = ", ".join(sorted(name.params.keys() - given.keys()))
        raise UnknownNameError(
            f"{name.text!r} gives {more}, which {attribute} does not take: it makes an encoder, "
            "which says itself what its input is."
        )
    own = own_encoder(name, facts, made)
    spec = replace(own.spec, name=name.text, arch=f"{arch} {own.spec.arch}".strip())
    return replace(own, spec=spec)


def own_encoder(name: Name, facts: list[Any], made: Any) -> Network | OwnEncoder:
    """An encoder of somebody's code, with `weights` that follow these facts and all its tensors.

    `facts` are JSON. Raises `WeightsError` where it is no encoder.
    """
    spec = getattr(made, "spec", None)
    if not isinstance(spec, EncoderSpec) or not callable(made) or not _has_transform(made):
        raise WeightsError(
            f"{name.text!r} gives a {type(made).__name__}; expected an encoder (spec: EncoderSpec, "
            "transform(image), __call__(batch)) or a torch.nn.Module."
        )
    spec = replace(spec, weights=_digest([*facts, spec.weights], made))
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


def _sources(name: Name, function: Callable[..., Any]) -> list[str]:
    """The sha256 of the module that is named, and of the file that its function is written in."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    modules = (name.argument.partition(":")[0], getattr(function, "__module__", None))
    files = {getattr(sys.modules.get(str(module)), "__file__", None) for module in modules}
    with suppress(TypeError):  # neither a function nor a class
        files.add(inspect.getsourcefile(function))
    return sorted({file_digest(Path(file)) for file in files if file and Path(file).is_file()})


def _digest(facts: list[Any], made: Any) -> str:
    """The digest of facts that are JSON, and of the tensors that an object holds."""
    return digest(["py", 2, facts, held_digest(made)])
