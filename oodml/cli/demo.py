"""`oodml demo`."""

from __future__ import annotations

from pathlib import Path

import click

from oodml.cli.console import echo_json, echo_table, progress_bar
from oodml.cli.inputs import json_option


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("oodml-demo"),
    show_default=True,
    help="The folder for figure, page, split file and runs.",
)
@json_option
def demo(output: Path, as_json: bool) -> None:
    """Everything on the built-in glyphs, no download: splits, training, table, figure, page.

    \b
    Example:  oodml demo
    """
    from oodml.demo import run_demo
    from oodml.report import text_table

    result = run_demo(output, progress_bar)
    if as_json:
        echo_json(result.to_json())
        return
    header, *rows = text_table(result.curves)
    echo_table(header, rows, title="glyphs: recall@1 on classes never seen, 95 % intervals")
    first, last = result.gain[0], result.gain[-1]
    click.echo(
        f"Training gains {first:+.3f} recall at the first split and {last:+.3f} at the last"
        + (
            f"; rank correlation of gain and shift {result.gain_with_shift:+.2f}."
            if result.gain_with_shift is not None
            else "."
        )
    )
    click.echo(f"Figure: {output / 'curve.png'} and .svg   Page: {output / 'report.html'}")
