"""`arcface`, `proxyanchor`, `softmax`, `protonet`: losses with a vector a class."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from oodml.methods.checks import check_between, check_choice, check_not_negative
from oodml.methods.lossmethod import Loss, LossMethod
from oodml.methods.method import check_positive

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class ArcFace(LossMethod):
    """ArcFace (Deng et al., CVPR 2019) with ooDML's values; the margin is in radians.

    `clamped` keeps cosines at 1e-10 or more, as ooDML's code does; without it, the original.
    """

    margin: float = 0.5
    scale: float = 16.0
    clamped: bool = True
    proxy_lr: float = 5e-4

    def __post_init__(self) -> None:
        LossMethod.__post_init__(self)
        check_positive(self, "scale")
        check_between(self, "margin", 0, math.pi / 2)
        check_not_negative(self, "proxy_lr")

    name: ClassVar[str] = "arcface"

    @property
    def loss_lr(self) -> float:
        return self.proxy_lr

    def loss(self, classes: int, draws: torch.Generator) -> Loss:
        from oodml.methods.losses.proxies import ArcFaceLoss

        return ArcFaceLoss(
            classes, self.dim, draws, margin=self.margin, scale=self.scale, clamped=self.clamped
        )


@dataclass(frozen=True, slots=True)
class ProxyAnchor(LossMethod):
    """The proxy-anchor loss (Kim et al., CVPR 2020) with ooDML's values.

    `form` is `paper`, a mean over the classes of a batch, or `ooDML`, over its images.
    """

    alpha: float = 32.0
    delta: float = 0.1
    proxy_lr: float = 2e-2
    form: str = "paper"

    def __post_init__(self) -> None:
        LossMethod.__post_init__(self)
        check_positive(self, "alpha")
        check_not_negative(self, "delta", "proxy_lr")
        check_choice(self, "form", ("paper", "ooDML"))

    name: ClassVar[str] = "proxyanchor"

    @property
    def loss_lr(self) -> float:
        return self.proxy_lr

    def loss(self, classes: int, draws: torch.Generator) -> Loss:
        import torch

        from oodml.methods.losses.proxies import ProxyAnchorLoss

        proxies = torch.randn(classes, self.dim, generator=draws) / 8
        by_image = self.form == "ooDML"
        return ProxyAnchorLoss(proxies, alpha=self.alpha, delta=self.delta, by_image=by_image)


@dataclass(frozen=True, slots=True)
class Softmax(LossMethod):
    """A linear classifier on the embeddings; with a `scale` above 0 on unit vectors, times it."""

    scale: float = 0.0

    def __post_init__(self) -> None:
        LossMethod.__post_init__(self)
        check_not_negative(self, "scale")

    name: ClassVar[str] = "softmax"

    def loss(self, classes: int, draws: torch.Generator) -> Loss:
        from oodml.methods.losses.proxies import SoftmaxLoss

        return SoftmaxLoss(classes, self.dim, draws, scale=self.scale)


@dataclass(frozen=True, slots=True)
class ProtoNet(LossMethod):
    """Prototypical networks (Snell et al., NIPS 2017): every batch is an episode.

    `support` is the share of the images of a class that its prototype is the mean of.
    """

    support: float = 0.5

    def __post_init__(self) -> None:
        LossMethod.__post_init__(self)
        check_between(self, "support", 0, 1)

    name: ClassVar[str] = "protonet"

    def loss(self, classes: int, draws: torch.Generator) -> Loss:  # noqa: ARG002
        from oodml.methods.losses.prototypes import PrototypeLoss

        return PrototypeLoss(support=self.support)
