"""`oodml splits`: build, show, verify, import, export; `compare` has a file of its own."""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from oodml.cli.compare import compare
from oodml.cli.console import (
    csv_text,
    echo_json,
    echo_table,
    figure_kind,
    number,
    progress_bar,
)
from oodml.cli.inputs import VECTORS, json_option, load_vectors, path_type, vectors_options
from oodml.errors import SplitError

if TYPE_CHECKING:
    from oodml.embed import EmbeddingSet
    from oodml.split import SplitSequence

TEST_SETS = 3

output_option = click.option(
    "-o", "--output", type=path_type(), required=True, help="The file to write."
)


@click.group()
def splits() -> None:
    """Train/test splits of graded difficulty: build, show, verify, compare, import, export."""


@splits.command()
@vectors_options
@click.option("--search", default="ooDML", show_default=True, help="ooDML, optimal or fixed-test.")
@click.option("--measure", default="frechet", show_default=True, help="The distance of the sides.")
@click.option(
    "--levels",
    default=9,
    show_default=True,
    type=click.IntRange(1),
    help="How many splits, at most.",
)
@click.option("--seed", default=0, show_default=True, help="Of validation classes and test sets.")
@click.option("--swaps", type=click.IntRange(0), help="ooDML: swaps a step; default 1 %.")
@click.option("--remove/--no-remove", default=None, help="ooDML: whether classes may be removed.")
@click.option("--target", type=float, help="optimal: one split of this shift.")
@click.option("--fraction", type=float, help="optimal: share of the classes to train on.")
@click.option(
    "--train-class", "train", multiple=True, help="optimal: a class to train on; repeatable."
)
@click.option(
    "--test-class", "test", multiple=True, help="optimal, fixed-test: a class to test on."
)
@click.option("--keep-groups", "groups", is_flag=True, default=None, help="optimal: whole groups.")
@click.option("--min-images", type=click.IntRange(1), help="Leave smaller classes out.")
@click.option(
    "--classes-per-side", "per_side", type=click.IntRange(2), help="Classes on either side."
)
@click.option("--test-fraction", type=float, help="fixed-test: share of the classes to test on.")
@click.option("--test-sets", type=click.IntRange(1), help="fixed-test: files, one a test set; 3.")
@click.option("--trials", type=click.IntRange(1), help="Most distances tried; not for frechet.")
@click.option(
    "--shots", multiple=True, type=click.IntRange(1), help="Also k-shot episodes; repeatable."
)
@click.option(
    "--episodes", default=10, show_default=True, type=click.IntRange(1), help="Episodes a k."
)
@click.option(
    "--partitions",
    type=click.IntRange(0),
    help="Random partitions that calibrate a split; default 200, 20 above 5,000 classes; 0: none.",
)
@click.option(
    "--controls",
    default=5,
    show_default=True,
    type=click.IntRange(0),
    help="Random partitions a level to run like any split; FILE keeps their test classes.",
)
@output_option
@json_option
def build(output: Path, as_json: bool, test_sets: int | None, **given: Any) -> None:
    """Build a sequence of splits of growing shift.

    Every split is calibrated: how far apart are random partitions of its classes? The search
    fixed-test writes several files, one a test set: NAME-0.json, NAME-1.json, ...

    \b
    Example:  oodml splits build --dataset glyphs --encoder oodml:hog -o glyphs.json
    """
    from oodml.split import EpisodeRecipe, build_splits, write_sequence

    vectors = load_vectors(**{name: given.pop(name) for name in VECTORS})
    shots, count, seed = (given.pop(name) for name in ("shots", "episodes", "seed"))
    basics = {
        name: given.pop(name) for name in ("search", "measure", "levels", "partitions", "controls")
    }
    options = {name: value for name, value in given.items() if value not in (None, ())}
    several = basics["search"] == "fixed-test" and not options.get("test")
    if test_sets and not several:
        raise click.UsageError("--test-sets goes with --search fixed-test, without --test-class.")
    records = []
    for index in range((test_sets or TEST_SETS) if several else 1):
        with progress_bar("Building splits") as update:
            sequence = build_splits(
                vectors, seed=seed + index, options=options, progress=update, **basics
            )
        if shots:
            recipe = EpisodeRecipe(seed, tuple(sorted({*shots})), count)
            sequence = replace(sequence, episodes=recipe)
        target = output.with_stem(f"{output.stem}-{seed + index}") if several else output
        write_sequence(target, sequence)
        records.append(_record(sequence, None))
        if not as_json:
            _echo_record(records[-1])
            click.echo(f"Written to {target}.")
    if as_json:
        echo_json({"sequences": records} if several else records[0])


@splits.command()
@click.argument("file", type=path_type())
@vectors_options
@click.option(
    "--partitions",
    type=click.IntRange(0),
    help="With vectors: random partitions a split; default: as many as FILE records, else 20.",
)
@click.option("-o", "--output", type=path_type(), help="With vectors: draw the sides (.svg, .png).")
@json_option
def show(
    file: Path, partitions: int | None, output: Path | None, as_json: bool, **given: Any
) -> None:
    """Show the splits of FILE; with vectors, the shift measured on these beside the recorded one.

    Excess, ratio and p compare the shift, with vectors the measured one, with random partitions of
    the same classes.

    \b
    Example:  oodml splits show glyphs.json --dataset glyphs --encoder oodml:hog -o sides.png
    """
    from oodml.split import read_sequence

    kind = figure_kind(output) if output else None
    sequence = read_sequence(file)
    vectors = load_vectors(**given) if given["embeddings"] or given["dataset"] else None
    if vectors is None and (output or partitions is not None):
        raise click.UsageError(
            "A figure of the sides and --partitions need vectors: --embeddings or --dataset."
        )
    record = _record(sequence, vectors, partitions=partitions)
    if as_json:
        echo_json(record)
    else:
        _echo_record(record)
    if output and kind and vectors is not None:
        from oodml.plot import figure_bytes, plot_sides
        from oodml.shift import class_moments
        from oodml.store import write_bytes

        write_bytes(output, figure_bytes(plot_sides(sequence, class_moments(vectors)), kind))
        if not as_json:
            click.echo(f"Written to {output}.")


@splits.command()
@click.argument("file", type=path_type())
@vectors_options
@json_option
def verify(file: Path, as_json: bool, **given: Any) -> None:
    """Check FILE: digest, disjoint sides, growing shifts; with vectors, fingerprints and shifts.

    \b
    Example:  oodml splits verify glyphs.json --dataset glyphs --encoder oodml:hog
    """
    from oodml.split import problems, read_sequence, shifts_comparable

    sequence = read_sequence(file)
    vectors = load_vectors(**given) if given["embeddings"] or given["dataset"] else None
    checked = ["digest", "sides", "order"]
    found: list[str] = []
    if vectors is not None:
        checked += ["classes", "images"]
        checked += ["shifts"] * shifts_comparable(sequence, vectors)
        found = list(problems(sequence, vectors))
    if as_json:
        facts = {"file": str(file), "digest": sequence.digest}
        echo_json({**facts, "checked": checked, "problems": found})
    elif not found:
        click.echo(f"{file}: {', '.join(checked)} are right ({len(sequence.splits)} splits).")
    if found:
        raise SplitError(f"{file} does not hold on this data: {' '.join(found)}")


@splits.command("import")
@click.argument("file", type=path_type())
@click.option("--dataset", help="The data set's name; by default from the file's.")
@click.option("--episodes", is_flag=True, help="Also the published few-shot episodes.")
@output_option
@json_option
def import_(file: Path, dataset: str | None, episodes: bool, output: Path, as_json: bool) -> None:
    """Turn a published ooDML split file (a pickle; nothing in it is run) into a split file.

    \b
    Example:  oodml splits import cars196_splits.pkl -o cars196_official.json
    """
    from oodml.split import import_official, write_sequence

    sequence = import_official(file, dataset=dataset, episodes=episodes)
    write_sequence(output, sequence)
    record = _record(sequence, None)
    if as_json:
        echo_json(record)
        return
    _echo_record(record)
    click.echo(f"Written to {output}.")


@splits.command()
@click.argument("file", type=path_type())
@click.option(
    "-o", "--csv", "output", type=path_type(), help="The file to write; default: standard output."
)
@click.option("--controls", is_flag=True, help="Also the controls, with their number in a column.")
@json_option
def export(file: Path, output: Path | None, controls: bool, as_json: bool) -> None:
    """Write the class lists of FILE as CSV (rank, side, class).

    \b
    Example:  oodml splits export glyphs.json -o glyphs.csv
    """
    from oodml.split import read_sequence
    from oodml.store import write_text

    sequence = read_sequence(file)
    rows = [
        {
            "rank": part.rank,
            **({"control": part.control} if controls else {}),
            "side": side,
            "class": name,
        }
        for part in sequence.parts(controls=controls)
        for side in ("train", "val", "test")
        for name in getattr(sequence.part(part), side)
    ]
    if as_json:
        echo_json(rows)
        return
    text = csv_text(rows)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_text(output, text)
        click.echo(f"Written to {output}: {len(rows)} rows.")


splits.add_command(compare)


# Printing ----------------------------------------------------------------------------------------

_COLUMNS = {
    "split": "rank",
    "shift": "shift",
    "measured": "measured",
    "steps off target": "off_target",
    "excess": "excess",
    "ratio": "ratio",
    "p": "p",
    "train": "n_train",
    "val": "n_val",
    "test": "n_test",
    "train images": "train_images",
    "test images": "test_images",
    "moved": "moved",
    "groups moved": "groups_moved",
    "controls": "n_controls",
}


def _record(
    sequence: SplitSequence, vectors: EmbeddingSet | None, *, partitions: int | None = 0
) -> dict[str, Any]:
    """All that is known of a sequence, as the JSON that is printed."""
    from oodml.split import describe

    rows = [asdict(row) for row in describe(sequence, vectors, partitions=partitions)]
    found = sequence.options.get("found", {})
    for row, error in zip_longest(rows, found.get("error", ())):
        row["off_target"] = None if error is None else error / (found["step"] or 1.0)
    names = ("dataset", "measure", "search", "seed", "digest")
    facts = {name: getattr(sequence, name) for name in names}
    return {**facts, **_agreement(rows), "options": dict(sequence.options), "splits": rows}


def _echo_record(record: dict[str, Any]) -> None:
    """Print a record as a table, without the columns of which nothing is known."""
    rows = record["splits"]
    known = {
        title: name
        for title, name in _COLUMNS.items()
        if any(row[name] is not None for row in rows)
    }
    digits = _digits([row[name] for row in rows for name in ("shift", "measured")])
    table = [[_cell(row, name, digits) for name in known.values()] for row in rows]
    search, measure = (record[name] or "unknown" for name in ("search", "measure"))
    title = f"{record['dataset']}: {search} search, {measure} shift"
    echo_table(list(known), table, title=f"{title}, digest {record['digest'][:12]}")
    if found := record["options"].get("found"):
        low, high = found["range"]
        click.echo(
            f"{found['method'].capitalize()}: shifts from {low:.4g} to {high:.4g} found by "
            f"measuring {found['distances']:,} splits."
        )
    if record["pearson"] is not None:
        click.echo(
            f"Recorded and measured shift: Pearson {record['pearson']:.4f}, "
            f"Spearman {record['spearman']:.4f}."
        )


def _cell(row: dict[str, Any], name: str, digits: int) -> str:
    from oodml.split.calibration import p_text

    value = row[name]
    if name == "p" and value is not None:
        return p_text(row["at_least"], row["partitions"])
    digits = {"off_target": 4, "ratio": 2}.get(name, digits)
    return number(value, digits) if value is None or isinstance(value, float) else str(value)


def _digits(values: list[float | None]) -> int:
    """Decimals that show four significant digits of the largest value."""
    largest = max((abs(value) for value in values if value is not None), default=1.0)
    return 4 if largest < 10 else 2


def _agreement(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    """How recorded and measured shifts go together."""
    pairs = [(r["shift"], r["measured"]) for r in rows if None not in (r["shift"], r["measured"])]
    if len(pairs) < 3:
        return {"pearson": None, "spearman": None}
    from scipy.stats import pearsonr, spearmanr

    recorded, measured = zip(*pairs, strict=True)
    return {
        "pearson": float(pearsonr(recorded, measured).statistic),
        "spearman": float(spearmanr(recorded, measured).statistic),
    }
