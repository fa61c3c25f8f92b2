"""`multisimilarity`: the multi-similarity loss with its mining (Wang et al., CVPR 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from oodml.methods.method import FitContext, Needs, Trained, check_positive
from oodml.methods.training import Layer, train_head

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class MultiSimilarity:
    """Trains a linear layer with the multi-similarity loss (equation 15) after its mining."""

    dim: int = 512
    lr: float = 1e-3
    weight_decay: float = 0.0
    alpha: float = 2.0
    beta: float = 40.0
    base: float = 0.5
    epsilon: float = 0.1

    def __post_init__(self) -> None:
        check_positive(self, "dim", "lr", "alpha", "beta")

    name: ClassVar[str] = "multisimilarity"
    version: ClassVar[int] = 1
    needs: ClassVar[Needs] = "features"
    seeded: ClassVar[bool] = True

    def fit(self, context: FitContext) -> Trained:
        return train_head(context, Layer(self.dim, self.lr, self.weight_decay), self.loss)

    def loss(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of a batch `(b, dim)` of un-normalised embeddings with labels `(b,)`; a scalar.

        (1/b) sum_i [ log(1 + sum_p exp(-alpha (s_ip - base))) / alpha
                    + log(1 + sum_n exp( beta (s_in - base))) / beta ]

        over cosines s. A positive p counts where s_ip < max_n s_in + epsilon, a negative n where
        s_in > min_p s_ip - epsilon; an anchor without both kinds counts nothing.
        """
        import torch

        unit = torch.nn.functional.normalize(embeddings, dim=1)
        similar = unit @ unit.T
        same = labels[:, None] == labels[None, :]
        # The same image, also when it was drawn twice, is no positive of itself.
        positive = same & (similar < 1 - 1e-5)
        infinite = torch.full_like(similar, torch.inf)
        nearest_negative = torch.where(same, -infinite, similar).amax(dim=1, keepdim=True)
        farthest_positive = torch.where(positive, similar, infinite).amin(dim=1, keepdim=True)
        positive = positive & (similar < nearest_negative + self.epsilon)
        negative = ~same & (similar > farthest_positive - self.epsilon)
        active = positive.any(dim=1) & negative.any(dim=1)
        pull = _log_one_plus(-self.alpha * (similar - self.base), positive) / self.alpha
        push = _log_one_plus(self.beta * (similar - self.base), negative) / self.beta
        return ((pull + push) * active).sum() / len(labels)


def _log_one_plus(exponents: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """log(1 + sum of exp over the chosen entries of each row), without overflow."""
    import torch

    chosen_exponents = torch.where(chosen, exponents, torch.full_like(exponents, -torch.inf))
    one = exponents.new_zeros((len(exponents), 1))
    return torch.logsumexp(torch.cat([one, chosen_exponents], dim=1), dim=1)
