"""Losses with a learnt vector a class."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from oodml.methods.losses.batch import full_precision, log_one_plus, unit


def _uniform(classes: int, dim: int, bound: float, draws: torch.Generator) -> torch.nn.Parameter:
    """`(classes, dim)`, uniform between -bound and bound."""
    return torch.nn.Parameter((2 * torch.rand(classes, dim, generator=draws) - 1) * bound)


class ArcFaceLoss(torch.nn.Module):
    """ArcFace (Deng et al., CVPR 2019, equation 3): an angular margin between unit vectors.

        -mean log softmax of scale * cos(theta_c), for the own class scale * cos(theta_y + margin)

    theta_c is the angle to the centre of class c, the margin is in radians. With `clamped`, cosines
    are kept in [1e-10, 1 - 1e-10] first, as in ooDML's code: centres more than a right angle away
    have no gradient, neither have own centres so far away. Without it, it is the original and that
    of pytorch-metric-learning (which takes degrees): beyond pi - margin, where cos(theta + margin)
    would rise again, the logit is cos(theta) - margin sin(margin).
    """

    def __init__(
        self,
        classes: int,
        dim: int,
        draws: torch.Generator,
        *,
        margin: float,
        scale: float,
        clamped: bool,
    ) -> None:
        super().__init__()
        self.centres = _uniform(classes, dim, 1 / math.sqrt(dim), draws)
        self.margin = margin
        self.scale = scale
        self.clamped = clamped

    @full_precision
    def forward(self, embeddings: Tensor, labels: Tensor, _draws: torch.Generator) -> Tensor:
        cosines = unit(embeddings) @ unit(self.centres).T
        if self.clamped:
            cosines = cosines.clamp(1e-10, 1 - 1e-10)
        own = cosines.gather(1, labels[:, None])
        return cross_entropy(
            self.scale * cosines.scatter(1, labels[:, None], self._with_margin(own)), labels
        )

    def _with_margin(self, cosine: Tensor) -> Tensor:
        """cos(theta + margin) by its addition theorem: acos has no finite slope at 1."""
        sine = (1 - cosine.square()).clamp(min=1e-12).sqrt()
        moved = cosine * math.cos(self.margin) - sine * math.sin(self.margin)
        beyond = cosine < -math.cos(self.margin)
        return torch.where(beyond, cosine - self.margin * math.sin(self.margin), moved)


class ProxyAnchorLoss(torch.nn.Module):
    """Proxy-anchor loss (Kim et al., CVPR 2020, equation 4): proxies are anchors, images the rest.

        mean_{c in the batch} log(1 + sum_{x of c} exp(-alpha (s_xc - delta)))
      + mean_{all c} log(1 + sum_{x not of c} exp(alpha (s_xc + delta)))

    over the proxies of classes c and cosines s. `proxies` `(classes, dim)` start as normal numbers
    over 8 in ooDML's code, whose first mean is `by_image`: a class counts once an image, which
    differs where some classes of a batch have more images than others. pytorch-metric-learning has
    the same value and gradient as the equation, and draws its proxies otherwise.
    """

    def __init__(
        self, proxies: Tensor, *, alpha: float, delta: float, by_image: bool = False
    ) -> None:
        super().__init__()
        self.proxies = torch.nn.Parameter(proxies)
        self.alpha = alpha
        self.delta = delta
        self.by_image = by_image

    @full_precision
    def forward(self, embeddings: Tensor, labels: Tensor, _draws: torch.Generator) -> Tensor:
        cosines = unit(self.proxies) @ unit(embeddings).T
        classes = torch.arange(len(cosines), device=labels.device)
        own = classes[:, None] == labels[None, :]
        pull = log_one_plus(-self.alpha * (cosines - self.delta), own)
        push = log_one_plus(self.alpha * (cosines + self.delta), ~own)
        if self.by_image:
            return pull[labels].mean() + push.mean()
        return pull.sum() / own.any(dim=1).sum() + push.mean()


class SoftmaxLoss(torch.nn.Module):
    """Softmax cross-entropy of a linear classifier on the un-normalised embeddings.

    Weights start uniform within sqrt(6 / (dim + classes)) (Glorot and Bengio, AISTATS 2010) and
    biases at 0: the authors of Adapted Deep Embeddings note that their own normal start of
    variance 1 made classifiers much worse. With a `scale` above 0 the logits are `scale` times the
    cosines to the weights, without bias (Zhai and Wu, BMVC 2019, equation 3).
    """

    def __init__(self, classes: int, dim: int, draws: torch.Generator, *, scale: float) -> None:
        super().__init__()
        self.weight = _uniform(classes, dim, math.sqrt(6 / (dim + classes)), draws)
        self.bias = None if scale else torch.nn.Parameter(torch.zeros(classes))
        self.scale = scale

    @full_precision
    def forward(self, embeddings: Tensor, labels: Tensor, _draws: torch.Generator) -> Tensor:
        if self.scale:
            logits = self.scale * unit(embeddings) @ unit(self.weight).T
        else:
            logits = torch.nn.functional.linear(embeddings, self.weight, self.bias)
        return cross_entropy(logits, labels)
