"""`oodml bench`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from oodml.cli.console import echo_json, echo_table
from oodml.cli.inputs import json_option

if TYPE_CHECKING:
    from oodml.bench import BenchRow


@click.command()
@click.argument(
    "what", type=click.Choice(["splits", "retrieval", "curves", "embed", "large", "train"])
)
@click.option("--quick", is_flag=True, help="Small sizes, to see whether it all works.")
@json_option
def bench(what: str, quick: bool, as_json: bool) -> None:
    """Measure a part of oodml beside the ways that others do it, in one run on this machine.

    \b
    Example:  oodml bench retrieval
    """
    from oodml.bench import (
        bench_curves,
        bench_embed,
        bench_large,
        bench_retrieval,
        bench_splits,
        bench_train,
    )

    benches: dict[str, Callable[..., Iterable[BenchRow]]] = {
        "splits": bench_splits,
        "retrieval": bench_retrieval,
        "curves": bench_curves,
        "train": bench_train,
        "embed": bench_embed,
        "large": bench_large,
    }
    rows = []
    for row in benches[what](quick=quick):
        rows.append(row)
        if sys.stderr.isatty():  # it takes minutes
            click.echo(f"{row.task}: {row.way}", err=True)
    if as_json:
        echo_json([asdict(row) for row in rows])
        return
    for task in dict.fromkeys(row.task for row in rows):
        own = [row for row in rows if row.task == task]
        table = [_cells(row, own[0]) for row in own]
        echo_table(["way", "seconds", "ratio", "relative error", "note"], table, title=task)


def _cells(row: BenchRow, first: BenchRow) -> list[str]:
    if row.seconds is None or first.seconds is None:
        return [row.way, "–", "–", "–", row.note]
    error = "" if row.error is None else f"{row.error:.1e}"
    ratio = row.seconds / first.seconds
    shown = f"{ratio:,.1f}" if ratio >= 1 else f"{ratio:.2g}"
    return [row.way, f"{row.seconds:.4g}", shown, error, row.note]
