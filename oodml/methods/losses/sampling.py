"""Distance-weighted sampling: one triplet an anchor."""

from __future__ import annotations

import torch
from torch import Tensor

from oodml.methods.losses.batch import positives_and_negatives, squared_distances

NEAREST = 0.5  # nearer negatives are drawn as if they were so far: the paper's cap on the weights
EVERYWHERE = 2.0  # the cutoff that leaves out no negative: unit vectors are no farther apart


def draw_triplets(
    units: Tensor, labels: Tensor, draws: torch.Generator, cutoff: float = EVERYWHERE
) -> tuple[Tensor, Tensor, Tensor]:
    """A positive and a negative for every image, and whether it has a negative: each `(b,)`.

    The positive is uniform among the others of its class (itself where there is none), the
    negative has a probability that goes with 1 / q(d) (`log_weights`), among those at most `cutoff`
    away.
    """
    positive, negative = positives_and_negatives(labels)
    squared = squared_distances(units.detach())
    reachable = negative & (squared <= cutoff**2)
    found = reachable.any(dim=1)
    logs = torch.where(reachable, log_weights(squared, units.shape[1]), -torch.inf)
    weights = (logs - logs.amax(dim=1, keepdim=True)).exp()
    negatives = _draw(torch.where(found[:, None], weights, 1), draws)
    alone = ~positive.any(dim=1)
    positives = _draw((positive | torch.diag(alone)).to(weights.dtype), draws)
    return positives, negatives, found


def log_weights(squared: Tensor, dim: int) -> Tensor:
    """log 1/q(d) = (2 - D) log d - (D - 3)/2 log(1 - d^2/4), d at least 0.5, for squared d.

    q is the density of the distance of two random points of the unit sphere (Wu et al., ICCV 2017,
    section 4). It is 0 for opposite points; the last term stops at 1e-6 before it.
    """
    squared = squared.clamp(min=NEAREST**2)
    inside = (1 - squared / 4).clamp(min=1e-6)
    return (2 - dim) / 2 * squared.log() - (dim - 3) / 2 * inside.log()


def _draw(weights: Tensor, draws: torch.Generator) -> Tensor:
    """A column for each row, with a probability that goes with its weight.

    One number a row, from the CPU where the generator is: the first column with more weight up to
    it than that share of the row's. (`torch.multinomial` draws one an entry, for as long as all the
    rest of the margin loss takes.)
    """
    up_to = weights.double().cumsum(dim=1)
    total = up_to[:, -1:]
    shares = torch.rand(len(weights), 1, generator=draws, dtype=torch.float64)
    target = (shares.to(weights.device) * total).minimum(torch.nextafter(total, 0 * total))
    return torch.searchsorted(up_to, target, right=True).squeeze(1)
