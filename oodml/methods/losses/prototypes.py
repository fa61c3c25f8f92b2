"""The loss of prototypical networks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from oodml.methods.losses.batch import Places, full_precision


class PrototypeLoss(torch.nn.Module):
    """Prototypical networks (Snell et al., NIPS 2017, equations 1 and 2); a batch is an episode.

        -mean over queries x of log softmax_c( -|x - p_c|^2 ) at the class of x

    p_c is the mean of the support of class c: its first images in the batch, a share `support` of
    them rounded down, and at least one; the others are queries. Squared Euclidean distances of
    un-normalised embeddings. As in Adapted Deep Embeddings, whose episodes hold `support` = 0.75
    when adapting; the gradient goes through support and queries.
    """

    def __init__(self, *, support: float) -> None:
        super().__init__()
        self.support = support

    @full_precision
    def forward(self, embeddings: Tensor, labels: Tensor, _draws: torch.Generator) -> Tensor:
        places = Places.of(labels)
        sizes = (places.counts * self.support).long().clamp(min=1)
        query = places.ranks >= sizes[places.codes]
        classes = torch.arange(len(sizes), device=labels.device)
        holds = (classes[:, None] == places.codes[None, :]) & ~query[None, :]
        prototypes = holds.to(embeddings.dtype) @ embeddings / sizes[:, None]
        # Without |x|^2, which is the same for all classes.
        logits = 2 * embeddings[query] @ prototypes.T - prototypes.square().sum(dim=1)
        return cross_entropy(logits, places.codes[query], reduction="sum") / max(1, len(logits))
