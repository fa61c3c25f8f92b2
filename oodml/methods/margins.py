"""`margin` and `rmargin`: the margin loss, plain and regularised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from oodml.methods.checks import check_between, check_not_negative
from oodml.methods.lossmethod import Loss, LossMethod
from oodml.methods.method import check_positive

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Margin(LossMethod):
    """The margin loss with distance-weighted sampling (Wu et al., ICCV 2017), as ooDML has it.

    `beta` is where the learnt boundary of each class starts, `beta_lr` its learning rate. Negatives
    farther away than `cutoff` are not drawn; 2 leaves out none.
    """

    beta: float = 1.2
    margin: float = 0.2
    cutoff: float = 2.0
    beta_lr: float = 5e-4

    def __post_init__(self) -> None:
        LossMethod.__post_init__(self)
        check_positive(self, "beta", "cutoff")
        check_not_negative(self, "margin", "beta_lr")

    name: ClassVar[str] = "margin"

    @property
    def loss_lr(self) -> float:
        return self.beta_lr

    def loss(self, classes: int, draws: torch.Generator) -> Loss:  # noqa: ARG002
        from oodml.methods.losses.margin import MarginLoss

        return MarginLoss(classes, beta=self.beta, margin=self.margin, cutoff=self.cutoff)


@dataclass(frozen=True, slots=True)
class RMargin(Margin):
    """Regularised margin (Roth et al., ICML 2020): a share `rho` of the triplets has two images.

    ooDML's values: beta 0.6 (SOP 0.9), rho 0.4 for CUB, 0.35 for Cars, 0.15 for SOP.
    """

    beta: float = 0.6
    rho: float = 0.4

    def __post_init__(self) -> None:
        Margin.__post_init__(self)
        check_between(self, "rho", 0, 1)

    name: ClassVar[str] = "rmargin"

    def loss(self, classes: int, draws: torch.Generator) -> Loss:  # noqa: ARG002
        from oodml.methods.losses.margin import MarginLoss

        return MarginLoss(
            classes, beta=self.beta, margin=self.margin, rho=self.rho, cutoff=self.cutoff
        )
