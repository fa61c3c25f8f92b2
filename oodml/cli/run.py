"""`oodml run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from oodml.cli.console import echo_json, progress_bar
from oodml.cli.inputs import json_option, load_vectors, path_type, vectors_options

if TYPE_CHECKING:
    from oodml.embed import EmbeddingSet
    from oodml.split import SplitSequence


@click.command()
@vectors_options
@click.option("--splits", "file", type=path_type(), required=True, help="A split file.")
@click.option("--method", "methods", multiple=True, required=True, help="Repeat for several.")
@click.option(
    "--seeds", default=3, show_default=True, type=click.IntRange(1), help="How many: 0 to N - 1."
)
@click.option("--protocol", default="head", show_default=True, type=click.Choice(["head"]))
@click.option(
    "--select",
    "selection",
    default="last",
    show_default=True,
    type=click.Choice(["last", "val"]),
    help="last: train on train and val; val: choose the step by the validation classes.",
)
@click.option(
    "--steps", default=400, show_default=True, type=click.IntRange(1), help="Training steps a run."
)
@click.option(
    "--executor", default="local", show_default=True, type=click.Choice(["serial", "local"])
)
@click.option("--controls", is_flag=True, help="Also the controls of every split, like any split.")
@click.option("--dry-run", is_flag=True, help="Only say how many runs there are to do.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    show_default=True,
    help="The run store; finished runs in it are not repeated.",
)
@json_option
def run(
    embeddings: Path | None,
    dataset: str | None,
    encoder: str | None,
    file: Path,
    methods: tuple[str, ...],
    seeds: int,
    protocol: str,
    selection: str,
    steps: int,
    executor: str,
    controls: bool,
    dry_run: bool,
    output: Path,
    as_json: bool,
) -> None:
    """Train and score methods on every split; killed, the same command goes on where it was.

    \b
    Example:  oodml run --dataset glyphs --splits glyphs.json --method frozen \\
                        --method multisimilarity --seeds 3 -o runs
    """
    from oodml.methods import Budget, find_method
    from oodml.split import read_sequence
    from oodml.sweep import RunStore, Sweep, make_executor, run_sweep

    for name in methods:
        find_method(name)  # what cannot run is said before anything is embedded
    sequence = read_sequence(file)
    fallback = sequence.encoder.name if sequence.encoder else None
    vectors = load_vectors(embeddings, dataset, encoder, fallback=fallback)
    _warn_of_other_data(sequence, vectors)
    budget = Budget(steps=steps)
    sweep = Sweep(methods, tuple(range(seeds)), protocol, selection, budget, controls)
    store = RunStore(output)
    specs = sweep.specs(vectors, sequence)
    done = sum(store.done(spec) for spec in specs)
    facts = {"runs": len(specs), "done_before": done, "store": str(output)}
    if not dry_run:
        with progress_bar("Running") as update:
            run_sweep(
                vectors,
                sequence,
                sweep,
                store,
                executor=lambda: make_executor(executor),
                progress=update,
            )
    if as_json:
        echo_json({**facts, "dry_run": dry_run})
    elif dry_run:
        click.echo(f"{len(specs)} runs, {done} of them done; {len(specs) - done} to do.")
    else:
        click.echo(
            f"{len(specs)} runs, {done} of them done before. Draw them with: oodml curve {output}"
        )


def _warn_of_other_data(sequence: SplitSequence, vectors: EmbeddingSet) -> None:
    known = sequence.content_fingerprint
    if known is not None and known != vectors.content_fingerprint:
        click.echo(
            f"Warning: {vectors.dataset} holds other images than the splits were made of; results "
            "are kept apart "
            "from those on the original data.",
            err=True,
        )
