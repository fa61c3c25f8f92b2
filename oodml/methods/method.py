"""`Method`: what trains an encoder on the train side of a split, and can see nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np

from oodml.embed import EmbeddingSet, EncoderSpec
from oodml.errors import RunError, UnknownNameError

if TYPE_CHECKING:
    import torch

    from oodml.embed.network import Network
    from oodml.methods.pictures import Pictures

# The version of how a training goes beside its method: sampler, crops, start of a head, steps.
TRAINING = 1
Array = np.ndarray[Any, Any]
Protocols = Literal["head", "full", "paper"]
Needs = Literal["features", "views", "pooled features", "images"]
Selection = Literal["last", "val"]


@dataclass(frozen=True, slots=True)
class Budget:
    """What every method of a comparison may use: `steps` batches, `per_class` of each class.

    Where `epochs` is not 0, the steps are so many times the whole batches that the train side
    holds. With `replacement`, classes and images are drawn with it, as ooDML's code does. The
    validation classes are looked at every `check` steps. Raises `RunError` where a number is none.
    """

    steps: int = 400
    batch: int = 256
    per_class: int = 4
    epochs: int = 0
    replacement: bool = False
    check: int = 50

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch", 2), ("per_class", 1), ("check", 1)):
            if getattr(self, name) < least:
                raise RunError(
                    f"The budget's {name} is {getattr(self, name)}; expected {least} or more."
                )
        if self.epochs < 0:
            raise RunError(f"The budget's epochs are {self.epochs}; expected 0 or more.")

    def steps_on(self, images: int) -> int:
        """The number of batches on a train side of so many images."""
        return self.epochs * max(1, images // self.batch) if self.epochs else self.steps


class Tracker(Protocol):
    """Whatever follows a training as it goes: a file, a bar, a service of one's own."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Called after every step, with its loss, and the validation recall where there is one."""


@dataclass(frozen=True, slots=True)
class Course:
    """Where and how a training runs, of which its result is no function on one machine.

    `folder` is where checkpoints are kept, at most every `every` seconds; without one a training
    that is killed starts again.
    """

    device: str = "cpu"
    folder: Path | None = None
    every: float = 20.0
    tracker: Tracker | None = None


@dataclass(frozen=True, slots=True)
class FitContext:
    """All that a method is given: features of the train classes, and of the validation classes.

    With selection `last`, `train` holds the whole train side and `val` is None; with `val` they are
    apart. Where the protocol trains the network, `images` and `val_images` are the pictures of the
    same rows, and `network` is what made the features. Test data are not reachable from here.
    """

    train: EmbeddingSet
    val: EmbeddingSet | None
    protocol: Protocols
    budget: Budget
    selection: Selection
    seed: int
    precision: str = "float32"
    images: Pictures | None = None
    val_images: Pictures | None = None
    network: Network | None = None
    course: Course = Course()


class FeatureEncoder(Protocol):
    """What a method on features gives back: it maps `(b, d)` vectors to `(b, dim)`."""

    @property
    def spec(self) -> EncoderSpec: ...

    def __call__(self, batch: torch.Tensor) -> torch.Tensor: ...

    def state(self) -> Mapping[str, torch.Tensor]:
        """The weights by name; empty where nothing was trained."""


@dataclass(frozen=True, slots=True)
class Trained:
    """An encoder and how it came about, a record a step.

    The encoder is one of features, or of images where the network was trained too.
    """

    encoder: FeatureEncoder | Network
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
