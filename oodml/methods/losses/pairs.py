"""Losses on the pairs and triplets of a batch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from oodml.methods.losses.batch import (
    Places,
    distance,
    full_precision,
    log_one_plus,
    positives_and_negatives,
    rows_of,
    squared_distances,
    total_over,
    unit,
)
from oodml.methods.losses.sampling import draw_triplets

AT_ONCE = 2**22  # entries of a block of triplets; 16 MiB of float32


class ContrastiveLoss(torch.nn.Module):
    """mean max(0, d_p - pos_margin) + mean max(0, neg_margin - d_n) (after Hadsell et al., 2006).

    d are Euclidean distances of unit vectors. As in ooDML's code: hinges, not their squares (the
    paper's equation 4), over one positive and one negative an anchor, drawn by distance
    (`draw_triplets`). With `all_pairs` both means are over all pairs of the batch; then it is that
    of pytorch-metric-learning with its `MeanReducer` (its default divides by the pairs above 0).
    """

    def __init__(self, *, pos_margin: float, neg_margin: float, all_pairs: bool) -> None:
        super().__init__()
        self.pos_margin = pos_margin
        self.neg_margin = neg_margin
        self.all_pairs = all_pairs

    @full_precision
    def forward(self, embeddings: Tensor, labels: Tensor, draws: torch.Generator) -> Tensor:
        units = unit(embeddings)
        if self.all_pairs:
            near, far = self._all(units, labels)
        else:
            near, far = self._drawn(units, labels, draws)
        pull, push = torch.relu(near - self.pos_margin), torch.relu(self.neg_margin - far)
        return pull.sum() / max(1, len(pull)) + push.sum() / max(1, len(push))

    def _all(self, units: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        distances = (squared_distances(units) + 1e-8).sqrt()
        positive, negative = positives_and_negatives(labels)
        return distances[positive], distances[negative]

    def _drawn(
        self, units: Tensor, labels: Tensor, draws: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        positives, negatives, found = draw_triplets(units, labels, draws)
        near = distance(units, rows_of(units, positives))
        anchors = found.nonzero()[:, 0]
        return near, distance(rows_of(units, anchors), rows_of(units, negatives[anchors]))


class TripletLoss(torch.nn.Module):
    """mean max(0, d_ap - d_an + margin) over *all* triplets of the batch, also those at 0.

    d are squared Euclidean distances of unit vectors (Schroff et al., CVPR 2015, equation 2), as in
    the code of SEC. That of pytorch-metric-learning is the same with `LpDistance(power=2)` and
    `MeanReducer()`; by default it has plain distances and divides by the triplets above 0.
    """

    def __init__(self, *, margin: float) -> None:
        super().__init__()
        self.margin = margin

    @full_precision
    def forward(self, embeddings: Tensor, labels: Tensor, _draws: torch.Generator) -> Tensor:
        d = squared_distances(unit(embeddings))
        positive, negative = positives_and_negatives(labels)
        # A hinge is linear where it is active: with the counts of active triplets as weights the
        # sum over pairs has the value and the gradient of the sum over triplets.
        counts = self._active(d.detach(), positive, negative)
        active = counts[positive].sum()
        triplets = (positive.sum(dim=1) * negative.sum(dim=1)).sum()
        return total_over((counts * d).sum() + self.margin * active, triplets)

    def _active(self, d: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """`(b, b)`: the active triplets of each positive pair, less those of each negative one."""
        counts = torch.zeros_like(d)
        for a, p in _blocks(positive):
            active = negative[a] & (d[a] < d[a, p][:, None] + self.margin)
            counts[a, p] = active.sum(dim=1).to(d.dtype)
            counts.index_add_(0, a, active.to(d.dtype), alpha=-1)
        return counts


class SemihardLoss(torch.nn.Module):
    """mean max(0, d_ap - d_an + margin) over the positive pairs, each with one negative.

    The negative of a pair is the nearest one that is farther away than the positive; where there is
    none, the farthest. d are squared Euclidean distances of unit vectors. After Schroff et al.,
    CVPR 2015, section 3.2, in the form of TensorFlow's `triplet_semihard_loss` that SEC uses. The
    semi-hard miner of pytorch-metric-learning keeps all triplets inside the margin: another loss.
    """

    def __init__(self, *, margin: float) -> None:
        super().__init__()
        self.margin = margin

    @full_precision
    def forward(self, embeddings: Tensor, labels: Tensor, _draws: torch.Generator) -> Tensor:
        d = squared_distances(unit(embeddings))
        positive, negative = positives_and_negatives(labels)
        positive = positive & negative.any(dim=1, keepdim=True)
        anchors, positives = positive.nonzero(as_tuple=True)
        negatives = [_semihard(d.detach(), negative, a, p) for a, p in _blocks(positive)]
        hinges = torch.relu(d[anchors, positives] - d[anchors, torch.cat(negatives)] + self.margin)
        return hinges.sum() / max(1, len(hinges))


def _semihard(d: Tensor, negative: Tensor, anchors: Tensor, positives: Tensor) -> Tensor:
    """The column of the negative of each pair `(k,)`; every anchor has one."""
    rows, candidates = d[anchors], negative[anchors]
    farther = candidates & (rows > d[anchors, positives][:, None])
    lowest, nearest = torch.where(farther, rows, torch.inf).min(dim=1)
    farthest = torch.where(candidates, rows, -torch.inf).argmax(dim=1)
    return torch.where(lowest < torch.inf, nearest, farthest)


def _blocks(positive: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The positive pairs as rows and columns, so many at a time that the triplets fit memory."""
    size = max(1, AT_ONCE // len(positive))
    rows, columns = positive.nonzero(as_tuple=True)
    return zip(rows.split(size), columns.split(size), strict=True)


class NPairLoss(torch.nn.Module):
    """Softmax cross-entropy of `scale` times the cosines of first and second images of the classes.

    The first image of a class in the batch is the anchor, the second its positive, those of the
    other classes its negatives; the others are not used (Sohn, NIPS 2016, equation 8, of unit
    vectors times 5, as in the code of SEC). One direction only. `NTXentLoss` on anchors and
    positives alone in pytorch-metric-learning; its `NPairsLoss` has no scale.
    """

    def __init__(self, *, scale: float) -> None:
        super().__init__()
        self.scale = scale

    @full_precision
    def forward(self, embeddings: Tensor, labels: Tensor, _draws: torch.Generator) -> Tensor:
        places = Places.of(labels)
        paired = places.counts[places.codes] >= 2
        by_class = places.codes.argsort(stable=True)
        first = by_class[(paired & (places.ranks == 0))[by_class]]
        second = by_class[(paired & (places.ranks == 1))[by_class]]
        units = unit(embeddings)
        if len(first) == 0:
            return 0 * units.sum()
        logits = self.scale * units[first] @ units[second].T
        own = torch.arange(len(first), device=labels.device)
        return torch.nn.functional.cross_entropy(logits, own)


class MultiSimilarityLoss(torch.nn.Module):
    """Multi-similarity loss (equation 15) after its mining (Wang et al., CVPR 2019).

        (1/b) sum_i [ log(1 + sum_p exp(-alpha (s_ip - base))) / alpha
                    + log(1 + sum_n exp( beta (s_in - base))) / beta ]

    over cosines s. A positive p counts where s_ip < max_n s_in + epsilon, a negative n where
    s_in > min_p s_ip - epsilon; an anchor without both kinds counts nothing, nor does a positive
    at 1 - 1e-5 or more (the paper's code; SEC's and pytorch-metric-learning have the same value).

    `active_means` is the form in ooDML's code: the two logarithms are averaged apart, each over
    the anchors that have a mined pair of its kind, so that the gradient does not fade as batches
    get easy (the ratio of the two forms was 1.03 to 18.7). The image itself counts as a positive
    there when its hardest negative is within epsilon of 1; where nothing is mined the value is 0
    (a constant without gradient in that code).
    """

    def __init__(
        self, *, alpha: float, beta: float, base: float, epsilon: float, active_means: bool
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta
        self.base = base
        self.epsilon = epsilon
        self.active_means = active_means

    @full_precision
    def forward(self, embeddings: Tensor, labels: Tensor, _draws: torch.Generator) -> Tensor:
        units = unit(embeddings)
        similar = units @ units.T
        positive, negative = positives_and_negatives(labels)
        if self.active_means:
            return self._active_means(similar, *self._mined(similar, positive, negative, ~negative))
        # The same image, also when it was drawn twice, is no positive of itself.
        positive = positive & (similar < 1 - 1e-5)
        positive, negative = self._mined(similar, positive, negative, positive)
        active = positive.any(dim=1) & negative.any(dim=1)
        pull, push = self._logarithms(similar, positive, negative)
        return ((pull + push) * active).sum() / len(labels)

    def _mined(
        self, similar: Tensor, positive: Tensor, negative: Tensor, pulled: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Those of `pulled` and of `negative` that the bounds leave."""
        nearest_negative = torch.where(negative, similar, -torch.inf).amax(dim=1, keepdim=True)
        farthest_positive = torch.where(positive, similar, torch.inf).amin(dim=1, keepdim=True)
        return (
            pulled & (similar < nearest_negative + self.epsilon),
            negative & (similar > farthest_positive - self.epsilon),
        )

    def _active_means(self, similar: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        pull, push = self._logarithms(similar, positive, negative)
        return total_over(pull, positive.any(dim=1).sum()) + total_over(
            push, negative.any(dim=1).sum()
        )

    def _logarithms(
        self, similar: Tensor, positive: Tensor, negative: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Both logarithms of each anchor `(b,)`; 0 where nothing is mined."""
        pull = log_one_plus(-self.alpha * (similar - self.base), positive) / self.alpha
        push = log_one_plus(self.beta * (similar - self.base), negative) / self.beta
        return pull, push
