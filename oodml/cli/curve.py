"""`oodml curve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from oodml.cli.console import csv_text, echo_json, echo_table, figure_kind
from oodml.cli.inputs import json_option
from oodml.errors import RunError

if TYPE_CHECKING:
    from oodml.curve import Axis
    from oodml.score import ScoreCard

file_type = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, file_okay=False))
@click.option("--metric", default="recall@1", show_default=True)
@click.option(
    "--x",
    default="shift",
    show_default=True,
    type=click.Choice(["shift", "excess"]),
    help="excess: what the shift is above random partitions of the same classes. AGS is of shift.",
)
@click.option("--sequence", default="", help="First digits of a digest, where a store has several.")
@click.option("--content", default="", help="First digits of a content fingerprint, likewise.")
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    type=file_type,
    help="A figure to write, .svg, .png or .pdf; repeatable. Default: curve.svg, curve.png.",
)
@click.option("--csv", "csv_file", type=file_type, help="Write the table as CSV.")
@json_option
def curve(
    runs: tuple[Path, ...],
    metric: str,
    x: Axis,
    sequence: str,
    content: str,
    outputs: tuple[Path, ...],
    csv_file: Path | None,
    as_json: bool,
) -> None:
    """Draw the metric of all finished RUNS against shift, with 95 % intervals.

    \b
    Example:  oodml curve runs --metric recall@1 -o curve.svg
    """
    from oodml.curve import build_curves, labels
    from oodml.plot import figure_bytes, plot_curves
    from oodml.report import number_table, text_table
    from oodml.store import write_bytes
    from oodml.sweep import read_cards

    targets = outputs or (() if as_json else (Path("curve.svg"), Path("curve.png")))
    kinds = [figure_kind(target) for target in targets]
    curves = build_curves(_of_one_sequence(read_cards(runs), sequence, content), metric, x=x)
    figure = plot_curves(curves, title=curves[0].dataset)
    for target, kind in zip(targets, kinds, strict=True):
        write_bytes(target, figure_bytes(figure, kind))
    if csv_file:
        write_bytes(csv_file, csv_text(list(number_table(curves))).encode())
    if as_json:
        echo_json({"metric": metric, "curves": [entry.to_json() for entry in curves]})
        return
    header, *rows = text_table(curves)
    echo_table(header, rows, title=f"{curves[0].dataset}, {metric}, 95 % intervals")
    for name, entry in zip(labels(curves), curves, strict=True):
        if entry.note:
            click.echo(f"{name}: {entry.note}")
    written = (*targets, csv_file) if csv_file else targets
    click.echo(f"Written: {', '.join(map(str, written))}")


def _of_one_sequence(cards: list[ScoreCard], sequence: str, content: str) -> list[ScoreCard]:
    """The cards of one sequence on the same images; curves never mix them."""
    chosen = [
        card
        for card in cards
        if card.sequence.startswith(sequence) and card.content_fingerprint.startswith(content)
    ]
    found = {(card.sequence, card.content_fingerprint) for card in chosen}
    if len(found) != 1:
        known = {(c.sequence[:12], c.content_fingerprint[:12], c.dataset) for c in cards}
        names = "; ".join(f"--sequence {s} --content {c} ({name})" for s, c, name in sorted(known))
        raise RunError(
            f"{len(found)} sequences or sets of images match; curves never mix them. Choose with: "
            f"{names}."
        )
    return chosen
