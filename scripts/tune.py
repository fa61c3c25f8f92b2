"""Tune the settings of methods on features: the same number of trials for each, chosen on
validation classes alone; writes a preset with all of its trials.

    python scripts/tune.py --embeddings cars.emb --splits cars196_official.json \
        --method margin --method triplet+sec -o oodml/methods/presets/cars196_half.json

A trial draws learning rates, weight decay, steps and the weights of +l2 and +sec log-uniformly from
ranges that are the same for all methods, by a seeded generator that does not know the method: trial
i of `triplet`, `triplet+l2` and `triplet+sec` has the same rates, decay and steps. It is trained on
the train classes of the first, the middle and the last split and judged by the mean of the
validation classes' Recall@1; the test classes of these splits are not looked at (validation classes
of one split are test classes of others, so a preset has seen most classes of its data set: it
compares methods on the same footing, and is no estimate for new classes). The work file beside the
output holds every trial as it is done: killed, the same command goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

import oodml
from oodml.embed import EmbeddingSet, read_embeddings
from oodml.errors import RunError
from oodml.methods import TRAINING, Budget, FitContext, defaults_of, find_method
from oodml.score import transform
from oodml.split import SplitSequence, read_sequence
from oodml.store import canonical_json, digest, write_text

RANGES = {  # of each parameter that a method has; log-uniform
    "lr": (1e-4, 1e-2),
    "beta_lr": (1e-4, 1e-1),
    "proxy_lr": (1e-4, 1e-1),
    "weight_decay": (1e-6, 1e-3),
    "steps": (50, 400),
    "l2": (1e-5, 1e-1),
    "sec": (1e-2, 10.0),
}
SEED = 0


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting of a method on one split."""

    method: str
    number: int
    rank: int
    parameters: Mapping[str, float]

    inputs: str

    @property
    def key(self) -> str:
        """All that its recall depends on, in short."""
        facts = [self.inputs, self.method, self.number, self.rank, dict(self.parameters), TRAINING]
        return f"{self.method} {self.number} {self.rank} {digest(facts)[:12]}"


def draws(method: str, number: int) -> dict[str, float]:
    """The parameters of a trial: each has numbers of its own, whatever else the method has."""
    own = defaults_of(method)
    found: dict[str, float] = {}
    for place, (name, (low, high)) in enumerate(RANGES.items()):
        uniform = np.random.default_rng([SEED, number, place]).uniform()
        value = float(np.exp(np.log(low) + uniform * np.log(high / low)))
        if name in own:
            found[name] = round(value, -1) if name == "steps" else float(f"{value:.3g}")
    return {**found, "steps": int(found["steps"])}


@lru_cache(maxsize=1)
def inputs(embeddings: Path, splits: Path) -> tuple[EmbeddingSet, SplitSequence]:
    return read_embeddings(embeddings), read_sequence(splits)


def recall(embeddings: Path, splits: Path, trial: Trial) -> float:
    """Recall@1 of the validation classes after training on the train classes."""
    import torch

    torch.set_num_threads(1)
    vectors, sequence = inputs(embeddings, splits)
    split = sequence.at(trial.rank)
    train, val = vectors.of(split.train), vectors.of(split.val)
    context = FitContext(train, None, "head", Budget(), "last", SEED)
    query = "&".join(f"{key}={value!r}" for key, value in trial.parameters.items())
    try:
        encoder = find_method(f"{trial.method}?{query}").fit(context).encoder
    except RunError:  # a rate so high that the loss is not finite
        return 0.0
    found = transform(encoder, val.vectors)  # type: ignore[arg-type]
    return float(oodml.evaluate(found, val.labels, ["recall@1"])["recall@1"])


def plan(methods: Iterable[str], trials: int, ranks: tuple[int, ...], inputs: str) -> list[Trial]:
    return [
        Trial(method, number, rank, draws(method, number), inputs)
        for number in range(trials)
        for method in methods
        for rank in ranks
    ]


def chosen(trials: list[dict[str, Any]]) -> dict[str, float]:
    """The parameters of the best trial; the first of equals."""
    best: dict[str, Any] = max(trials, key=lambda trial: trial["mean"])
    parameters: dict[str, float] = best["parameters"]
    return parameters


def summary(done: Mapping[str, float], todo: list[Trial]) -> dict[str, list[dict[str, Any]]]:
    """The trials of each method with their recalls, in order."""
    grouped: dict[tuple[str, int], list[Trial]] = {}
    for trial in todo:
        grouped.setdefault((trial.method, trial.number), []).append(trial)
    found: dict[str, list[dict[str, Any]]] = {}
    for (method, _), trials in grouped.items():
        recalls = [round(done[trial.key], 6) for trial in trials]
        mean = round(float(np.mean(recalls)), 6)
        record = {"parameters": dict(trials[0].parameters), "recalls": recalls, "mean": mean}
        found.setdefault(method, []).append(record)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--embeddings", type=Path, required=True)
    parser.add_argument("--splits", type=Path, required=True)
    parser.add_argument("--method", dest="methods", action="append", required=True)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args()
    vectors, sequence = inputs(asked.embeddings, asked.splits)
    last = len(sequence.splits)
    ranks = (1, (last + 1) // 2, last)
    todo = plan(asked.methods, asked.trials, ranks, f"{vectors.digest()} {sequence.digest}")
    done = carry_out(asked, todo)
    trials = summary(done, todo)
    write_text(
        asked.output,
        json.dumps(
            {
                "about": "validation Recall@1 on features; see scripts/tune.py",
                "dataset": vectors.dataset,
                "encoder": vectors.source,
                "features": vectors.digest(),
                "sequence": sequence.digest,
                "ranks": ranks,
                "seed": SEED,
                "budget": asdict(Budget()),
                "ranges": RANGES,
                "common": {},
                "chosen": {method: chosen(found) for method, found in trials.items()},
                "trials": trials,
            },
            indent=1,
            sort_keys=True,
        )
        + "\n",
    )
    for method, found in trials.items():
        best = max(found, key=lambda trial: trial["mean"])
        print(f"{method:24} {best['mean']:.4f}  {canonical_json(best['parameters'])}")


def carry_out(asked: argparse.Namespace, todo: list[Trial]) -> dict[str, float]:
    """The recall of every trial, those that the work file has already first."""
    work = asked.output.with_suffix(".trials.jsonl")
    done: dict[str, float] = {}
    if work.exists():
        for line in work.read_text().splitlines():
            with suppress(json.JSONDecodeError):  # the last one, where it was killed
                record = json.loads(line)
                done[record["key"]] = record["recall"]
    left = [trial for trial in todo if trial.key not in done]
    spawn = get_context("spawn")
    with ProcessPoolExecutor(asked.workers, mp_context=spawn) as pool, work.open("a") as stream:
        stream.write("\n")  # a line that was cut is not gone on with
        futures = {pool.submit(recall, asked.embeddings, asked.splits, t): t for t in left}
        for number, future in enumerate(as_completed(futures), start=1):
            trial = futures[future]
            done[trial.key] = future.result()
            record = {"key": trial.key, "recall": done[trial.key]}
            stream.write(json.dumps(record) + "\n")
            stream.flush()
            print(f"{number} of {len(left)}: {trial.key} {done[trial.key]:.4f}", flush=True)
    return done


if __name__ == "__main__":
    main()
