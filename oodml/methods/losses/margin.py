"""The margin loss, and its regularised form."""

from __future__ import annotations

import torch
from torch import Tensor

from oodml.methods.losses.batch import (
    distance,
    full_precision,
    positives_and_negatives,
    rows_of,
    total_over,
    unit,
)
from oodml.methods.losses.sampling import EVERYWHERE, draw_triplets


class MarginLoss(torch.nn.Module):
    """Margin loss with learnt class boundaries (Wu et al., ICCV 2017, equation 5).

        sum_t [ max(0, d_ap - beta_y + margin) + max(0, beta_y - d_an + margin) ] / active

    over one triplet (a, p, n) an anchor, of class y, drawn by distance (`draw_triplets`); d are
    Euclidean distances of unit vectors, and `active` is the number of triplets with either term
    above 0. With `rho`, a triplet becomes with that probability (a, a, p): images of one class are
    pushed apart, which keeps the space from being compressed (Roth et al., ICML 2020, section 5).

    As in ooDML's code. pytorch-metric-learning divides by the active positive plus the active
    negative terms, and its miner draws K triplets an anchor, none with a negative farther than 1.4.
    """

    def __init__(
        self,
        classes: int,
        *,
        beta: float,
        margin: float,
        rho: float = 0.0,
        cutoff: float = EVERYWHERE,
    ) -> None:
        super().__init__()
        self.beta = torch.nn.Parameter(torch.full((classes,), beta))
        self.margin = margin
        self.rho = rho
        self.cutoff = cutoff

    @full_precision
    def forward(self, embeddings: Tensor, labels: Tensor, draws: torch.Generator) -> Tensor:
        units = unit(embeddings)
        anchors, positives, negatives = self.triplets(units, labels, draws)
        beta = self.beta[labels[anchors]]
        own, near, far = (rows_of(units, rows) for rows in (anchors, positives, negatives))
        pull = torch.relu(distance(own, near) - beta + self.margin)
        push = torch.relu(beta - distance(own, far) + self.margin)
        return total_over(pull + push, ((pull > 0) | (push > 0)).sum())

    def triplets(
        self, units: Tensor, labels: Tensor, draws: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rows of anchors, positives and negatives; anchors that can have no negative are left out.

        An anchor that is alone in its class is its own positive, and never a triplet of `rho`.
        """
        positives, negatives, found = draw_triplets(units, labels, draws, self.cutoff)
        anchors = torch.arange(len(labels), device=labels.device)
        switched = torch.rand(len(labels), generator=draws).to(labels.device) < self.rho
        switched &= positives_and_negatives(labels)[0].any(dim=1)
        negatives = torch.where(switched, positives, negatives)
        positives = torch.where(switched, anchors, positives)
        kept = found | switched
        return anchors[kept], positives[kept], negatives[kept]
