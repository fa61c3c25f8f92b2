"""The tensors and arrays that an object holds, wherever they hang, and their digest."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Iterator
from contextlib import suppress
from types import CellType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from oodml.store import array_digest, digest

if TYPE_CHECKING:
    import torch

_HOLD_NOTHING = (str, bytes, int, float, complex, type(None), type, ModuleType, logging.Logger)


def held_digest(held: Any) -> str:
    """The digest of all tensors and arrays that an object holds, and of where they hang.

    Looked through are lists, tuples, dicts, sets, the attributes of any object, all of a torch
    module (also what is no part of its state dict), and functions: what they close over, their
    defaults, the object of a method, the arguments of a partial. Classes and modules are not.
    """
    import torch

    found: list[list[str]] = []
    seen: dict[int, Any] = {}  # the objects too, so that no new one gets the id of another
    ahead = [("", held)]
    while ahead:
        where, value = ahead.pop()
        if isinstance(value, _HOLD_NOTHING) or id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, torch.Tensor):
            found += [[where, *facts] for facts in _numbers(value)]
        elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
            found.append([where, array_digest(value)])
        else:
            ahead += [(f"{where}.{key}", part) for key, part in _parts(value)]
    return digest(sorted(found))


def _numbers(tensor: torch.Tensor) -> Iterator[tuple[str, str, str]]:
    """The type, shape and bytes of a tensor; nothing where it has no numbers."""
    import torch

    if tensor.is_meta or torch.nn.parameter.is_lazy(tensor):
        return
    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
    if plain.is_quantized:
        plain = plain.dequantize()
    if plain.layout != torch.strided:
        plain = plain.to_dense()
    numbers = plain.contiguous().reshape(-1).view(torch.uint8).numpy()
    yield str(tensor.dtype), str(tuple(tensor.shape)), hashlib.sha256(numbers.data).hexdigest()


def _parts(value: Any) -> list[tuple[str, Any]]:
    """What hangs directly on an object, by name, in an order that is the same every time."""
    import torch

    parts = [*_contents(value), *_attributes(value)]
    if isinstance(value, torch.nn.Module):  # those of a scripted one are no attributes
        parts += [*value.named_parameters(), *value.named_buffers()]
    holding = [pair for pair in parts if not isinstance(pair[1], _HOLD_NOTHING)]
    return sorted(holding, key=lambda pair: pair[0], reverse=True)  # the last is taken first


def _contents(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        plain = (str, int)
        pairs = enumerate(value.items())
        return [(repr(k if isinstance(k, plain) else number), part) for number, (k, part) in pairs]
    if isinstance(value, list | tuple | np.ndarray):
        return [(str(number), part) for number, part in enumerate(value)]
    if isinstance(value, set | frozenset):
        return [("", part) for part in value]
    if isinstance(value, functools.partial):
        return [("func", value.func), ("args", value.args), ("keywords", value.keywords)]
    if isinstance(value, MethodType):
        return [("self", value.__self__), ("func", value.__func__)]
    if isinstance(value, FunctionType):
        cells = [("closure", cell) for cell in value.__closure__ or ()]
        return [*cells, ("defaults", [value.__defaults__, value.__kwdefaults__])]
    if isinstance(value, CellType):
        with suppress(ValueError):  # nothing is in it
            return [("cell", value.cell_contents)]
    return []


def _attributes(value: Any) -> list[tuple[str, Any]]:
    slots = [
        (name, slot)
        for kind in type(value).__mro__
        if "__slots__" in vars(kind)
        for name, slot in vars(kind).items()
        if isinstance(slot, MemberDescriptorType)
    ]
    found = list(getattr(value, "__dict__", {}).items())
    for name, slot in slots:
        with suppress(AttributeError):  # nothing was assigned
            found.append((name, slot.__get__(value)))
    return [(str(name), part) for name, part in found]
