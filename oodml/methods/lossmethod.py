"""`LossMethod`: a method that is a loss on batches of embeddings; the loop does the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from oodml.errors import RunError
from oodml.methods.checks import check_not_negative
from oodml.methods.method import FitContext, Needs, Trained, check_positive

if TYPE_CHECKING:
    import torch


class Loss(Protocol):
    """A `torch.nn.Module`: its parameters are trained with the encoder, its buffers kept with it.

    Called with un-normalised embeddings `(b, dim)`, labels `(b,)` from 0 to classes - 1, and a
    generator on the CPU that is a function of (seed, step); it gives a scalar.
    """

    def __call__(
        self, embeddings: torch.Tensor, labels: torch.Tensor, draws: torch.Generator
    ) -> torch.Tensor: ...


@dataclass(frozen=True, slots=True)
class LossMethod:
    """The embedding layer and its optimiser, which all methods on losses share.

    `dim` is the dimension of the embeddings, `hidden` the width of a hidden layer (none with 0),
    `bn` whether a batch normalisation comes before the first layer (folded into it at the end).
    Adam with `lr` and `weight_decay`; where the network is trained too, it has `network_lr` (0: the
    same `lr`), and rests for the first `warmup` epochs. The loss's own parameters have `loss_lr`
    and no decay. Of the budget's steps `steps` are used (0: all).
    """

    dim: int = 512
    hidden: int = 0
    bn: bool = False
    lr: float = 1e-3
    weight_decay: float = 0.0
    network_lr: float = 0.0
    warmup: int = 0
    steps: int = 0

    def __post_init__(self) -> None:
        check_positive(self, "dim", "lr")
        check_not_negative(self, "hidden", "weight_decay", "network_lr", "warmup", "steps")

    name: ClassVar[str]
    version: ClassVar[int] = 1
    needs: ClassVar[Needs] = "features"
    seeded: ClassVar[bool] = True
    raw: ClassVar[bool] = True  # its loss is given un-normalised embeddings, so norms can be added

    @property
    def loss_lr(self) -> float:
        """The learning rate of the loss's own parameters, such as proxies."""
        return self.lr

    def steps_of(self, budget: int) -> int:
        """How many of the budget's steps are used; raises `RunError` where it has fewer."""
        if self.steps > budget:
            raise RunError(
                f"{self.name} with steps={self.steps} takes more than the budget of {budget}; give "
                f"--steps {self.steps}."
            )
        return self.steps or budget

    def loss(self, classes: int, draws: torch.Generator) -> Loss:
        """The loss for this many train classes, its parameters drawn from `draws`."""
        raise NotImplementedError

    def fit(self, context: FitContext) -> Trained:
        from oodml.methods.training import train

        return train(context, self)
