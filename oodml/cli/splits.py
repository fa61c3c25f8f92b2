"""`oodml splits`: build, show, verify, import, export."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from oodml.cli.console import echo_json, echo_table, number
from oodml.cli.inputs import json_option, load_vectors, path_type, vectors_options
from oodml.errors import SplitError

if TYPE_CHECKING:
    from oodml.embed import EmbeddingSet
    from oodml.split import SplitRow, SplitSequence

output_option = click.option(
    "-o", "--output", type=path_type(), required=True, help="The file to write."
)


@click.group()
def splits() -> None:
    """Train/test splits of graded difficulty: build, show, verify, import, export."""


@splits.command()
@vectors_options
@click.option("--search", default="ooDML", show_default=True, help="How splits are found.")
@click.option("--measure", default="frechet", show_default=True, help="The distance of the sides.")
@click.option("--levels", default=9, show_default=True, type=click.IntRange(1), help="At most.")
@click.option(
    "--swaps", default=0, type=click.IntRange(0), help="Swaps a step; 0: 1 % of the classes."
)
@click.option("--seed", default=0, show_default=True, help="Of the validation classes.")
@output_option
@json_option
def build(output: Path, as_json: bool, swaps: int, **options: Any) -> None:
    """Build a sequence of splits of growing shift.

    \b
    Example:  oodml splits build --dataset glyphs --encoder oodml:hog -o glyphs.json
    """
    from oodml.split import build_splits, write_sequence

    names = ("embeddings", "dataset", "encoder")
    vectors = load_vectors(*(options.pop(name) for name in names))
    sequence = build_splits(vectors, options={"swaps": swaps}, **options)
    write_sequence(output, sequence)
    _print_sequence(sequence, vectors, as_json=as_json)
    if not as_json:
        click.echo(f"Written to {output}.")


@splits.command()
@click.argument("file", type=path_type())
@vectors_options
@json_option
def show(
    file: Path, embeddings: Path | None, dataset: str | None, encoder: str | None, as_json: bool
) -> None:
    """Show the splits of FILE; with vectors, the shift measured on these beside the recorded one.

    \b
    Example:  oodml splits show glyphs.json
    """
    from oodml.split import read_sequence

    sequence = read_sequence(file)
    vectors = load_vectors(embeddings, dataset, encoder) if embeddings or dataset else None
    _print_sequence(sequence, vectors, as_json=as_json)


@splits.command()
@click.argument("file", type=path_type())
@vectors_options
@json_option
def verify(
    file: Path, embeddings: Path | None, dataset: str | None, encoder: str | None, as_json: bool
) -> None:
    """Check FILE: digest, disjoint sides, growing shifts; with vectors, fingerprints and shifts.

    \b
    Example:  oodml splits verify glyphs.json --dataset glyphs --encoder oodml:hog
    """
    from oodml.split import problems, read_sequence

    sequence = read_sequence(file)
    given = embeddings or dataset
    vectors = load_vectors(embeddings, dataset, encoder) if given else None
    found = list(problems(sequence, vectors)) if vectors is not None else []
    if as_json:
        echo_json({"file": str(file), "digest": sequence.digest, "problems": found})
    elif not found:
        checked = "digest, classes, images and shifts" if given else "digest, sides and order"
        click.echo(f"{file}: {checked} are right ({len(sequence.splits)} splits).")
    if found:
        raise SplitError(f"{file} does not hold on this data: {' '.join(found)}")


@splits.command("import")
@click.argument("file", type=path_type())
@click.option("--dataset", help="The data set's name; by default from the file's.")
@output_option
@json_option
def import_(file: Path, dataset: str | None, output: Path, as_json: bool) -> None:
    """Turn a published ooDML split file (a pickle; nothing in it is run) into a split file.

    \b
    Example:  oodml splits import cars196_splits.pkl -o cars196_official.json
    """
    from oodml.split import import_official, write_sequence

    sequence = import_official(file, dataset=dataset)
    write_sequence(output, sequence)
    _print_sequence(sequence, None, as_json=as_json)
    if not as_json:
        click.echo(f"Written to {output}.")


@splits.command()
@click.argument("file", type=path_type())
@click.option(
    "-o", "--output", type=path_type(), help="The file to write; default: standard output."
)
@json_option
def export(file: Path, output: Path | None, as_json: bool) -> None:
    """Write the class lists of FILE as CSV (rank, side, class).

    \b
    Example:  oodml splits export glyphs.json -o glyphs.csv
    """
    from oodml.split import read_sequence
    from oodml.store import write_text

    rows = [
        {"rank": split.rank, "side": side, "class": name}
        for split in read_sequence(file).splits
        for side in ("train", "val", "test")
        for name in getattr(split, side)
    ]
    if as_json:
        echo_json(rows)
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, ["rank", "side", "class"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    if output is None:
        click.echo(text.getvalue(), nl=False)
    else:
        write_text(output, text.getvalue())
        click.echo(f"Written to {output}: {len(rows)} rows.")


# Printing ----------------------------------------------------------------------------------------


def _print_sequence(
    sequence: SplitSequence, vectors: EmbeddingSet | None, *, as_json: bool
) -> None:
    from oodml.split import describe

    rows = describe(sequence, vectors)
    agreement = _agreement(rows)
    if as_json:
        names = ("dataset", "measure", "search", "seed", "digest")
        facts = {name: getattr(sequence, name) for name in names}
        echo_json({**facts, **agreement, "splits": [asdict(row) for row in rows]})
        return
    digits = _digits([row.shift for row in rows] + [row.measured for row in rows])
    measured = [row for row in rows if row.measured is not None]
    header = ["split", "shift", "train", "val", "test", "moved"]
    table = [[str(r.rank), number(r.shift, digits), *_counts(r)] for r in rows]
    if measured:
        header += ["measured", "train images", "test images"]
        for line, r in zip(table, rows, strict=True):
            line += [number(r.measured, digits), str(r.train_images), str(r.test_images)]
    search, measure = (name or "unknown" for name in (sequence.search, sequence.measure))
    title = f"{sequence.dataset}: {search} search, {measure} shift, digest {sequence.digest[:12]}"
    echo_table(header, table, title=title)
    if agreement["pearson"] is not None:
        click.echo(
            f"Recorded and measured shift: Pearson {agreement['pearson']:.4f}, "
            f"Spearman {agreement['spearman']:.4f}."
        )


def _counts(row: SplitRow) -> list[str]:
    counts = (row.n_train, row.n_val, row.n_test, row.moved)
    return ["–" if count is None else str(count) for count in counts]


def _digits(values: list[float | None]) -> int:
    """Decimals that show four significant digits of the largest value."""
    largest = max((abs(value) for value in values if value is not None), default=1.0)
    return 4 if largest < 10 else 2


def _agreement(rows: list[SplitRow]) -> dict[str, float | None]:
    """How recorded and measured shifts go together."""
    pairs = [(r.shift, r.measured) for r in rows if r.shift is not None and r.measured is not None]
    if len(pairs) < 3:
        return {"pearson": None, "spearman": None}
    from scipy.stats import pearsonr, spearmanr

    recorded, measured = zip(*pairs, strict=True)
    return {
        "pearson": float(pearsonr(recorded, measured).statistic),
        "spearman": float(spearmanr(recorded, measured).statistic),
    }
