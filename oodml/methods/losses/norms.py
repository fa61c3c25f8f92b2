"""Penalties on the lengths of un-normalised embeddings, and a loss with them."""

from __future__ import annotations

import torch
from torch import Tensor

from oodml.methods.losses.batch import full_precision


class _Ramp(torch.nn.Module):
    """A weight, which with `ramp` grows linearly from 0 over the run."""

    def __init__(self, weight: float, *, ramp: bool = False) -> None:
        super().__init__()
        self.weight = weight
        self.ramp = ramp
        self.fraction = 1.0

    def at(self, fraction: float) -> None:
        """Say which share of the run's steps is done."""
        self.fraction = fraction

    @property
    def now(self) -> float:
        """The weight at this step."""
        return self.weight * self.fraction if self.ramp else self.weight


class L2(_Ramp):
    """weight * mean |f_i|^2 (Sohn, NIPS 2016, section 3.2.2): pulls lengths to 0.

    `LpRegularizer(p=2, power=2)` of pytorch-metric-learning; by default that has power 1.
    """

    @full_precision
    def forward(self, embeddings: Tensor) -> Tensor:
        return self.now * embeddings.square().sum(dim=1).mean()


class Sec(_Ramp):
    """Spherical embedding constraint: weight * mean (|f_i| - mu)^2 (Zhang et al., NeurIPS 2020).

    Equation 17; mu is the mean length, without gradient. With `rho` below 1 it is a moving mean
    (appendix D): mu = (1 - rho) mu + rho (mean of the batch), from the mean of the first batch; rho
    weights the *new* batch. 1 is the plain form. `ramp` is that of the authors' code for
    contrastive pre-training. `CenterInvariantRegularizer` of pytorch-metric-learning is another
    penalty, on squared lengths.

    mu is a buffer, so that a checkpoint holds it; it is -1 before the first batch.
    """

    mu: Tensor

    def __init__(self, weight: float, *, rho: float = 1.0, ramp: bool = False) -> None:
        super().__init__(weight, ramp=ramp)
        self.rho = rho
        self.register_buffer("mu", torch.tensor(-1.0))

    @full_precision
    def forward(self, embeddings: Tensor) -> Tensor:
        lengths = torch.linalg.vector_norm(embeddings, dim=1)
        mean = lengths.detach().mean()
        moved = (1 - self.rho) * self.mu + self.rho * mean
        mu = torch.where(self.mu < 0, mean, moved)
        if self.training:
            self.mu.copy_(mu)
        spread: Tensor = (lengths - mu).square().mean()
        return self.now * spread


class WithNorms(torch.nn.Module):
    """A loss plus penalties on the lengths of the embeddings that it is given."""

    def __init__(self, loss: torch.nn.Module, *, l2: L2 | None = None, sec: Sec | None = None):
        super().__init__()
        self.loss = loss
        self.penalties = torch.nn.ModuleList(p for p in (l2, sec) if p is not None)

    def at(self, fraction: float) -> None:
        """Say which share of the run's steps is done, to the loss too where it wants to know."""
        for part in (self.loss, *self.penalties):
            if tell := getattr(part, "at", None):
                tell(fraction)

    def forward(self, embeddings: Tensor, labels: Tensor, draws: torch.Generator) -> Tensor:
        value: Tensor = self.loss(embeddings, labels, draws)
        for penalty in self.penalties:
            value = value + penalty(embeddings)
        return value
