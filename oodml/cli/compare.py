"""`oodml splits compare`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from oodml.cli.console import (
    csv_text,
    echo_json,
    echo_table,
    figure_kind,
    number,
    progress_bar,
)
from oodml.cli.inputs import json_option, load_vectors, path_type

if TYPE_CHECKING:
    from oodml.embed import EmbeddingSet
    from oodml.plot.style import Kind
    from oodml.shift import Correlation
    from oodml.split import Agreement, Pair, Reading, Span

MOST_FILES = 2


@click.command()
@click.argument("files", nargs=-1, required=True, type=path_type())
@click.option(
    "--embeddings", multiple=True, type=path_type(), help="An embedding file; repeatable."
)
@click.option("--dataset", help="A data set, to be embedded: glyphs, digits, folder:PATH.")
@click.option("--encoder", "encoders", multiple=True, help="With --dataset: encoders; repeatable.")
@click.option(
    "--measure", "measures", multiple=True, help="Repeatable; default: that of the splits."
)
@click.option(
    "--partitions",
    default=100,
    show_default=True,
    type=click.IntRange(0),
    help="Random partitions, to see how far ways of measuring agree on these; 0 for none.",
)
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    type=path_type(),
    help="A figure to write, .svg, .png or .pdf; repeatable.",
)
@click.option("--csv", "csv_file", type=path_type(), help="Write all shifts as CSV.")
@json_option
def compare(
    files: tuple[Path, ...],
    embeddings: tuple[Path, ...],
    dataset: str | None,
    encoders: tuple[str, ...],
    measures: tuple[str, ...],
    partitions: int,
    outputs: tuple[Path, ...],
    csv_file: Path | None,
    as_json: bool,
) -> None:
    """Does difficulty depend on who measures it? The splits of FILES (one or two) under others.

    All measures are taken on all vectors, and every two of these compared by rank correlations with
    95 % intervals. Splits that were chosen to differ are easily ordered alike; beside it stands how
    far the same two agree on random partitions of the classes. Two files of one data set are
    measured in the same ways.

    \b
    Example:  oodml splits compare glyphs.json --dataset glyphs --encoder oodml:hog
                  --encoder oodml:pixels --measure frechet --measure energy -o agree.svg
    """
    from oodml.split import compare_readings, read_sequence, spans
    from oodml.store import write_text

    if len(files) > MOST_FILES:
        raise click.UsageError(f"Give one split file or two; these are {len(files)}.")
    kinds = [figure_kind(target) for target in outputs]
    sequences = [read_sequence(file) for file in files]
    vectors = _vectors(embeddings, dataset, encoders)
    with progress_bar("Measuring splits") as update:
        found = compare_readings(
            sequences, vectors, measures, partitions=partitions, progress=update
        )
    titles, reach = _titles(files), spans(found) if len(found) > 1 else []
    _draw(found, titles, dict(zip(outputs, kinds, strict=True)))
    if csv_file:
        write_text(csv_file, csv_text(_rows(files, found)))
    if as_json:
        records = [{"file": str(f), **asdict(a)} for f, a in zip(files, found, strict=True)]
        echo_json({"agreements": records, "spans": [asdict(span) for span in reach]})
        return
    for title, agreement in zip(titles, found, strict=True):
        _echo(title, agreement)
    if reach:
        _echo_spans(titles, reach)
    if written := [*outputs, *filter(None, [csv_file])]:
        click.echo(f"Written: {', '.join(map(str, written))}")


def _vectors(
    embeddings: Sequence[Path], dataset: str | None, encoders: Sequence[str]
) -> list[EmbeddingSet]:
    """All vectors that the options name, files first."""
    vectors = [load_vectors(file, None, None) for file in embeddings]
    named: Sequence[str | None] = encoders or [None]
    if dataset or encoders or not vectors:
        vectors += [load_vectors(None, dataset, encoder) for encoder in named]
    return vectors


def _draw(found: Sequence[Agreement], titles: Sequence[str], targets: Mapping[Path, Kind]) -> None:
    if not targets:
        return
    from oodml.plot import figure_bytes, plot_agreement
    from oodml.store import write_bytes

    figure = plot_agreement(found, titles if len(found) > 1 else [found[0].dataset])
    for target, kind in targets.items():
        write_bytes(target, figure_bytes(figure, kind))


def _titles(files: Sequence[Path]) -> list[str]:
    """The files' names; their paths where the names are the same."""
    stems = [file.stem for file in files]
    return stems if len(set(stems)) == len(stems) else [str(file) for file in files]


def _rows(files: Sequence[Path], found: Sequence[Agreement]) -> list[dict[str, Any]]:
    """A row for each file, reading and split."""
    return [
        {
            "file": str(file),
            "name": reading.name,
            "encoder": reading.encoder,
            "measure": reading.measure,
            "recorded": reading.recorded,
            "rank": rank,
            "shift": shift,
            "normalised": reading.normalised and reading.normalised[rank - 1],
        }
        for file, agreement in zip(files, found, strict=True)
        for reading in agreement.readings
        for rank, shift in enumerate(reading.shifts, start=1)
    ]


# Printing ----------------------------------------------------------------------------------------


def _echo(title: str, agreement: Agreement) -> None:
    from oodml.split import short_encoders

    short = short_encoders(r.encoder for r in agreement.readings if r.encoder)
    header = ["encoder", "measure", "order", "ratio"]
    header += [str(rank + 1) for rank in range(agreement.splits)]
    rows = [
        [
            _encoder(reading, short),
            reading.measure or "–",
            number(reading.order, 3),
            number(max(reading.shifts) / min(reading.shifts) if min(reading.shifts) else None, 1),
            *(f"{shift:#.4g}" for shift in reading.shifts),
        ]
        for reading in agreement.readings
    ]
    echo_table(header, rows, title=f"{agreement.dataset}, {title}: the shift of each split")
    click.echo(
        "Order: Spearman's correlation with the splits' ranks; ratio: largest to smallest shift.\n"
    )
    if agreement.pairs:
        header = [
            "one",
            "other",
            "Spearman",
            "95 %",
            "Kendall",
            "95 % ",
            "Pearson",
            "random",
            " 95 %",
        ]
        rows = [
            [
                pair.one,
                pair.other,
                number(pair.spearman.value, 3),
                _interval(pair.spearman),
                number(pair.kendall.value, 3),
                _interval(pair.kendall),
                number(pair.pearson, 3),
                number(pair.random.value, 3),
                _interval(pair.random),
            ]
            for pair in sorted(agreement.pairs, key=_likeness)
        ]
        echo_table(header, rows, title="How alike the shifts are, two by two, least alike first")
        click.echo(
            f"95 %: the interval if these were {agreement.splits} splits drawn at random; random: "
            "Spearman's correlation over random partitions of the classes of split 1."
        )
    click.echo(" ".join([*_answer(agreement), *_on_chance(agreement)]) + "\n")


def _encoder(reading: Reading, short: Mapping[str, str]) -> str:
    known = short[reading.encoder] if reading.encoder else ""
    if not reading.recorded:
        return known
    return f"recorded ({known})" if known else "recorded"


def _likeness(pair: Pair) -> list[float]:
    return [-2.0 if value is None else value for value in (pair.spearman.value, pair.pearson)]


def _interval(found: Correlation) -> str:
    if found.low is None or found.high is None:
        return "–"
    return f"{found.low:.2f} to {found.high:.2f}"


def _answer(agreement: Agreement) -> Iterator[str]:
    """What came out, in a sentence or two."""
    splits, ways = agreement.splits, len(agreement.readings)
    as_file = sum(reading.order == 1 for reading in agreement.readings)
    if splits == 1:
        yield "One split has no order to agree on."
        return
    if agreement.concordance is None:
        yield f"{as_file} of {ways} ways of measuring order the {splits} splits as the file does."
        return
    w, p = agreement.concordance.w, agreement.concordance.p
    facts = f"Kendall's W {w:.2f}, permutation p {p:.2g}"
    least = min(agreement.pairs, key=_likeness)
    if least.spearman.value == 1:
        every = "Both" if ways == 2 else f"All {ways}"
        yield f"{every} ways of measuring order the {splits} splits alike ({facts})."
        return
    yield f"{as_file} of {ways} ways of measuring order the {splits} splits as the file does"
    yield f"({facts}); least alike are {least.one} and {least.other}, with a Spearman"
    yield f"correlation of {number(least.spearman.value)} (95 %: {_interval(least.spearman)})."


def _on_chance(agreement: Agreement) -> Iterator[str]:
    """What random partitions say beside it."""
    found = sorted(p.random.value for p in agreement.pairs if p.random.value is not None)
    if found:
        several = f" to {found[-1]:.3f}" if len(found) > 1 else ""
        yield f"Over random partitions of the classes Spearman's is {found[0]:.3f}{several}."


def _echo_spans(titles: Sequence[str], reach: Sequence[Span]) -> None:
    """The range of each of two files, whose spans take turns."""
    rows = [
        [
            span.name,
            title,
            f"{span.low:#.4g}",
            f"{span.high:#.4g}",
            number(None if span.share is None else 100 * span.share, 0),
        ]
        for span, title in zip(reach, cycle(titles), strict=False)
    ]
    echo_table(
        ["measured by", "splits", "from", "to", "% of both"],
        rows,
        title="From the smallest to the largest shift, and that as a share of the range of both",
    )
    one, other = ([span.high - span.low for span in reach[start::2]] for start in range(2))
    wider = sum(a > b for a, b in zip(one, other, strict=True))
    click.echo(
        f"{titles[0]} spans more than {titles[1]} under {wider} of {len(one)} ways of measuring."
    )
