"""`oodml run`."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import click

from oodml.cli.console import echo_json, progress_bar
from oodml.cli.inputs import json_option, load_vectors, path_type, vectors_options

if TYPE_CHECKING:
    from oodml.embed import EmbeddingSet
    from oodml.split import SplitSequence
    from oodml.sweep import Sweep


@click.command()
@vectors_options
@click.option("--splits", "file", type=path_type(), required=True, help="A split file.")
@click.option("--method", "methods", multiple=True, required=True, help="Repeat for several.")
@click.option(
    "--seeds", default=3, show_default=True, type=click.IntRange(1), help="How many: 0 to N - 1."
)
@click.option(
    "--protocol",
    default="head",
    show_default=True,
    type=click.Choice(["head", "full", "paper"]),
    help="head: layers on cached features; full: the network too; paper: as ooDML's study.",
)
@click.option("--preset", help="Settings for every method, as METHOD@PRESET; see oodml list.")
@click.option(
    "--select",
    "selection",
    default="last",
    show_default=True,
    type=click.Choice(["last", "val"]),
    help="last: train on train and val; val: choose the step by the validation classes.",
)
@click.option(
    "--steps", type=click.IntRange(1), help="Training steps a run; 400 in head, 2000 in full."
)
@click.option(
    "--models",
    default="whole",
    show_default=True,
    type=click.Choice(["whole", "heads"]),
    help="Whether a head on features of a network is kept with that network.",
)
@click.option("--tracker", help="py:module:function, called with the spec of a run.")
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
    executor: str,
    dry_run: bool,
    output: Path,
    as_json: bool,
    **options: Unpack[Asked],
) -> None:
    """Train and score methods on every split; killed, the same command goes on where it was.

    \b
    Example:  oodml run --dataset glyphs --splits glyphs.json --method frozen \\
                        --method multisimilarity --seeds 3 -o runs
    """
    from oodml.split import read_sequence
    from oodml.sweep import RunStore, count_work, latest_line, make_executor, run_sweep

    # What cannot run is said before anything is embedded.
    device, executor = _together(device, executor)
    sweep = _sweep(options, precision, device)
    sequence = read_sequence(file)
    known = sequence.encoder.name if sequence.encoder else None
    sweep = _with_images(sweep, dataset, encoder or known)
    how: dict[str, Any] = {"precision": precision, "device": device, "fallback": sequence.encoder}
    vectors = load_vectors(embeddings, dataset, encoder, **how)
    _warn_of_other_data(sequence, vectors)
    store = RunStore(output)
    work = count_work(vectors, sequence, sweep, store)
    if not dry_run:
        with progress_bar("Running", lambda: latest_line(output)) as update:
            run_sweep(
                vectors,
                sequence,
                sweep,
                store,
                executor=lambda: make_executor(executor),
                progress=update,
            )
    if int(os.environ.get("RANK", "0")):
        return  # of several processes of torchrun the first one speaks
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


def _together(device: str, executor: str) -> tuple[str, str]:
    """Device and executor, which are this process's own where torchrun started several."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return device, executor
    from oodml.methods import distributed

    return distributed.join() or device, "serial"


class Asked(TypedDict):
    """The options that say what to train, and how."""

    methods: tuple[str, ...]
    preset: str | None
    seeds: int
    protocol: str
    selection: str
    steps: int | None
    controls: bool
    both_ways: bool
    metrics: tuple[str, ...]
    models: str
    tracker: str | None


def _sweep(asked: Asked, precision: str | None, device: str) -> Sweep:
    from oodml.methods import budget_of, with_preset
    from oodml.metrics import DEFAULT_METRICS
    from oodml.sweep import Setting, Sweep

    steps, preset = asked["steps"], asked["preset"]
    budget = replace(budget_of(asked["protocol"]), steps=steps, epochs=0) if steps else None
    return Sweep(
        tuple(with_preset(name, preset) for name in asked["methods"]),
        tuple(range(asked["seeds"])),
        asked["protocol"],
        asked["selection"],
        budget,
        controls=asked["controls"],
        both_ways=asked["both_ways"],
        metrics=asked["metrics"] or DEFAULT_METRICS,
        precision=precision or "float32",
        setting=Setting(whole=asked["models"] == "whole", device=device, tracker=asked["tracker"]),
    )


def _with_images(sweep: Sweep, dataset: str | None, encoder: str | None) -> Sweep:
    """The sweep with the images behind the features, where they are named."""
    from oodml.data import Vectors, load_data
    from oodml.sweep.inputs import require_images

    named = None if dataset is None else encoder
    if sweep.protocol == "head" or dataset is None:
        data = None
    else:
        data = load_data(dataset)
        data = None if isinstance(data.source, Vectors) else data
    if sweep.protocol != "head":
        data, _ = require_images(sweep.protocol, data, encoder)
        sweep.budget_on(data.name)
    return replace(sweep, setting=replace(sweep.setting, encoder=named, data=data))


def _warn_of_other_data(sequence: SplitSequence, vectors: EmbeddingSet) -> None:
    known = sequence.content_fingerprint
    if known is not None and known != vectors.content_fingerprint:
        click.echo(
            f"Warning: {vectors.dataset} holds other images than the splits were made of; results "
            "are kept apart "
            "from those on the original data.",
            err=True,
        )
