"""The training loop: from a loss to an encoder, the same bytes every time.

Batch t, its augmentation and every draw of the loss are functions of (seed, t) alone, so that a
training that was killed goes on from its checkpoint to the same weights, bit for bit, on a CPU with
the same number of threads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from oodml.embed.network import Network
from oodml.errors import RunError
from oodml.methods import distributed
from oodml.methods.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from oodml.methods.heads import with_head
from oodml.methods.lossmethod import LossMethod
from oodml.methods.method import TRAINING, FitContext, Trained, parameters
from oodml.methods.model import Features, Images, Source, build_head
from oodml.methods.sampler import BalancedSampler
from oodml.metrics import evaluate
from oodml.store import digest

Record = dict[str, Any]


def train(context: FitContext, method: LossMethod) -> Trained:
    """Minimise the method's loss over balanced batches with Adam.

    The result is a function of data, budget and seed. With selection `last` it is the state after
    the last step; with `val` that of the best validation recall@1, the first of equals, looked at
    every `budget.check` steps and at the end. Raises `RunError` with step and method where the loss
    is not finite.
    """
    training = Training(context, method)
    training.resume()
    while training.step < training.steps:
        training.advance()
    return training.trained()


class Training:
    """The state of a training between two steps."""

    def __init__(self, context: FitContext, method: LossMethod) -> None:
        self.context, self.method = context, method
        self.steps = method.steps_of(context.budget.steps_on(len(context.train)))
        self.step, self.records, self.best = 0, list[Record](), -1.0
        self.source = _source(context)
        self.head = build_head(context, method).train()
        classes = len(context.train.classes)
        loss: Any = method.loss(classes, _draws(context.seed, 0))
        self.loss = loss.to(context.course.device)
        self.optimiser = _optimiser(self)
        self.labels = torch.from_numpy(np.array(context.train.labels))
        budget = context.budget
        self._sampler = BalancedSampler.of(
            context.train.labels,
            batch=budget.batch,
            per_class=budget.per_class,
            seed=context.seed,
            replacement=budget.replacement,
        )
        self._best: dict[str, torch.Tensor] = {}
        self._resting = method.warmup * max(1, len(context.train) // budget.batch)
        self._run = _digest_of(context, method)
        self._saved = time.monotonic()

    def advance(self) -> None:
        """One step: a batch, its loss, its gradients, and what is to be written down of it."""
        self.step += 1
        record: Record = {"step": self.step, "loss": self._descend()}
        if self.context.val is not None and self._is_check():
            record["val recall@1"] = self._validate()
            if record["val recall@1"] > self.best:
                self.best = record["val recall@1"]
                self._best = {key: value.clone() for key, value in self._model().items()}
        self.records.append(record)
        if tracker := self.context.course.tracker:
            tracker.log(self.step, {key: record[key] for key in record if key != "step"})
        self._save_now_and_then()

    def trained(self) -> Trained:
        """The encoder of the selected state."""
        if self._best:
            self._load_model(self._best)
        self.head.eval()
        history = tuple(self.records)
        if self.source.module is None:
            return Trained(self.head.folded(), history)
        return Trained(_network(self), history)

    def _descend(self) -> float:
        rows = self._sampler.draw(self.step)
        labels = self.labels[torch.from_numpy(rows)].to(self.context.course.device)
        if hasattr(self.loss, "at"):
            self.loss.at(self.step / self.steps)
        with torch.set_grad_enabled(self.step > self._resting):
            pooled = self.source.pooled(rows, self.step)
        if self.step < self.steps:
            self.source.ahead(self._sampler.draw, self.step + 1)
        embeddings = self.head(pooled)
        value = self.loss(embeddings, labels, _draws(self.context.seed, self.step))
        found = float(value.detach())
        if not math.isfinite(found):
            raise RunError(
                f"The loss of {self.method.name} is {found} at step {self.step}; lower lr or check "
                "the features."
            )
        self.optimiser.zero_grad()
        if value.requires_grad:
            value.backward()
            if self.source.module is not None and pooled.requires_grad:
                distributed.add_gradients(self.source.module.parameters())
            self.optimiser.step()
        return found

    def _is_check(self) -> bool:
        return self.step % self.context.budget.check == 0 or self.step == self.steps

    def _validate(self) -> float:
        assert self.context.val is not None
        self.head.eval()
        with torch.inference_mode():
            embedded = self.head(self.source.validation()).float().cpu().numpy()
        self.head.train()
        return evaluate(embedded, self.context.val.labels, ["recall@1"])["recall@1"]

    # Checkpoints ---------------------------------------------------------------------------------

    def resume(self) -> None:
        """Go on from the checkpoint of this training, where there is one."""
        folder = self.context.course.folder
        found = None if folder is None else read_checkpoint(folder, self._run)
        if found is None:
            return
        parts: dict[str, dict[str, torch.Tensor]] = {}
        for key, value in found.tensors.items():
            part, _, name = key.partition("/")
            parts.setdefault(part, {})[name] = value
        self._load_model(parts["model"])
        self.loss.load_state_dict(parts.get("loss", {}))
        _load_moments(self.optimiser, parts.get("adam", {}))
        self._best = parts.get("best", {})
        self.step, self.best = found.step, found.facts["best"]
        self.records = list(found.facts["records"])

    def _save_now_and_then(self) -> None:
        course = self.context.course
        if course.folder is None or time.monotonic() - self._saved < course.every:
            return
        parts = {
            "model": self._model(),
            "loss": self.loss.state_dict(),
            "adam": _moments(self.optimiser),
            "best": self._best,
        }
        tensors = {f"{part}/{key}": v for part, state in parts.items() for key, v in state.items()}
        facts = {"best": self.best, "records": self.records}
        if distributed.rank() == 0:
            checkpoint = Checkpoint(self.step, tensors, facts)
            write_checkpoint(course.folder, checkpoint, self._run)
        self._saved = time.monotonic()

    def _model(self) -> dict[str, torch.Tensor]:
        module = self.source.module
        backbone = {} if module is None else module.state_dict(prefix="backbone.")
        return {**backbone, **self.head.state_dict(prefix="head.")}

    def _load_model(self, state: Mapping[str, torch.Tensor]) -> None:
        self.head.load_state_dict(_under("head.", state))
        if self.source.module is not None:
            self.source.module.load_state_dict(_under("backbone.", state))


def _source(context: FitContext) -> Source:
    if context.protocol == "head":
        return Features(context)
    if context.images is None or context.network is None:
        raise RunError(
            f"Protocol {context.protocol} trains the network, which takes images and a network of "
            "torch; give --dataset and --encoder, or use --protocol head."
        )
    return Images(context, context.network, context.images)


def _digest_of(context: FitContext, method: LossMethod) -> str:
    """What the state of a training depends on, threads included."""
    facts = [
        *(method.name, method.version, parameters(method), context.seed, context.selection),
        *(asdict(context.budget), context.protocol, context.precision, context.train.digest()),
        *(TRAINING, torch.get_num_threads(), torch.__version__, context.course.device),
        context.network.spec.identity() if context.network else None,
    ]
    return digest(facts)


def _draws(seed: int, step: int) -> torch.Generator:
    """The random numbers of a loss at a step; step 0 is its initialisation."""
    state = np.random.SeedSequence([seed, step, 1]).generate_state(2)
    return torch.Generator().manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)


def _optimiser(training: Training) -> torch.optim.Adam:
    """Adam; neither the parameters of a loss nor those of a normalisation are pulled to zero."""
    method, head = training.method, training.head
    norm = list(head.norm.parameters()) if head.norm is not None else []
    module = training.source.module
    backbone = [] if module is None else [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": list(head.layers.parameters()), "weight_decay": method.weight_decay},
        {"params": norm, "weight_decay": 0.0},
        {
            "params": backbone,
            "lr": method.network_lr or method.lr,
            "weight_decay": method.weight_decay,
        },
        {"params": list(training.loss.parameters()), "lr": method.loss_lr, "weight_decay": 0.0},
    ]
    return torch.optim.Adam([g for g in groups if g["params"]], lr=method.lr, fused=True)


def _parameters(optimiser: torch.optim.Optimizer) -> Iterator[tuple[int, torch.nn.Parameter]]:
    yield from enumerate(p for group in optimiser.param_groups for p in group["params"])


def _moments(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimiser's tensors by the number of the parameter."""
    return {
        f"{at}/{key}": value
        for at, parameter in _parameters(optimiser)
        for key, value in optimiser.state[parameter].items()
    }


def _load_moments(optimiser: torch.optim.Optimizer, state: Mapping[str, torch.Tensor]) -> None:
    for at, parameter in _parameters(optimiser):
        own = _under(f"{at}/", state)
        if own:
            optimiser.state[parameter] = {
                key: torch.empty_like(parameter).copy_(value)
                if value.dim()
                else value.to(parameter.device)
                for key, value in own.items()
            }


def _under(prefix: str, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): value for k, value in state.items() if k.startswith(prefix)}


def _network(training: Training) -> Network:
    """The trained network with its head; in evaluation, and without gradients."""
    before, module = training.context.network, training.source.module
    assert before is not None
    assert module is not None
    spec = replace(before.spec, precision=training.context.precision)
    return with_head(
        Network(spec, module.requires_grad_(requires_grad=False)), training.head.folded()
    )
