"""`run_methods`: every method on every split with every seed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict, Unpack

from oodml.data import Dataset, Vectors
from oodml.embed import EmbeddingSet, embed_data, write_embeddings
from oodml.errors import RunError, SplitError
from oodml.methods import Budget, find_method, parameters
from oodml.metrics import METRIC_VERSION
from oodml.registry import plugin_of, plugins
from oodml.score import ScoreCard
from oodml.split import SplitSequence, require_classes, write_sequence
from oodml.store import digest
from oodml.sweep.executors import SerialExecutor
from oodml.sweep.jobs import Failure, Job, carry_out
from oodml.sweep.runs import RunStore
from oodml.sweep.spec import RunSpec

Progress = Callable[[int, int], None]
ATTEMPTS = 3
SHOWN = 10


@dataclass(frozen=True, slots=True)
class Sweep:
    """What to run: methods by name, seeds, and what all of them share.

    With `controls`, also on the controls of every split, like on the split itself.
    """

    methods: tuple[str, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    protocol: str = "head"
    selection: str = "last"
    budget: Budget = field(default_factory=Budget)
    controls: bool = False

    def specs(self, embeddings: EmbeddingSet, sequence: SplitSequence) -> list[RunSpec]:
        """A spec a split, control, method and seed; without randomness once, with no seed."""
        features, splits = embeddings.digest(), sequence.digest
        encoder = embeddings.encoder.identity() if embeddings.encoder else None
        specs = []
        for name in dict.fromkeys(self.methods):
            method = find_method(name)
            plugin = plugin_of("methods", method.name)
            for rank, control in self._parts(sequence):
                for seed in self.seeds if method.seeded else (None,):
                    spec = RunSpec(
                        content_fingerprint=embeddings.content_fingerprint,
                        sequence=splits,
                        rank=rank,
                        features=features,
                        encoder=encoder,
                        method=method.name,
                        method_version=method.version,
                        protocol=self.protocol,
                        selection=self.selection if method.seeded else "last",
                        metric_version=METRIC_VERSION,
                        seed=seed,
                        parameters=parameters(method),
                        budget=asdict(self.budget) if method.seeded else {},
                        control=control,
                        plugin=plugin.sha256 if plugin else None,
                    )
                    specs.append(spec)
        return specs

    def _parts(self, sequence: SplitSequence) -> list[tuple[int, int | None]]:
        """The splits, (rank, None), and after each its controls, (rank, index)."""
        if not self.controls:
            return [(split.rank, None) for split in sequence.splits]
        return list(sequence.with_controls())


class SweepOptions(TypedDict, total=False):
    """What else `run_methods` takes: the other fields of `Sweep`."""

    protocol: str
    selection: str
    budget: Budget
    controls: bool


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

    `data` is embeddings, or a data set, embedded with `encoder`. With `store`, finished runs are
    kept there and not repeated. With `controls=True`, also the controls of every split; `protocol`,
    `selection` and `budget` are those of `Sweep`. Raises `RunError` where a run failed.
    """
    if isinstance(data, Dataset):
        vectors = isinstance(data.source, Vectors)
        data = embed_data(data, encoder if encoder or vectors else _encoder_of(sequence))
    sweep = Sweep(tuple(methods), tuple(seeds), **options)
    if store is not None:
        return run_sweep(data, sequence, sweep, RunStore(Path(store)))
    with TemporaryDirectory(prefix="oodml-") as folder:
        return run_sweep(data, sequence, sweep, RunStore(Path(folder)))


def _encoder_of(sequence: SplitSequence) -> str:
    if sequence.encoder is None:
        raise RunError(
            f"The splits of {sequence.dataset!r} do not say which encoder to use; name one, such "
            "as oodml:hog."
        )
    return sequence.encoder.name


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
    jobs = plan_jobs(specs, embeddings, sequence, store)
    failures: dict[str, Failure] = {}
    for _ in range(ATTEMPTS):
        left = [job for job in jobs if not _over(job, store, failures)]
        if not left:
            break
        before = len(specs) - len(left)
        for failure in _outcomes(executor, left, _ticking(progress, before, len(specs))):
            failures[failure.spec.digest()] = failure
    if failures:
        order = {spec.digest(): at for at, spec in enumerate(specs)}
        listed = sorted(failures.values(), key=lambda f: order[f.spec.digest()])
        raise RunError(_summary(listed, len(specs)))
    if lost := [job.spec.label() for job in jobs if not store.done(job.spec)]:
        raise RunError(
            f"Workers died {ATTEMPTS} times; {len(lost)} runs are left, such as {lost[0]}. Out of "
            "memory? The same command goes on where it was; --executor serial needs the least."
        )
    return [card for spec in specs for card in store.cards(spec)]


def _over(job: Job, store: RunStore, failures: Mapping[str, Failure]) -> bool:
    return store.done(job.spec) or job.spec.digest() in failures


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


def plan_jobs(
    specs: list[RunSpec], embeddings: EmbeddingSet, sequence: SplitSequence, store: RunStore
) -> list[Job]:
    """The jobs of those specs that are not done, their inputs written into the store."""
    require_classes(sequence, embeddings)
    left = [spec for spec in specs if not store.done(spec)]
    selections = {spec.selection for spec in left}
    if not left:
        return []
    if without := [s.rank for s in sequence.splits if "val" in selections and not s.val]:
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
    files = tuple(plugin.path for plugin in plugins())
    return [Job(spec, vectors, splits, store.root, files) for spec in left]


def _summary(failures: list[Failure], total: int) -> str:
    lines = [f"  {f.spec.label()}: {f.reason} (see {f.log})" for f in failures[:SHOWN]]
    if len(failures) > SHOWN:
        lines.append(f"  and {len(failures) - SHOWN} more")
    return f"{len(failures)} of {total} runs failed; the others are kept:\n" + "\n".join(lines)
