"""The `head` protocol: a linear embedding layer trained on cached features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from oodml.errors import RunError
from oodml.methods.heads import LinearHead
from oodml.methods.method import FitContext, Trained
from oodml.methods.sampler import BalancedSampler
from oodml.metrics import evaluate

if TYPE_CHECKING:
    import torch

Loss = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]
CHECK_EVERY = 50


@dataclass(frozen=True, slots=True)
class Layer:
    """Size and optimiser of the embedding layer."""

    dim: int
    lr: float
    weight_decay: float


def train_head(context: FitContext, layer: Layer, loss: Loss) -> Trained:
    """Minimise `loss(embeddings (b, dim), labels (b,))` over balanced batches with Adam.

    Features are divided by their mean length on the train side, which is folded into the layer at
    the end, so that one learning rate suits encoders of any scale. The result is a function of
    data, budget and seed. With selection `val`, it is the state with the best validation recall@1,
    checked every 50 steps.
    """
    import torch

    features = torch.from_numpy(np.array(context.train.vectors, dtype=np.float32))
    labels = torch.from_numpy(np.array(context.train.labels))
    scale = float(features.norm(dim=1).mean()) or 1.0
    features = (features / scale).to(context.device)
    labels = labels.to(context.device)
    weight, bias = _initial(features.shape[1], layer.dim, context.seed, context.device)
    optimiser = torch.optim.Adam([weight, bias], lr=layer.lr, weight_decay=layer.weight_decay)
    budget = context.budget
    sampler = BalancedSampler.of(
        context.train.labels, batch=budget.batch, per_class=budget.per_class, seed=context.seed
    )
    history: list[Mapping[str, Any]] = []
    best = _Best()
    for step in range(1, budget.steps + 1):
        rows = torch.from_numpy(sampler.draw(step)).to(context.device)
        value = loss(torch.nn.functional.linear(features[rows], weight, bias), labels[rows])
        if not torch.isfinite(value):
            raise RunError(
                f"The loss is {value.item()} at step {step}; lower lr or check the features."
            )
        optimiser.zero_grad()
        if value.requires_grad:
            value.backward()
            optimiser.step()
        record: dict[str, Any] = {"step": step, "loss": value.item()}
        if context.val is not None and (step % CHECK_EVERY == 0 or step == budget.steps):
            head = _folded(weight, bias, scale)
            record["val recall@1"] = _validate(head, context)
            best = best.or_better(record["val recall@1"], head)
        history.append(record)
    return Trained(best.head or _folded(weight, bias, scale), tuple(history))


@dataclass(frozen=True, slots=True)
class _Best:
    """The best state so far, kept by value."""

    recall: float = -1.0
    head: LinearHead | None = None

    def or_better(self, recall: float, head: LinearHead) -> _Best:
        return _Best(recall, head) if recall > self.recall else self


def _initial(d: int, dim: int, seed: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Normal weights of variance 1 / d: a random projection, which keeps angles on average."""
    import torch

    rng = np.random.default_rng([seed, d, dim])
    normal = rng.standard_normal((dim, d), dtype=np.float32) / np.sqrt(d, dtype=np.float32)
    weight = torch.from_numpy(normal).to(device).requires_grad_()
    return weight, torch.zeros(dim, device=device, requires_grad=True)


def _folded(weight: torch.Tensor, bias: torch.Tensor, scale: float) -> LinearHead:
    """A copy of the layer for features of their own scale."""
    return LinearHead.of((weight.detach() / scale).clone(), bias.detach().clone())


def _validate(head: LinearHead, context: FitContext) -> float:
    import torch

    assert context.val is not None
    with torch.inference_mode():
        vectors = torch.from_numpy(np.array(context.val.vectors)).to(context.device)
        embedded = head(vectors).cpu().numpy()
    return evaluate(embedded, context.val.labels, ["recall@1"])["recall@1"]
