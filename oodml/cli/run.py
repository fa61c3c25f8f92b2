"""`oodml run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

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
@click.option(
    "--both-ways",
    is_flag=True,
    help="Also every split, and control, trained on its test classes and tested on the others.",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    help="Repeat for several; see oodml list. What finished runs lack costs no training.",
)
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
    precision: str | None,
    device: str,
    file: Path,
    methods: tuple[str, ...],
    seeds: int,
    protocol: str,
    selection: str,
    steps: int,
    executor: str,
    controls: bool,
    both_ways: bool,
    metrics: tuple[str, ...],
    dry_run: bool,
    output: Path,
    as_json: bool,
) -> None:
    """Train and score methods on every split; killed, the same command goes on where it was.

    \b
    Example:  oodml run --dataset glyphs --splits glyphs.json --method frozen \\
                        --method multisimilarity --seeds 3 -o runs
    """
    from oodml.methods import Budget
    from oodml.metrics import DEFAULT_METRICS
    from oodml.split import read_sequence
    from oodml.sweep import RunStore, Sweep, count_work, make_executor, run_sweep

    # What cannot run is said before anything is embedded.
    sweep = Sweep(
        methods,
        tuple(range(seeds)),
        protocol,
        selection,
        Budget(steps=steps),
        controls=controls,
        both_ways=both_ways,
        metrics=metrics or DEFAULT_METRICS,
    )
    sequence = read_sequence(file)
    how: dict[str, Any] = {"precision": precision, "device": device, "fallback": sequence.encoder}
    vectors = load_vectors(embeddings, dataset, encoder, **how)
    _warn_of_other_data(sequence, vectors)
    store = RunStore(output)
    work = count_work(vectors, sequence, sweep, store)
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
        counts = {"runs": work.runs, "done_before": work.done}
        counts |= {"to_train": work.to_train, "to_score": work.to_score}
        echo_json({**counts, "store": str(output), "dry_run": dry_run})
    elif dry_run:
        click.echo(
            f"{work.runs} runs, {work.done} of them done; {work.to_train + work.to_score} to do: "
            f"{work.to_train} to train and score, {work.to_score} to score only."
        )
    else:
        click.echo(
            f"{work.runs} runs, {work.done} of them done before; {work.to_train} trained and "
            f"scored, {work.to_score} scored only. Draw them with: oodml curve {output}"
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
