"""`oodml bench train`: what the training of a head costs, and each loss beside a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from oodml.bench.timing import BenchRow, timed
from oodml.embed import EmbeddingSet, open_encoder
from oodml.methods import METHODS, Budget, FitContext, LossMethod, find_method

if TYPE_CHECKING:
    import torch

CLASSES, IMAGES, D, DIM = 98, 4027, 1280, 512  # the train side of CARS196's default split
BATCH, PER_CLASS = 112, 2  # ooDML's, for a network


def bench_train(*, quick: bool = False) -> Iterator[BenchRow]:
    """400 steps of batch 256 for each method on one thread; then each loss beside a network's step.

    The head alone has a loss that costs nothing; peers are pytorch-metric-learning's losses in a
    plain loop on the same head, batches and optimiser.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield from _heads(quick=quick)
        yield from _beside_a_network(quick=quick)
    finally:
        torch.set_num_threads(threads)


def _heads(*, quick: bool) -> Iterator[BenchRow]:
    steps = 20 if quick else 400
    task = f"head {D} -> {DIM}: {steps} steps of batch 256 on {IMAGES:,} images, one thread"
    features = _features()
    context = FitContext(features, None, "head", Budget(steps), "last", 0)
    free: Loss = lambda embeddings, _: embeddings.square().mean()  # noqa: E731
    _plain_loop(replace(context, budget=Budget(2)), free)  # torch loads its optimisers
    seconds, _ = timed(partial(_plain_loop, context, free), repeats=1, warm=False)
    yield BenchRow(task, "a plain loop, the head alone", seconds)
    for name in METHODS:
        method = find_method(name)
        if isinstance(method, LossMethod):
            seconds, _ = timed(partial(method.fit, context), repeats=1, warm=False)
            yield BenchRow(task, f"oodml: {name}", seconds)
    for name, loss in _peers().items():
        seconds, _ = timed(partial(_plain_loop, context, loss), repeats=1, warm=False)
        yield BenchRow(task, f"pytorch-metric-learning: {name}", seconds)
    if not _peers():
        yield BenchRow(task, "pytorch-metric-learning", None, note="not installed")


def _features() -> EmbeddingSet:
    """Clustered vectors of the size of CARS196's train side."""
    rng = np.random.default_rng(0)
    labels = np.sort(np.arange(IMAGES) % CLASSES)
    centres = rng.standard_normal((CLASSES, D), dtype=np.float32)
    vectors = centres[labels] + rng.standard_normal((IMAGES, D), dtype=np.float32)
    ids = tuple(map(str, range(IMAGES)))
    classes = tuple(f"class {at:02}" for at in range(CLASSES))
    return EmbeddingSet("bench", classes, labels, ids, vectors, "bench")


Loss = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]


def _plain_loop(context: FitContext, loss: Loss) -> None:
    """The loop that one would write by hand: the same head, batches and optimiser."""
    import torch

    from oodml.methods.sampler import BalancedSampler

    budget, labels = context.budget, torch.from_numpy(np.array(context.train.labels))
    sampler = BalancedSampler.of(
        context.train.labels, batch=budget.batch, per_class=budget.per_class, seed=0
    )
    features = torch.from_numpy(np.array(context.train.vectors))
    head = torch.nn.Linear(D, DIM)
    own = loss.parameters() if isinstance(loss, torch.nn.Module) else ()
    optimiser = torch.optim.Adam([*head.parameters(), *own], lr=1e-3, fused=True)
    for step in range(1, budget.steps + 1):
        rows = torch.from_numpy(sampler.draw(step))
        value = loss(head(features[rows]), labels[rows])
        optimiser.zero_grad()
        value.backward()
        optimiser.step()


def _peers() -> dict[str, Loss]:
    """Losses with the settings of ours, where pytorch-metric-learning is installed."""
    try:
        from pytorch_metric_learning import distances, losses, miners, reducers
    except ImportError:
        return {}
    mine = miners.MultiSimilarityMiner(epsilon=0.1)
    multisimilarity = losses.MultiSimilarityLoss(alpha=2, beta=40, base=0.5)
    distance_weighted = miners.DistanceWeightedMiner(cutoff=0.5, nonzero_loss_cutoff=2.0)
    margin = losses.MarginLoss(margin=0.2, beta=1.2)
    squared = distances.LpDistance(power=2)
    triplet = losses.TripletMarginLoss(margin=1.0, distance=squared, reducer=reducers.MeanReducer())
    proxyanchor = losses.ProxyAnchorLoss(CLASSES, DIM)
    return {
        "multisimilarity": lambda e, y: multisimilarity(e, y, mine(e, y)),
        "margin": lambda e, y: margin(e, y, distance_weighted(e, y)),
        "triplet": triplet,
        "proxyanchor": proxyanchor,
    }


def _beside_a_network(*, quick: bool) -> Iterator[BenchRow]:
    """A step of MobileNetV2 on a batch, and what each loss adds to it, forward and backward."""
    import torch

    batch, size = (16, 64) if quick else (BATCH, 224)
    task = f"one step at batch {batch}: MobileNetV2 on {size} x {size} pixels, and each loss"
    network = open_encoder(f"tv:mobilenet_v2?init=random&size={size}")
    module = network.module  # type: ignore[attr-defined]
    images = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        module.zero_grad()
        module(images).square().mean().backward()

    for parameter in module.parameters():
        parameter.requires_grad_()
    seconds, _ = timed(step, repeats=1)
    yield BenchRow(task, "the network", seconds)
    labels = torch.arange(batch // PER_CLASS).repeat_interleave(PER_CLASS)
    for name in METHODS:
        method = find_method(name)
        if isinstance(method, LossMethod):
            seconds, _ = timed(partial(_loss_step, method, labels), repeats=3 if quick else 20)
            yield BenchRow(task, f"oodml: {name}", seconds)


def _loss_step(method: LossMethod, labels: torch.Tensor) -> Any:
    import torch

    draws = torch.Generator().manual_seed(0)
    loss = method.loss(CLASSES, draws)
    embeddings = torch.randn(len(labels), DIM, generator=draws, requires_grad=True)
    loss(embeddings, labels, draws).backward()
    return embeddings.grad
