"""The histogram loss."""

from __future__ import annotations

import torch
from torch import Tensor

from oodml.methods.losses.batch import full_precision, positives_and_negatives, unit


class HistogramLoss(torch.nn.Module):
    """Histogram loss (Ustinova and Lempitsky, NIPS 2016, equations 1 to 5).

        sum_r h-_r sum_{q <= r} h+_q

    h+ and h- are the histograms of the cosines of all pairs i < j of one class and of two classes,
    on `bins` + 1 nodes from -1 to 1, a cosine shared between its two nodes linearly. It estimates
    the probability that a negative pair is at least as similar as a positive one.

    Cosines are clamped to [-1, 1]: that of two equal vectors counts at the last node. (The code of
    Adapted Deep Embeddings drops it, pytorch-metric-learning 2.9 raises.) The latter also takes
    O(b^3) memory, and leaves out images that are in no triplet; otherwise it is the same with
    `n_bins=200`.
    """

    def __init__(self, *, bins: int) -> None:
        super().__init__()
        self.bins = bins

    @full_precision
    def forward(self, embeddings: Tensor, labels: Tensor, _draws: torch.Generator) -> Tensor:
        units = unit(embeddings)
        positive, negative = positives_and_negatives(labels)
        cosines = units @ units.T
        positives = self._histogram(cosines[positive.triu(1)])
        negatives = self._histogram(cosines[negative.triu(1)])
        return (negatives * positives.cumsum(0)).sum()

    def _histogram(self, cosines: Tensor) -> Tensor:
        """Shares `(bins + 1,)`; zeros where there is no pair."""
        places = ((cosines + 1) * (self.bins / 2)).clamp(0, self.bins)
        lower = places.detach().floor().clamp(max=self.bins - 1)
        upper_share = places - lower
        shares = places.new_zeros(self.bins + 1)
        shares = shares.scatter_add(0, lower.long(), 1 - upper_share)
        shares = shares.scatter_add(0, lower.long() + 1, upper_share)
        return shares / max(1, len(cosines))
