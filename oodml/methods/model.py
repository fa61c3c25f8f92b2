"""What is trained: a head on pooled features, which are cached or come from a network."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from oodml.embed.network import Network
from oodml.methods import distributed
from oodml.methods.heads import Head
from oodml.methods.lossmethod import LossMethod
from oodml.methods.method import FitContext
from oodml.methods.pictures import Pictures

Draw = Callable[[int], np.ndarray]
_PICTURES_AT_ONCE = 32


class TrainableHead(torch.nn.Module):
    """Pooled features `(b, d)` as un-normalised embeddings `(b, dim)`.

    Features are divided by `scale`; then come a batch normalisation, a hidden layer with a ReLU,
    both where the method wants them, and the embedding layer. `folded` is the same function, as
    trained, of plain layers only.
    """

    norm: torch.nn.BatchNorm1d | None

    def __init__(self, d: int, method: LossMethod, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.norm = torch.nn.BatchNorm1d(d) if method.bn else None
        widths = [d, *([method.hidden] if method.hidden else []), method.dim]
        self.layers = torch.nn.Sequential(*(torch.nn.Linear(*pair) for pair in pairwise(widths)))

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        found = pooled / self.scale
        if self.norm is not None:
            found = self.norm(found)
        first, *others = self.layers
        embeddings: torch.Tensor = first(found)
        for layer in others:
            embeddings = layer(torch.relu(embeddings))
        return embeddings

    def folded(self) -> Head:
        """A copy as the encoder of features of their own scale."""
        layers = [(layer.weight.detach(), layer.bias.detach()) for layer in self._linear()]
        weight, bias = layers[0]
        if self.norm is not None:
            slope, shift = _affine(self.norm)
            bias = bias + weight @ shift
            weight = weight * slope
        layers[0] = (weight / self.scale, bias)
        return Head.of(*((weight.cpu().clone(), bias.cpu().clone()) for weight, bias in layers))

    def _linear(self) -> list[torch.nn.Linear]:
        return [layer for layer in self.layers if isinstance(layer, torch.nn.Linear)]


def _affine(norm: torch.nn.BatchNorm1d) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch normalisation as x -> slope x + shift, with its running statistics."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    slope = norm.weight.detach() / (variance + norm.eps).sqrt()
    return slope, norm.bias.detach() - mean * slope


def build_head(context: FitContext, method: LossMethod) -> TrainableHead:
    """The head at the start, a function of the seed.

    Weights are normal with variance 1 / d, a random projection, which keeps angles on average
    (2 / d before a ReLU), and features are divided by their mean length on the train side, so that
    one learning rate suits encoders of any scale. The protocol `paper` leaves features as they are
    and draws weights uniformly below 1 / sqrt(d), as torch's own layers do.
    """
    vectors = context.train.vectors
    paper = context.protocol == "paper"
    scale = 1.0 if paper else float(np.linalg.norm(vectors, axis=1).mean()) or 1.0
    head = TrainableHead(vectors.shape[1], method, scale)
    for place, layer in enumerate(head._linear()):
        dim, d = layer.weight.shape
        rng = np.random.default_rng([context.seed, d, dim])
        if paper:
            weight, bias = (rng.uniform(-1, 1, shape) / np.sqrt(d) for shape in ((dim, d), dim))
        else:
            gain = 2.0 if place < len(head.layers) - 1 else 1.0
            normal = rng.standard_normal((dim, d), dtype=np.float32)
            weight, bias = normal * np.sqrt(gain / d, dtype=np.float32), np.zeros(dim)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(np.asarray(weight, np.float32)))
            layer.bias.copy_(torch.from_numpy(np.asarray(bias, np.float32)))
    return head.to(context.course.device)


# Where pooled features come from -----------------------------------------------------------------


class Source(Protocol):
    """Pooled features of the train side, and of the validation classes."""

    module: torch.nn.Module | None

    def pooled(self, rows: np.ndarray, step: int) -> torch.Tensor:
        """Those of a batch of rows of the train side, `(b, d)`."""

    def ahead(self, draw: Draw, step: int) -> None:
        """Begin to read the rows `draw(step)`, which will be asked for next."""

    def validation(self) -> torch.Tensor:
        """Those of all validation images, `(n, d)`."""


class Features:
    """Features that were computed before: nothing but the head is trained."""

    module: torch.nn.Module | None = None

    def __init__(self, context: FitContext) -> None:
        self._device = context.course.device
        self._train = torch.from_numpy(np.array(context.train.vectors, dtype=np.float32))
        self._train = self._train.to(self._device)
        self._val = None if context.val is None else context.val.vectors

    def pooled(self, rows: np.ndarray, step: int) -> torch.Tensor:  # noqa: ARG002
        return self._train[torch.from_numpy(rows).to(self._device)]

    def ahead(self, draw: Draw, step: int) -> None:
        """They are there."""

    def validation(self) -> torch.Tensor:
        assert self._val is not None
        return torch.from_numpy(np.array(self._val, dtype=np.float32)).to(self._device)


class Images:
    """Pictures through a network that is trained too, in evaluation: its batch normalisation keeps
    its statistics.
    """

    def __init__(self, context: FitContext, network: Network, pictures: Pictures) -> None:
        module = deepcopy(network.module).to(context.course.device).eval()
        for layer in module.modules():
            # Statistics stay in all protocols; ooDML's study trains the weights beside them.
            frozen = context.protocol != "paper" and isinstance(layer, _BatchNorm)
            for parameter in layer.parameters(recurse=False):
                parameter.requires_grad_(not frozen)
        self.module: torch.nn.Module | None = module
        self._network = Network(network.spec, module)
        self._context, self._pictures = context, pictures
        self._reader = ThreadPoolExecutor(1)
        self._coming: tuple[int, Future[torch.Tensor]] | None = None

    def pooled(self, rows: np.ndarray, step: int) -> torch.Tensor:
        coming, self._coming = self._coming, None
        ready = coming is not None and coming[0] == step
        batch = coming[1].result() if coming and ready else self._crops(rows, step)
        return distributed.gather(self._forward(batch), len(rows))

    def ahead(self, draw: Draw, step: int) -> None:
        """On a GPU, crops are made while it computes; a CPU has its hands full."""
        if torch.device(self._context.course.device).type != "cpu":
            self._coming = step, self._reader.submit(lambda: self._crops(draw(step), step))

    def _crops(self, rows: np.ndarray, step: int) -> torch.Tensor:
        mine = distributed.share(len(rows))
        return self._pictures.augmented(
            rows[mine], seed=self._context.seed, step=step, first=mine.start
        )

    def validation(self) -> torch.Tensor:
        assert self._context.val_images is not None
        with torch.inference_mode():
            batches = self._context.val_images.scored(_PICTURES_AT_ONCE)
            return torch.cat([self._forward(batch) for batch in batches])

    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        device = torch.device(self._context.course.device)
        bf16 = self._context.precision == "bf16"
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            pooled: torch.Tensor = self._network.module(self._network.normalised(batch.to(device)))
        return pooled.float()
