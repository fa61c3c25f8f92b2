"""What all commands print with: JSON, tables, a progress bar on stderr."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from oodml.plot.style import Kind

LEFT = (  # columns of text
    *("name", "what", "as", "parameters", "way", "note"),
    *("dataset", "precision", "used", "state"),
    *("encoder", "measure", "one", "other", "measured by", "splits"),
)


def echo_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    click.echo(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False))


def echo_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> None:
    """Print a table on stdout, as wide as it needs where that is no terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=240)
    if title:
        click.echo(title)
    table = Table(*header, box=box.SIMPLE_HEAD)
    for column, name in zip(table.columns, header, strict=True):
        column.justify = "left" if name in LEFT else "right"
        column.no_wrap = True
    for row in rows:
        table.add_row(*row)
    console.print(table)


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Records as CSV, with the keys of the first one as header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def number(value: float | None, digits: int = 2) -> str:
    """A number for a table; a dash where it is unknown."""
    return "–" if value is None else f"{value:.{digits}f}"


def size_text(size: float) -> str:
    """A number of bytes for people, in powers of 1000."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


@contextmanager
def progress_bar(
    what: str, latest: Callable[[], str] | None = None
) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, fed by `update(done, total)`; silent when stderr is no terminal.

    `latest` gives what is going on now, which is asked for every second and shown after the bar.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        *(TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()),
        TextColumn("{task.fields[latest]}", style="dim"),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(what, total=None, latest="")

        def update(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        ended = threading.Event()

        def follow() -> None:
            while latest is not None and not bar.disable and not ended.wait(1.0):
                bar.update(task, latest=latest())

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        try:
            yield update
        finally:
            ended.set()
            follower.join()


def figure_kind(target: Path) -> Kind:
    """What kind of figure a file's name asks for."""
    kinds: dict[str, Kind] = {".svg": "svg", ".png": "png", ".pdf": "pdf"}
    if target.suffix not in kinds:
        raise click.BadParameter(f"{target} is no figure; expected a name in .svg, .png or .pdf.")
    return kinds[target.suffix]
