"""`run_methods`: every method on every split with every seed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict, Unpack

from oodml.data import Dataset, Vectors
from oodml.embed import EmbeddingSet, EncoderSpec, embed_data, write_embeddings
from oodml.errors import RunError, SplitError
from oodml.methods import (
    TRAINING,
    Budget,
    LossMethod,
    base_of,
    budget_of,
    find_method,
    method_kind,
    parameters,
    preset_in,
    preset_of,
)
from oodml.metrics import DEFAULT_METRICS, METRIC_VERSION, find_metric
from oodml.registry import Name, current_folder, find_function, plugin_of, plugins
from oodml.score import ScoreCard
from oodml.split import SplitSequence, require_classes, write_sequence
from oodml.store import digest
from oodml.sweep.executors import SerialExecutor
from oodml.sweep.inputs import prepare_training
from oodml.sweep.jobs import Failure, Job, Setting, carry_out
from oodml.sweep.runs import RunStore
from oodml.sweep.spec import RunSpec

Progress = Callable[[int, int], None]
ATTEMPTS = 3
SHOWN = 10


@dataclass(frozen=True, slots=True)
class Sweep:
    """What to run: methods by name, seeds, and what all of them share.

    Without a `budget`, it is the one of the protocol. With `controls`, also on the controls of
    every split, like on the split itself; with `both_ways`, on each of these also swapped.
    `metrics` are what every run is scored by, at least; `setting` is what the jobs need beside.
    """

    methods: tuple[str, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    protocol: str = "head"
    selection: str = "last"
    budget: Budget | None = None
    controls: bool = False
    both_ways: bool = False
    metrics: Sequence[str] = DEFAULT_METRICS
    precision: str = "float32"
    setting: Setting = field(default_factory=Setting)

    def __post_init__(self) -> None:
        """Every name is known, or an error says it before anything is done."""
        if tracker := self.setting.tracker:
            with current_folder():
                find_function(Name.parse(tracker))
        for name in self.methods:
            _require_features(name, self.protocol)
        given = [self.metrics] if isinstance(self.metrics, str) else self.metrics
        object.__setattr__(self, "metrics", tuple(dict.fromkeys(given)))
        for name in self.metrics:
            find_metric(name)
        if not self.metrics:
            raise ValueError("metrics is empty; expected at least one, such as recall@1.")

    def budget_on(self, dataset: str) -> Budget:
        """The budget of every method of this sweep; raises where the protocol has no settings."""
        implied = budget_of(self.protocol, dataset)
        return self.budget or implied

    def specs(self, embeddings: EmbeddingSet, sequence: SplitSequence) -> list[RunSpec]:
        """A spec a part, method and seed; without randomness once, with no seed."""
        common = RunSpec(
            content_fingerprint=embeddings.content_fingerprint,
            sequence=sequence.digest,
            rank=0,
            features=embeddings.digest(),
            encoder=embeddings.encoder.identity() if embeddings.encoder else None,
            method="",
            method_version=0,
            protocol=self.protocol,
            selection=self.selection,
            metric_version=METRIC_VERSION,
            precision="float32" if self.protocol == "head" else self.precision,
            budget=asdict(self.budget_on(embeddings.dataset)),
        )
        implied = preset_of(self.protocol, embeddings.dataset)
        parts = sequence.parts(controls=self.controls, both_ways=self.both_ways)
        specs = [
            replace(spec, rank=p.rank, control=p.control, swapped=p.swapped, seed=seed)
            for spec in (_of_method(name, common, implied) for name in dict.fromkeys(self.methods))
            for p in parts
            for seed in (self.seeds if spec.budget else (None,))
        ]
        # Names that say the same, such as margin and margin?beta=1.2, are one run.
        return list({spec.digest(): spec for spec in specs}.values())


def _of_method(name: str, common: RunSpec, implied: str | None) -> RunSpec:
    """The spec with a method, its preset and its parameters; without training no budget."""
    method = find_method(name, implied)
    plugin = plugin_of("methods", base_of(method.name))
    return replace(
        common,
        method=method.name,
        method_version=method.version,
        selection=common.selection if method.seeded else "last",
        parameters=parameters(method),
        preset=(preset_in(name) or implied) if method.seeded else None,
        precision=common.precision if method.seeded else "float32",
        budget=common.budget if method.seeded else {},
        training=TRAINING if method.seeded else None,
        plugin=plugin.sha256 if plugin else None,
    )


def _require_features(name: str, protocol: str) -> None:
    """Raise `RunError` where a method cannot be trained by a protocol."""
    method = find_method(name)
    if protocol == "head" and method.needs in ("images", "views"):
        raise RunError(
            f"{method.name} needs images, and protocol head has only their features; use "
            "--protocol full."
        )


@dataclass(frozen=True, slots=True)
class Work:
    """How many runs there are, and what is to be done: those to train, those to score only."""

    runs: int
    to_train: int
    to_score: int

    @property
    def done(self) -> int:
        return self.runs - self.to_train - self.to_score


class SweepOptions(TypedDict, total=False):
    """What else `run_methods` takes: the other fields of `Sweep`."""

    protocol: str
    selection: str
    budget: Budget | None
    controls: bool
    both_ways: bool
    metrics: Sequence[str]
    precision: str
    setting: Setting


def run_methods(
    data: Dataset | EmbeddingSet,
    sequence: SplitSequence,
    *,
    methods: Sequence[str],
    encoder: str | None = None,
    seeds: Iterable[int] = range(3),
    store: Path | str | None = None,
    **options: Unpack[SweepOptions],
) -> list[ScoreCard]:
    """The cards of every method on every split with every seed.

    `data` is embeddings, or a data set, embedded with `encoder`; the protocols `full` and `paper`
    take a data set. With `store`, finished runs are kept there and not repeated; what one of them
    was not scored by yet is computed from its stored model. With `controls=True`, also the controls
    of every split; with `both_ways=True`, each of them also trained on the test classes and tested
    on the others. `protocol`, `selection`, `budget`, `metrics` and `precision` are those of
    `Sweep`. Raises `RunError` where a run failed.
    """
    sweep = Sweep(tuple(methods), tuple(seeds), **options)
    if isinstance(data, Dataset):
        vectors = isinstance(data.source, Vectors)
        spec = None if encoder or vectors else _encoder_of(sequence)
        name = encoder if spec is None else spec.name
        sweep = replace(sweep, setting=replace(sweep.setting, encoder=name, data=data))
        data = embed_data(data, name, precision=spec.precision if spec else None)
    if store is not None:
        return run_sweep(data, sequence, sweep, RunStore(Path(store)))
    with TemporaryDirectory(prefix="oodml-") as folder:
        return run_sweep(data, sequence, sweep, RunStore(Path(folder)))


def _encoder_of(sequence: SplitSequence) -> EncoderSpec:
    if sequence.encoder is None:
        raise RunError(
            f"The splits of {sequence.dataset!r} do not say which encoder to use; name one, such "
            "as oodml:hog."
        )
    return sequence.encoder


def run_sweep(
    embeddings: EmbeddingSet,
    sequence: SplitSequence,
    sweep: Sweep,
    store: RunStore,
    *,
    executor: Callable[[], Executor] = SerialExecutor,
    progress: Progress | None = None,
) -> list[ScoreCard]:
    """Carry out what is not done yet, and return the cards of all of it.

    `executor()` makes the pool; one that breaks, as when a worker dies, is made anew for what is
    left. `progress(done, total)` is called after every run. Failures stop nothing else; they are
    raised together at the end, as one `RunError`.
    """
    specs = sweep.specs(embeddings, sequence)
    given = replace(sweep.setting, metrics=tuple(sweep.metrics))
    jobs = plan_jobs(specs, embeddings, sequence, store, given)
    failures: dict[str, Failure] = {}
    for _ in range(ATTEMPTS):
        left = [job for job in jobs if not (job.done() or job.spec.digest() in failures)]
        if not left:
            break
        before = len(specs) - len(left)
        for failure in _outcomes(executor, left, _ticking(progress, before, len(specs))):
            failures[failure.spec.digest()] = failure
    if failures:
        order = {spec.digest(): at for at, spec in enumerate(specs)}
        listed = sorted(failures.values(), key=lambda f: order[f.spec.digest()])
        raise RunError(_summary(listed, len(specs)))
    if lost := [job.spec.label() for job in jobs if not job.done()]:
        raise RunError(
            f"Workers died {ATTEMPTS} times; {len(lost)} runs are left, such as {lost[0]}. Out of "
            "memory? The same command goes on where it was; --executor serial needs the least."
        )
    return [card for spec in specs for card in store.cards(spec)]


def _ticking(progress: Progress | None, done: int, total: int) -> Callable[[Future[Any]], None]:
    """What is to be called with every job that has ended, in whatever thread."""
    numbers = itertools.count(done + 1)

    def tick(future: Future[Any]) -> None:
        if progress and not future.cancelled() and future.exception() is None:
            progress(next(numbers), total)

    return tick


def _outcomes(
    executor: Callable[[], Executor], jobs: list[Job], tick: Callable[[Future[Any]], None]
) -> Iterator[Failure]:
    """The failures, as they come; nothing more once the pool is broken."""
    pool = executor()
    futures = []
    try:
        for job in jobs:
            futures.append(pool.submit(carry_out, job))
            futures[-1].add_done_callback(tick)
        for future in as_completed(futures):
            if failure := future.result():
                yield failure
    except BrokenExecutor:
        return
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def count_work(
    embeddings: EmbeddingSet, sequence: SplitSequence, sweep: Sweep, store: RunStore
) -> Work:
    """What `run_sweep` would do, writing nothing; methods without a seed count as scored only."""
    specs = sweep.specs(embeddings, sequence)
    left = [spec for spec in specs if not store.done(spec, sweep.metrics)]
    d = embeddings.vectors.shape[1]
    train = [s for s in left if s.budget and store.encoder(s, d) is None]
    return Work(len(specs), len(train), len(left) - len(train))


def plan_jobs(
    specs: list[RunSpec],
    embeddings: EmbeddingSet,
    sequence: SplitSequence,
    store: RunStore,
    setting: Setting,
) -> list[Job]:
    """The jobs of those specs that are not done, their inputs written into the store."""
    require_classes(sequence, embeddings)
    for spec in specs:
        _require_budget(spec, len(embeddings))
    left = [spec for spec in specs if not store.done(spec, setting.metrics)]
    if not left:
        return []
    selecting = dict.fromkeys(spec.part for spec in left if spec.selection == "val")
    if without := [part for part in selecting if not sequence.part(part).val]:
        raise SplitError(
            f"Split {without[0]} has no validation classes; use --select last, or build the splits "
            "again with more classes."
        )
    facts = [left[0].features, embeddings.content_fingerprint, embeddings.source]
    facts += [embeddings.terms] if embeddings.terms else []
    vectors = store.root / "inputs" / f"{digest(facts)[:16]}.npz"
    splits = store.root / "inputs" / f"{sequence.digest[:16]}.json"
    if not vectors.exists():
        write_embeddings(vectors, embeddings)
    if not splits.exists():
        write_sequence(splits, sequence)
    for spec in {spec.protocol: spec for spec in left if spec.budget}.values():
        prepare_training(spec, setting.data, setting.encoder)
    given = replace(setting, plugins=tuple(plugin.path for plugin in plugins()))
    return [Job(spec, vectors, splits, store.root, given) for spec in left]


def _require_budget(spec: RunSpec, images: int) -> None:
    """Raise `RunError` where a method asks for more steps than the budget has on so many images."""
    method = method_kind(spec.method)(**spec.parameters)
    if isinstance(method, LossMethod):
        method.steps_of(Budget(**spec.budget).steps_on(images))


def _summary(failures: list[Failure], total: int) -> str:
    lines = [f"  {f.spec.label()}: {f.reason} (see {f.log})" for f in failures[:SHOWN]]
    if len(failures) > SHOWN:
        lines.append(f"  and {len(failures) - SHOWN} more")
    return f"{len(failures)} of {total} runs failed; the others are kept:\n" + "\n".join(lines)
