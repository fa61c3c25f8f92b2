"""`contrastive`, `triplet`, `semihard`, `npair`, `histogram`: losses on pairs and triplets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from oodml.methods.checks import check_choice, check_not_negative
from oodml.methods.lossmethod import Loss, LossMethod
from oodml.methods.method import check_positive

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Contrastive(LossMethod):
    """The contrastive loss in ooDML's form (after Hadsell et al., CVPR 2006).

    `pairs` is `drawn`: a positive and a distance-weighted negative for each image, or `all`.
    """

    pos_margin: float = 0.0
    neg_margin: float = 1.0
    pairs: str = "drawn"

    def __post_init__(self) -> None:
        LossMethod.__post_init__(self)
        check_positive(self, "neg_margin")
        check_not_negative(self, "pos_margin")
        check_choice(self, "pairs", ("drawn", "all"))

    name: ClassVar[str] = "contrastive"

    def loss(self, classes: int, draws: torch.Generator) -> Loss:  # noqa: ARG002
        from oodml.methods.losses.pairs import ContrastiveLoss

        return ContrastiveLoss(
            pos_margin=self.pos_margin,
            neg_margin=self.neg_margin,
            all_pairs=self.pairs == "all",
        )


@dataclass(frozen=True, slots=True)
class Triplet(LossMethod):
    """The triplet loss over all triplets, as SEC has it (after Schroff et al., CVPR 2015)."""

    margin: float = 1.0

    def __post_init__(self) -> None:
        LossMethod.__post_init__(self)
        check_not_negative(self, "margin")

    name: ClassVar[str] = "triplet"

    def loss(self, classes: int, draws: torch.Generator) -> Loss:  # noqa: ARG002
        from oodml.methods.losses.pairs import TripletLoss

        return TripletLoss(margin=self.margin)


@dataclass(frozen=True, slots=True)
class Semihard(LossMethod):
    """The triplet loss with one semi-hard negative a positive pair, as SEC has it."""

    margin: float = 0.2

    def __post_init__(self) -> None:
        LossMethod.__post_init__(self)
        check_not_negative(self, "margin")

    name: ClassVar[str] = "semihard"

    def loss(self, classes: int, draws: torch.Generator) -> Loss:  # noqa: ARG002
        from oodml.methods.losses.pairs import SemihardLoss

        return SemihardLoss(margin=self.margin)


@dataclass(frozen=True, slots=True)
class NPair(LossMethod):
    """The N-pair loss on unit vectors, as SEC has it (after Sohn, NIPS 2016)."""

    scale: float = 25.0

    def __post_init__(self) -> None:
        LossMethod.__post_init__(self)
        check_positive(self, "scale")

    name: ClassVar[str] = "npair"

    def loss(self, classes: int, draws: torch.Generator) -> Loss:  # noqa: ARG002
        from oodml.methods.losses.pairs import NPairLoss

        return NPairLoss(scale=self.scale)


@dataclass(frozen=True, slots=True)
class Histogram(LossMethod):
    """The histogram loss (Ustinova and Lempitsky, NIPS 2016) with steps of 2 / bins."""

    bins: int = 200

    def __post_init__(self) -> None:
        LossMethod.__post_init__(self)
        check_positive(self, "bins")

    name: ClassVar[str] = "histogram"

    def loss(self, classes: int, draws: torch.Generator) -> Loss:  # noqa: ARG002
        from oodml.methods.losses.histogram import HistogramLoss

        return HistogramLoss(bins=self.bins)
