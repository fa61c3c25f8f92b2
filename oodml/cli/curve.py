"""`oodml curve`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from oodml.cli.console import csv_text, echo_json, echo_table, figure_kind
from oodml.cli.inputs import json_option
from oodml.errors import RunError
from oodml.store import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from oodml.curve import Axis, Comparison, Curve, Results, Spread, View
    from oodml.score import ScoreCard

file_type = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, file_okay=False))
@click.option("--metric", default="recall@1", show_default=True)
@click.option(
    "--view",
    default="raw",
    show_default=True,
    type=click.Choice(["raw", "minus-frozen", "equal-galleries"]),
    help="minus-frozen: above the frozen encoder on the same queries; equal-galleries: recall@k|m.",
)
@click.option(
    "--x",
    default="shift",
    show_default=True,
    type=click.Choice(["shift", "excess", "normalised", "rank"]),
    help="excess: what the shift is above random partitions of the same classes. AGS is of shift.",
)
@click.option("--partial", is_flag=True, help="Draw unfinished sweeps too, without AGS.")
@click.option("--sequence", default="", help="First digits of a digest, where a store has several.")
@click.option("--content", default="", help="First digits of a content fingerprint, likewise.")
@click.option(
    "--all-sequences", is_flag=True, help="All sequences of one search, and how far they differ."
)
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    type=file_type,
    help="A figure to write, .svg, .png or .pdf; repeatable. Default: curve.svg, curve.png.",
)
@click.option("--ranking", type=file_type, help="Also a figure of AGS and places of the methods.")
@click.option(
    "--csv",
    "csv_file",
    type=file_type,
    help="Write all numbers as CSV; comparisons go to NAME.differences.csv and NAME.order.csv.",
)
@json_option
def curve(
    runs: tuple[Path, ...],
    metric: str,
    view: View,
    x: Axis,
    partial: bool,
    sequence: str,
    content: str,
    all_sequences: bool,
    outputs: tuple[Path, ...],
    ranking: Path | None,
    csv_file: Path | None,
    as_json: bool,
) -> None:
    """Draw the metric of all finished RUNS against shift, with 95 % intervals, and compare methods.

    \b
    Example:  oodml curve runs --metric recall@1 -o curve.svg
    """
    from oodml.sweep import read_cards

    figures = outputs or (() if as_json else (Path("curve.svg"), Path("curve.png")))
    for target in (*figures, *((ranking,) if ranking else ())):
        figure_kind(target)
    cards = read_cards(runs)
    if all_sequences:
        if partial or ranking or sequence or x != "shift":
            raise click.UsageError(
                "--all-sequences goes with --metric, --view, --content, -o, --csv and --json only."
            )
        chosen = [card for card in cards if card.content_fingerprint.startswith(content)]
        _show_sequences(chosen, metric, view, figures, csv_file, as_json=as_json)
        return
    chosen = _of_one_sequence(cards, sequence, content)
    shown = {"x": x, "view": view, "partial": partial}
    _show(chosen, metric, shown, figures, ranking, csv_file, as_json=as_json)


def _show(
    cards: list[ScoreCard],
    metric: str,
    shown: Mapping[str, Any],
    figures: Sequence[Path],
    ranking: Path | None,
    csv_file: Path | None,
    *,
    as_json: bool,
) -> None:
    from oodml.curve import curves_of, view_results
    from oodml.plot import plot_curves, plot_ranking
    from oodml.report import number_table

    view = shown["view"]
    results = view_results(cards, metric, view, partial=shown["partial"])
    curves = curves_of(results, view, shown["x"])
    comparison = _comparison(results, curves, view)
    if ranking and comparison is None:
        why = "there must be two methods, and each needs an AGS"
        raise RunError(f"There is nothing to rank for {ranking}: {why}.")
    title = curves[0].dataset
    written = _write_figures(plot_curves(curves, title=title), figures)
    if ranking and comparison:
        written += _write_figures(plot_ranking(curves, comparison, title=title), [ranking])
    if csv_file:
        written += _write_tables(csv_file, list(number_table(curves, comparison)), comparison)
    if as_json:
        record = {"metric": curves[0].metric, "view": curves[0].view}
        entries = [entry.to_json() for entry in curves]
        echo_json({**record, "curves": entries, "comparison": comparison and comparison.to_json()})
        return
    _echo(curves, comparison)
    click.echo(f"Written: {', '.join(map(str, written))}")


def _comparison(
    results: Sequence[Results], curves: Sequence[Curve], view: View
) -> Comparison | None:
    """The methods against each other, where there are several and each has an AGS."""
    from oodml.curve import compare_results

    if len(curves) < 2 or any(entry.ags is None for entry in curves):
        return None
    return compare_results(results, view)


def _echo(curves: Sequence[Curve], comparison: Comparison | None) -> None:
    from oodml.curve import labels
    from oodml.plot import value_label
    from oodml.report import control_table, summary_table, text_table

    header, *rows = text_table(curves)
    what = value_label(curves[0])
    echo_table(header, rows, title=f"{curves[0].dataset}, {what}, 95 % intervals")
    if controls := control_table(curves):
        header, *rows = controls
        echo_table(header, rows, title="Controls, random partitions of the same sizes: mean, range")
    header, *rows = summary_table(curves, comparison)
    echo_table(
        header, rows, title="Slope and retention from the first split to the last; places by AGS"
    )
    if comparison:
        _echo_comparison(comparison)
    for name, entry in zip(labels(curves), curves, strict=True):
        if entry.note:
            click.echo(f"{name}: {entry.note}")
    for terms in sorted({entry.terms for entry in curves if entry.terms}):
        click.echo(f"Terms of use of the data: {terms}.")


def _echo_comparison(comparison: Comparison) -> None:
    from oodml.report import difference_table, order_text

    header, *rows = difference_table(comparison)
    echo_table(header, rows, title="Methods against each other, on the same test classes")
    if any(pair.p is None for pair in comparison.differences):
        click.echo("No p where a method has one seed, or no interval: give two seeds or more.")
    if comparison.left_out:
        click.echo(f"{comparison.left_out} pairs were scored on different queries: left out.")
    if comparison.order:
        click.echo(order_text(comparison.order))


def _show_sequences(
    cards: list[ScoreCard],
    metric: str,
    view: View,
    figures: Sequence[Path],
    csv_file: Path | None,
    *,
    as_json: bool,
) -> None:
    from oodml.curve import across_sequences
    from oodml.plot import plot_sequences, value_label
    from oodml.report import number_table, spread_table

    spreads = across_sequences(cards, metric, view=view)
    first = spreads[0].curves[0]
    written = _write_figures(plot_sequences(spreads, title=first.dataset), figures)
    if csv_file:
        curves = [entry for spread in spreads for entry in spread.curves]
        written += _write_csv(csv_file, list(number_table(curves)))
        sums = csv_file.with_suffix(".sequences.csv")
        written += _write_csv(sums, [_flat(spread) for spread in spreads])
    if as_json:
        entries = [
            {**spread.to_json(), "curves": [entry.to_json() for entry in spread.curves]}
            for spread in spreads
        ]
        echo_json({"metric": spreads[0].metric, "view": view, "methods": entries})
        return
    header, *rows = spread_table(spreads)
    echo_table(header, rows, title=f"{first.dataset}, {value_label(first)}, 95 % intervals")
    click.echo(f"Written: {', '.join(map(str, written))}")


def _flat(spread: Spread) -> dict[str, Any]:
    """One record of a CSV file; what each sequence says is in the other one."""
    record = spread.to_json()
    return {key: value for key, value in record.items() if key not in ("sequences", "each")}


def _write_figures(figure: Figure, targets: Sequence[Path]) -> list[Path]:
    from oodml.plot import figure_bytes

    for target in targets:
        write_bytes(target, figure_bytes(figure, figure_kind(target)))
    return list(targets)


def _write_tables(
    target: Path, rows: list[dict[str, Any]], comparison: Comparison | None
) -> list[Path]:
    written = _write_csv(target, rows)
    if comparison and comparison.differences:
        pairs = [pair.to_json() for pair in comparison.differences]
        written += _write_csv(target.with_suffix(".differences.csv"), pairs)
    if comparison and comparison.order:
        order = asdict(comparison.order)
        written += _write_csv(target.with_suffix(".order.csv"), [order])
    return written


def _write_csv(target: Path, rows: Sequence[Mapping[str, Any]]) -> list[Path]:
    write_bytes(target, csv_text(rows).encode())
    return [target]


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
            f"{names}. Sequences of one search go together with --all-sequences."
        )
    return chosen
