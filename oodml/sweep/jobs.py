"""A job: one `RunSpec` carried out where its inputs are files, so that any process can take it."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from oodml.embed import EmbeddingSet, read_embeddings
from oodml.errors import RunError
from oodml.methods import METHODS, Budget, FitContext
from oodml.registry import load_plugin, plugin_of
from oodml.score import Subject, score_split
from oodml.split import SplitSequence, read_sequence
from oodml.sweep.runs import RunStore
from oodml.sweep.spec import RunSpec, method_label


@dataclass(frozen=True, slots=True)
class Job:
    """A spec and the paths of what it is about; `plugins` are files to load before it."""

    spec: RunSpec
    embeddings: Path
    sequence: Path
    store: Path
    plugins: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """A job that did not finish: its last words, and the file with all of them."""

    spec: RunSpec
    reason: str
    log: Path


def carry_out(job: Job) -> Failure | None:
    """Train, score, write; idempotent. Returns the failure rather than raising it."""
    store = RunStore(job.store)
    if store.done(job.spec):
        return None
    try:
        _carry_out(job, store)
    # One broken run must not stop the others; the log keeps the whole traceback.
    except Exception as error:  # noqa: BLE001
        log = store.fail(job.spec, traceback.format_exc())
        return Failure(job.spec, f"{type(error).__name__}: {error}", log)
    return None


def _carry_out(job: Job, store: RunStore) -> None:
    start = time.perf_counter()
    spec = job.spec
    _load_plugins(job)
    embeddings, sequence = _inputs(job.embeddings, job.sequence)
    method = METHODS[spec.method](**spec.parameters)
    trained = method.fit(fit_context(embeddings, sequence, spec))
    subject = Subject(
        method=method_label(spec.method, spec.parameters),
        seed=spec.seed,
        protocol=spec.protocol,
        selection=spec.selection if method.seeded else None,
        budget=spec.budget,
        features=spec.features,
        spec=spec.digest(),
        control=spec.control,
    )
    card = score_split(embeddings, sequence, spec.rank, subject=subject, trained=trained.encoder)
    store.write(spec, trained, card, time.perf_counter() - start)


def _load_plugins(job: Job) -> None:
    """Make this process, which may be a new one, know the plug-ins of the one that planned."""
    for path in job.plugins:
        load_plugin(path)
    plugin = plugin_of("methods", job.spec.method)
    if plugin is not None and plugin.sha256 != job.spec.plugin:
        raise RunError(
            f"{plugin.path} was changed while its runs were under way; run the command again."
        )


@lru_cache(maxsize=2)
def _inputs(embeddings: Path, sequence: Path) -> tuple[EmbeddingSet, SplitSequence]:
    return read_embeddings(embeddings), read_sequence(sequence)


def fit_context(embeddings: EmbeddingSet, sequence: SplitSequence, spec: RunSpec) -> FitContext:
    """What a method may see: copies of the train classes' features, nothing of the test side."""
    split = sequence.part(spec.rank, spec.control)
    apart = spec.selection == "val"
    return FitContext(
        train=embeddings.of(split.train if apart else split.train_side),
        val=embeddings.of(split.val) if apart else None,
        protocol=spec.protocol,  # type: ignore[arg-type]
        budget=Budget(**spec.budget),
        selection=spec.selection,  # type: ignore[arg-type]
        seed=spec.seed or 0,
    )
