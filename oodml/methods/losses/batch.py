"""What losses ask of a batch: unit vectors, cosines, distances, and who is of whose class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import torch
from torch import Tensor

P = ParamSpec("P")


def full_precision(
    forward: Callable[Concatenate[Any, Tensor, P], Tensor],
) -> Callable[Concatenate[Any, Tensor, P], Tensor]:
    """A `forward` that computes in float32 or better, inside autocast and on bfloat16 too.

    Distances of near vectors and exponentials of 40 times a cosine have no digits left in 8 bits.
    """

    @wraps(forward)
    def exact(self: Any, embeddings: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        with torch.autocast(embeddings.device.type, enabled=False):
            wide = torch.promote_types(embeddings.dtype, torch.float32)
            return forward(self, embeddings.to(wide), *args, **kwargs)

    return exact


# Vectors -----------------------------------------------------------------------------------------


def unit(vectors: Tensor) -> Tensor:
    """Rows of length 1; a row of zeros stays one, with gradient 1 and not 1 over nothing."""
    lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors / torch.where(lengths > 0, lengths, 1)


def rows_of(vectors: Tensor, rows: Tensor) -> Tensor:
    """Rows `(r, dim)` of vectors, which may come more than once.

    Their gradients are added one after the other: those of `vectors[rows]` are by several threads
    in any order, and so not the same bits every time.
    """
    return vectors.index_select(0, rows)


def squared_distances(units: Tensor) -> Tensor:
    """Squared Euclidean distances `(b, b)` of unit vectors, 2 - 2 cos."""
    return (2 - 2 * units @ units.T).clamp(min=0)


def distance(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances of rows, sqrt(|x - y|^2 + 1e-8): with a slope where they are equal."""
    return ((x - y).square().sum(dim=1) + 1e-8).sqrt()


def log_one_plus(exponents: Tensor, chosen: Tensor) -> Tensor:
    """log(1 + sum of exp over the chosen entries of each row), without overflow."""
    kept = torch.where(chosen, exponents, -torch.inf)
    return torch.logsumexp(torch.cat([exponents.new_zeros(len(kept), 1), kept], dim=1), dim=1)


def total_over(values: Tensor, count: Tensor) -> Tensor:
    """The sum of the values over their count; 0, with a gradient, where there are none."""
    return values.sum() / count.clamp(min=1)


# Classes -----------------------------------------------------------------------------------------


def positives_and_negatives(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Masks `(b, b)`: another image of the class; an image of another class."""
    same = labels[:, None] == labels[None, :]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return same & ~itself, ~same


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where the images of a batch stand in their classes.

    `codes` `(b,)` numbers the classes of the batch, `counts` `(c,)` are their images, `ranks`
    `(b,)` count the images of a class in the order of the batch.
    """

    codes: Tensor
    counts: Tensor
    ranks: Tensor

    @classmethod
    def of(cls, labels: Tensor) -> Places:
        _, codes, counts = torch.unique(labels, return_inverse=True, return_counts=True)
        order = codes.argsort(stable=True)
        starts = counts.cumsum(0) - counts
        ranks = torch.empty_like(codes)
        ranks[order] = torch.arange(len(codes), device=codes.device) - starts[codes[order]]
        return cls(codes, counts, ranks)
