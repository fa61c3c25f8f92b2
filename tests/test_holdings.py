"""Which tensors of an object count: all of them, wherever they hang, and none of their ids."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from oodml.embed.holdings import held_digest


class Slotted:
    __slots__ = ("__hidden", "never")

    def __init__(self, value: Any) -> None:
        self.__hidden = value


def linear(x: torch.Tensor) -> torch.nn.Linear:
    module = torch.nn.Linear(2, 1)
    torch.nn.init.zeros_(module.bias)
    module.weight.data = x
    return module


def attribute(x: torch.Tensor) -> torch.nn.Module:
    module = torch.nn.Identity()
    module.scale = x  # type: ignore[assignment]
    return module


def passing(x: torch.Tensor) -> torch.nn.Module:
    module = torch.nn.Identity()
    module.register_buffer("scale", x, persistent=False)
    return module


def closure(x: torch.Tensor) -> Callable[[], torch.Tensor]:
    return lambda: x


def default(x: torch.Tensor) -> Callable[[], torch.Tensor]:
    def call(scale: torch.Tensor = x) -> torch.Tensor:
        return scale

    return call


HOLDERS: dict[str, Callable[[torch.Tensor], Any]] = {
    "itself": lambda x: x,
    "a parameter": linear,
    "a buffer that is not kept": passing,
    "an attribute of a module": attribute,
    "a list of modules": lambda x: SimpleNamespace(parts=[linear(torch.ones(1, 2)), linear(x)]),
    "a tuple in a dict": lambda x: {"a": (1, "two", x)},
    "a slot": Slotted,
    "an object in a module": lambda x: torch.nn.Sequential(attribute(SimpleNamespace(x=x))),  # type: ignore[arg-type]
    "a set": lambda x: {linear(x)},
    "a closure": closure,
    "a default": default,
    "a method": lambda x: linear(x).forward,
    "a partial": lambda x: functools.partial(print, x),
    "an array": lambda x: x.numpy(),
    "an array of objects": lambda x: np.array([x, None], dtype=object),
    "halves": lambda x: x.half(),
    "conjugates": lambda x: torch.complex(x, x).conj(),
    "a sparse tensor": lambda x: x.to_sparse(),
    "a scripted module": lambda x: torch.jit.trace(linear(x), x),
}


@pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS)
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_a_tensor_counts_wherever_it_hangs(holder: Callable[[torch.Tensor], Any]) -> None:
    x, other = torch.tensor([[0.5, 1.0]]), torch.tensor([[0.5, 1.5]])
    first, again, changed = (held_digest(holder(value)) for value in (x, x.clone(), other))
    assert first == again != changed


def test_type_shape_and_place_count() -> None:
    x = torch.zeros(2, 2)
    several = [x, x.reshape(4), x.int(), [x], [0, x], [x, x.clone()], {"a": x}, x.numpy()]
    assert len({held_digest(value) for value in several}) == len(several)
    assert held_digest([x, x + 1]) != held_digest([x + 1, x])


def test_what_has_no_numbers_is_passed_over() -> None:
    lazy, meta = torch.nn.LazyLinear(3), torch.zeros(2, device="meta")
    assert held_digest([lazy, meta, logging.getLogger(), torch, Slotted]) == held_digest([])


def test_cycles_end() -> None:
    ring: list[Any] = [torch.ones(1)]
    ring.append(SimpleNamespace(ring=ring))
    assert held_digest(ring) == held_digest([torch.ones(1)])
