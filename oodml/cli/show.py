"""`oodml data show`."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from oodml.cli.console import echo_json, figure_kind
from oodml.cli.inputs import json_option, path_type
from oodml.errors import UnknownNameError

if TYPE_CHECKING:
    from oodml.data import Dataset


@click.command()
@click.argument("dataset")
@click.option("--class", "classes", multiple=True, help="All images of this class; repeatable.")
@click.option("--splits", "file", type=path_type(), help="The two sides of a split of FILE.")
@click.option("--rank", type=click.IntRange(1), help="With --splits: which split; default 1.")
@click.option(
    "-o",
    "--output",
    type=path_type(),
    default=Path("sheet.png"),
    show_default=True,
    help="The file to write: .png, .svg or .pdf.",
)
@json_option
def show(
    dataset: str,
    classes: tuple[str, ...],
    file: Path | None,
    rank: int | None,
    output: Path,
    as_json: bool,
) -> None:
    """Draw a contact sheet of DATASET: some images of some classes, one class, or a split.

    \b
    Example:  oodml data show folder:photos/images --splits photos.json --rank 3 -o split3.png
    """
    from oodml.data import load_data
    from oodml.plot import both_sides, figure_bytes, plot_sheet, some_classes, whole_classes
    from oodml.split import read_sequence, require_classes
    from oodml.store import write_bytes

    if classes and file:
        raise click.UsageError("Give --class, or --splits and --rank, not both.")
    if rank and file is None:
        raise click.UsageError("--rank goes with --splits.")
    kind = figure_kind(output)
    data = load_data(dataset)
    title = f"{data.name}: {len(data):,} images of {len(data.classes):,} classes"
    if file:
        sequence = read_sequence(file)
        require_classes(sequence, data)
        split = sequence.at(rank or 1)
        shift = "" if split.shift is None else f", shift {split.shift:.4g}"
        title = f"{data.name}: split {split.rank} of {len(sequence.splits)}{shift}"
        panels = both_sides(data, split)
    elif classes:
        _require(data, classes)
        title = data.name
        panels = whole_classes(data, tuple(dict.fromkeys(classes)))
    else:
        panels = some_classes(data)
    write_bytes(output, figure_bytes(plot_sheet(data, panels, title=title), kind))
    shown = [strip for panel in panels for strip in panel.strips]
    images = sum(len(strip.rows) for strip in shown)
    if as_json:
        names = [strip.title for strip in shown]
        echo_json({"file": str(output), "title": title, "images": images, "classes": names})
    else:
        click.echo(f"{output}: {images:,} images of {len(shown):,} classes of {data.name}.")


def _require(data: Dataset, classes: tuple[str, ...]) -> None:
    for name in classes:
        if name not in data.classes:
            near = difflib.get_close_matches(name, data.classes, n=3, cutoff=0.3)
            raise UnknownNameError(
                f"{name!r} is not among the {len(data.classes):,} classes of {data.name!r}; "
                f"nearest: {', '.join(map(repr, near or data.classes[:3]))}."
            )
