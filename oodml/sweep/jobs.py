"""A job: one `RunSpec` carried out where its inputs are files, so that any process can take it."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from oodml.embed import EmbeddingSet, read_embeddings
from oodml.errors import RunError
from oodml.methods import METHODS, Budget, FeatureEncoder, FitContext
from oodml.registry import load_plugin, plugin_of
from oodml.score import ScoreCard, Subject, score_split
from oodml.split import SplitSequence, read_sequence
from oodml.sweep.runs import RunStore
from oodml.sweep.spec import RunSpec, method_label


@dataclass(frozen=True, slots=True)
class Job:
    """A spec, the metrics that are asked for, and the paths of what it is about.

    `plugins` are files to load before it.
    """

    spec: RunSpec
    metrics: tuple[str, ...]
    embeddings: Path
    sequence: Path
    store: Path
    plugins: tuple[Path, ...] = ()

    def done(self) -> bool:
        return RunStore(self.store).done(self.spec, self.metrics)


@dataclass(frozen=True, slots=True)
class Failure:
    """A job that did not finish: its last words, and the file with all of them."""

    spec: RunSpec
    reason: str
    log: Path


def carry_out(job: Job) -> Failure | None:
    """Train, score, write, as far as that is not done; idempotent.

    Returns the failure rather than raising it.
    """
    store = RunStore(job.store)
    try:
        if not job.done():
            _carry_out(job, store)
    # One broken run must not stop the others; the log keeps the whole traceback.
    except Exception as error:  # noqa: BLE001
        log = store.fail(job.spec, traceback.format_exc())
        return Failure(job.spec, f"{type(error).__name__}: {error}", log)
    return None


def _carry_out(job: Job, store: RunStore) -> None:
    """Only what the model that was scored lacks; all of it with one that is trained now."""
    start = time.perf_counter()
    spec = job.spec
    _load_plugins(job)
    embeddings, sequence = _inputs(job.embeddings, job.sequence)
    known = store.metrics(spec)
    encoder, same = _encoder(embeddings, sequence, spec, store)
    if known and same:
        lacking = [name for name in job.metrics if name not in known]
        card = _score(embeddings, sequence, spec, encoder, lacking)
        store.add(spec, card, time.perf_counter() - start)
    else:
        wanted = list(dict.fromkeys([*known, *job.metrics]))
        card = _score(embeddings, sequence, spec, encoder, wanted)
        store.write(spec, card, time.perf_counter() - start)


def _encoder(
    embeddings: EmbeddingSet, sequence: SplitSequence, spec: RunSpec, store: RunStore
) -> tuple[FeatureEncoder, bool]:
    """The encoder of a run, and whether it is the one that was kept, or scored.

    What a method without weights gives, such as frozen, is not kept, but the same every time.
    """
    if (kept := store.encoder(spec, embeddings.vectors.shape[1])) is not None:
        return kept, True
    method = METHODS[spec.method](**spec.parameters)
    trained = method.fit(fit_context(embeddings, sequence, spec))
    if store.metrics(spec) and not trained.encoder.state():
        return trained.encoder, True
    store.keep(spec, trained)
    return trained.encoder, False


def _score(
    embeddings: EmbeddingSet,
    sequence: SplitSequence,
    spec: RunSpec,
    encoder: FeatureEncoder,
    metrics: list[str],
) -> ScoreCard:
    seeded = METHODS[spec.method].seeded
    subject = Subject(
        method=method_label(spec.method, spec.parameters),
        seed=spec.seed,
        protocol=spec.protocol,
        selection=spec.selection if seeded else None,
        budget=spec.budget,
        features=spec.features,
        spec=spec.digest(),
        control=spec.control,
        swapped=spec.part.swapped,
    )
    return score_split(
        embeddings, sequence, spec.rank, subject=subject, trained=encoder, metrics=metrics
    )


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
    split = sequence.part(spec.part)
    apart = spec.selection == "val"
    return FitContext(
        train=embeddings.of(split.train if apart else split.train_side),
        val=embeddings.of(split.val) if apart else None,
        protocol=spec.protocol,  # type: ignore[arg-type]
        budget=Budget(**spec.budget),
        selection=spec.selection,  # type: ignore[arg-type]
        seed=spec.seed or 0,
    )
