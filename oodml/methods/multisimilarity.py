"""`multisimilarity`: the multi-similarity loss with its mining (Wang et al., CVPR 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from oodml.methods.checks import check_choice
from oodml.methods.lossmethod import Loss, LossMethod
from oodml.methods.method import check_positive

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class MultiSimilarity(LossMethod):
    """The multi-similarity loss (equation 15) after its mining.

    `form` is `paper`, which divides by the size of the batch, or `ooDML`, which averages over the
    anchors that have mined pairs: see `MultiSimilarityLoss`.
    """

    alpha: float = 2.0
    beta: float = 40.0
    base: float = 0.5
    epsilon: float = 0.1
    form: str = "paper"

    def __post_init__(self) -> None:
        LossMethod.__post_init__(self)
        check_positive(self, "alpha", "beta")
        check_choice(self, "form", ("paper", "ooDML"))

    name: ClassVar[str] = "multisimilarity"

    def loss(self, classes: int, draws: torch.Generator) -> Loss:  # noqa: ARG002
        from oodml.methods.losses.pairs import MultiSimilarityLoss

        return MultiSimilarityLoss(
            alpha=self.alpha,
            beta=self.beta,
            base=self.base,
            epsilon=self.epsilon,
            active_means=self.form == "ooDML",
        )
