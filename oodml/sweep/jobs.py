"""A job: one `RunSpec` carried out where its inputs are files, so that any process can take it."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from oodml.data import Dataset
from oodml.embed import EmbeddingSet, read_embeddings
from oodml.embed.device import find_device
from oodml.embed.network import Network
from oodml.errors import OodmlError, RunError
from oodml.methods import Course, FeatureEncoder, base_of, method_kind, preset_of
from oodml.registry import load_plugin, plugin_of
from oodml.score import ScoreCard, Subject, score_split
from oodml.split import SplitSequence, read_sequence
from oodml.sweep.following import tracker_of
from oodml.sweep.inputs import embedded, fit_context, network_of
from oodml.sweep.runs import Model, RunStore, has_weights
from oodml.sweep.spec import RunSpec


@dataclass(frozen=True, slots=True)
class Setting:
    """What the jobs of a sweep share: what they are scored by, and what they may need.

    `plugins` are files to load before a job. `encoder` is the name of what made the features and
    `data` their images, where these are known; protocols that train the network need both. With
    `whole`, a model that was trained on features is kept with the network before it. `tracker` is
    `py:module:function`, called with the spec for a `Tracker` of the run.
    """

    metrics: tuple[str, ...] = ()
    plugins: tuple[Path, ...] = ()
    encoder: str | None = None
    data: Dataset | None = None
    whole: bool = True
    device: str = "auto"
    tracker: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A spec, the paths of what it is about, and the setting."""

    spec: RunSpec
    embeddings: Path
    sequence: Path
    store: Path
    setting: Setting

    def done(self) -> bool:
        return RunStore(self.store).done(self.spec, self.setting.metrics)


@dataclass(frozen=True, slots=True)
class Failure:
    """A job that did not finish: its last words, and the file with all of them."""

    spec: RunSpec
    reason: str
    log: Path


def carry_out(job: Job) -> Failure | None:
    """Train, score, write, as far as that is not done; idempotent.

    Returns the failure rather than raising it. Of several processes of torchrun, which train
    together, the first one scores and writes; what fails in one of them alone ends them all.
    """
    from oodml.methods import distributed

    store = RunStore(job.store)
    failure = None
    try:
        if not distributed.agreed(job.done()):
            _carry_out(job, store)
    # One broken run must not stop the others; the log keeps the whole traceback.
    except Exception as error:
        log = store.fail(job.spec, traceback.format_exc())
        failure = Failure(job.spec, f"{type(error).__name__}: {error}", log)
        if distributed.together() and not isinstance(error, OodmlError):
            # Such as no memory: the others wait for this process, and torchrun ends them with it.
            raise SystemExit(f"{job.spec.label()}: {failure.reason} (see {log})") from error
    return distributed.agreed(failure)


def _carry_out(job: Job, store: RunStore) -> None:
    """Only what the model that was scored lacks; all of it with one that is trained now."""
    start = time.perf_counter()
    spec, metrics = job.spec, job.setting.metrics
    _load_plugins(job)
    embeddings, sequence = _inputs(job.embeddings, job.sequence)
    known = store.metrics(spec)
    model, same = _model(job, embeddings, sequence, store)
    if not _writes():
        return
    if known and same:
        lacking = [name for name in metrics if name not in known]
        card = _score(job, embeddings, sequence, model, lacking)
        store.add(spec, card, time.perf_counter() - start)
    else:
        wanted = list(dict.fromkeys([*known, *metrics]))
        card = _score(job, embeddings, sequence, model, wanted)
        store.write(spec, card, time.perf_counter() - start)


def _model(
    job: Job, embeddings: EmbeddingSet, sequence: SplitSequence, store: RunStore
) -> tuple[Model, bool]:
    """The model of a run, and whether it is the one that was kept, or scored.

    What a method without weights gives, such as frozen, is not kept, but the same every time.
    """
    spec, setting = job.spec, job.setting
    if (kept := store.encoder(spec, embeddings.vectors.shape[1])) is not None:
        return kept, True
    method = method_kind(spec.method)(**spec.parameters)
    tracker = tracker_of(job.spec, store, setting.tracker) if _writes() else None
    course = Course(find_device(setting.device), store.folder(spec), tracker=tracker)
    context = fit_context(
        embeddings, sequence, spec, data=setting.data, encoder=setting.encoder, course=course
    )
    try:
        trained = method.fit(context)
    finally:
        if tracker is not None:
            tracker.flush()
    if store.metrics(spec) and not has_weights(trained.encoder):
        return trained.encoder, True
    if _writes():
        before = network_of(setting.encoder) if setting.whole and embeddings.encoder else None
        if before and embeddings.encoder:  # in the precision that the features were computed in
            spec_before = replace(before.spec, precision=embeddings.encoder.precision)
            before = replace(before, spec=spec_before)
        store.keep(spec, trained, before, device=context.course.device)
    return trained.encoder, False


def _writes() -> bool:
    from oodml.methods import distributed

    return distributed.rank() == 0


def _score(
    job: Job, embeddings: EmbeddingSet, sequence: SplitSequence, model: Model, metrics: list[str]
) -> ScoreCard:
    spec = job.spec
    subject = Subject(
        method=spec.method_label(preset_of(spec.protocol, embeddings.dataset)),
        seed=spec.seed,
        protocol=spec.protocol,
        selection=spec.selection if spec.budget else None,
        budget=spec.budget,
        features=spec.features,
        spec=spec.digest(),
        control=spec.control,
        swapped=spec.part.swapped,
    )
    head: FeatureEncoder | None
    if not isinstance(model, Network):
        head = model
    else:  # it takes the images themselves
        test, head = sequence.part(spec.part).test, None
        embeddings = embedded(embeddings, job.setting.data, model, test, job.setting.device)
    return score_split(
        embeddings, sequence, spec.rank, subject=subject, trained=head, metrics=metrics
    )


def _load_plugins(job: Job) -> None:
    """Make this process, which may be a new one, know the plug-ins of the one that planned."""
    for path in job.setting.plugins:
        load_plugin(path)
    plugin = plugin_of("methods", base_of(job.spec.method))
    if plugin is not None and plugin.sha256 != job.spec.plugin:
        raise RunError(
            f"{plugin.path} was changed while its runs were under way; run the command again."
        )


@lru_cache(maxsize=2)
def _inputs(embeddings: Path, sequence: Path) -> tuple[EmbeddingSet, SplitSequence]:
    return read_embeddings(embeddings), read_sequence(sequence)
