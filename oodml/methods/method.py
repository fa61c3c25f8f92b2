"""`Method`: what trains an encoder on the train side of a split, and can see nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np

from oodml.embed import EmbeddingSet, EncoderSpec
from oodml.errors import UnknownNameError
from oodml.registry import Name

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]
Protocols = Literal["head", "full", "paper"]
Needs = Literal["features", "views", "pooled features", "images"]
Selection = Literal["last", "val"]


@dataclass(frozen=True, slots=True)
class Budget:
    """What every method of a comparison may use: `steps` batches, `per_class` of each class."""

    steps: int = 400
    batch: int = 256
    per_class: int = 4


@dataclass(frozen=True, slots=True)
class FitContext:
    """All that a method is given: features of the train classes, and of the validation classes.

    With selection `last`, `train` holds the whole train side and `val` is None; with `val` they are
    apart. Test data are not reachable from here.
    """

    train: EmbeddingSet
    val: EmbeddingSet | None
    protocol: Protocols
    budget: Budget
    selection: Selection
    seed: int
    device: str = "cpu"


class FeatureEncoder(Protocol):
    """What a method on features gives back: it maps `(b, d)` vectors to `(b, dim)`."""

    @property
    def spec(self) -> EncoderSpec: ...

    def __call__(self, batch: torch.Tensor) -> torch.Tensor: ...

    def state(self) -> Mapping[str, torch.Tensor]:
        """The weights by name; empty where nothing was trained."""


@dataclass(frozen=True, slots=True)
class Trained:
    """An encoder and how it came about, a record a step."""

    encoder: FeatureEncoder
    history: tuple[Mapping[str, Any], ...] = ()


class Method(Protocol):
    """A frozen dataclass whose fields are its parameters, with their defaults."""

    name: ClassVar[str]
    version: ClassVar[int]
    needs: ClassVar[Needs]
    seeded: ClassVar[bool]

    def fit(self, context: FitContext) -> Trained: ...


def parameters(method: Method) -> dict[str, Any]:
    """The resolved parameters of a method: what its run depends on."""
    return asdict(method)  # type: ignore[call-overload,no-any-return]


def check_positive(method: Method, *names: str) -> None:
    """Raise `UnknownNameError` where a parameter is not above 0."""
    for name in names:
        if not getattr(method, name) > 0:
            raise UnknownNameError(
                f"Parameter {name} of {method.name!r} is {getattr(method, name)}; expected more "
                "than 0."
            )


def make_method(kind: type[Method], name: Name) -> Method:
    """The method of a name: its class's defaults under the name's parameters."""
    if name.argument:
        raise UnknownNameError(
            f"{name.text!r}: method {name.key!r} takes parameters only, as in {name.key}?key=value."
        )
    return kind(**name.resolve(parameters(kind())))
