"""`oodml data check`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from oodml.cli.console import echo_json, progress_bar
from oodml.cli.inputs import json_option, path_type

if TYPE_CHECKING:
    from oodml.data import Dataset
    from oodml.data.check import Counts, Inspection
    from oodml.data.dataset import Halves
    from oodml.data.duplicates import Leak, Match

_SHOWN = 20  # of a list that JSON gives in full


@click.command()
@click.argument("dataset")
@click.option("--duplicates", is_flag=True, help="Also find identical and near-identical images.")
@click.option(
    "--alike",
    type=click.FloatRange(0, 1, min_open=True),
    help="The correlation from which two images are near-identical; default 0.9.",
)
@click.option(
    "--splits", "file", type=path_type(), help="Also find those on both sides of a split of FILE."
)
@json_option
@click.pass_context
def check(
    context: click.Context,
    dataset: str,
    duplicates: bool,
    alike: float | None,
    file: Path | None,
    as_json: bool,
) -> None:
    """Count DATASET and decode every image of it; exits with 1 where one cannot be read.

    With --duplicates or --splits also pictures that are there twice: within a class, across classes
    (one of the labels is wrong), or on both sides of a split (it leaks).

    \b
    Example:  oodml data check folder:photos/images --duplicates
    """
    from oodml.data import load_data
    from oodml.data.check import count_data, inspect_images
    from oodml.data.duplicates import ALIKE, find_duplicates, find_leaks

    if alike is not None and not (duplicates or file):
        raise click.UsageError("--alike goes with --duplicates or --splits.")
    threshold = alike or ALIKE
    data = load_data(dataset)
    sides = _sides(data, file)
    with progress_bar(f"Reading {data.name}") as update:
        seen = inspect_images(data, sketches=duplicates or bool(file), progress=update)
    record = {"dataset": data.name, **asdict(count_data(data)), **_findings(seen)}
    record["duplicates"] = None
    lines = _count_lines(data, count_data(data), seen)
    if duplicates or file:
        with progress_bar("Comparing") as update:
            matches = find_duplicates(data, seen, alike=threshold, progress=update)
        leaks = find_leaks(matches, sides)
        found = {"matches": [asdict(match) for match in matches], "alike": threshold}
        record["duplicates"] = {**found, "leaks": [asdict(leak) for leak in leaks]}
        lines += _match_lines(matches, threshold, looked=seen.sketches is not None)
        lines += _leak_lines(matches, leaks)
    if as_json:
        echo_json(record)
    else:
        click.echo("\n".join(lines))
    context.exit(1 if seen.faults else 0)


def _sides(data: Dataset, file: Path | None) -> dict[int | None, Halves]:
    """Train and test classes: the published ones, and those of each split of a file."""
    from oodml.split import read_sequence, require_classes

    sides: dict[int | None, Halves] = {None: data.default} if data.default else {}
    if file:
        sequence = read_sequence(file)
        require_classes(sequence, data)
        sides |= {split.rank: (split.train_side, split.test) for split in sequence.splits}
    return sides


def _findings(seen: Inspection) -> dict[str, Any]:
    return {
        "faults": [asdict(fault) for fault in seen.faults],
        "tiny": seen.tiny,
        "constant": seen.constant,
        "smallest": seen.smallest,
        "largest": seen.largest,
    }


# Text --------------------------------------------------------------------------------------------


def _count_lines(data: Dataset, counts: Counts, seen: Inspection) -> list[str]:
    from oodml.data.check import TINY

    sizes = f"{counts.fewest:,} to {counts.most:,} a class, median {counts.median:g}"
    lines = [f"{data.name}: {counts.images:,} images of {counts.classes:,} classes, {sizes}."]
    if counts.published and counts.published != (counts.classes, counts.images):
        classes, images = counts.published
        lines += [f"Published are {images:,} images of {classes:,} classes."]
    if counts.groups is not None:
        lines += [f"Groups of classes: {counts.groups:,}."]
    if counts.roles is not None:
        roles = ", ".join(f"{number:,} {role}" for role, number in counts.roles.items())
        lines += [f"Roles of images: {roles}."]
    if counts.halves:
        halves = " and ".join(
            f"{classes:,} {side} classes ({images:,} images)"
            for side, (classes, images) in zip(("train", "test"), counts.halves, strict=True)
        )
        lines += [f"Published halves: {halves}."]
    if seen.smallest and seen.largest:
        smallest, largest = (f"{w} x {h}" for w, h in (seen.smallest, seen.largest))
        lines += [f"Sizes: {smallest} to {largest} pixels."]
    lines += [f"Cannot be read: {_number(seen.faults, 'image')}."]
    lines += [f"  {fault.reason}" for fault in seen.faults]
    for names, what in ((seen.tiny, f"with a side below {TINY} pixels"), (seen.constant, _PLAIN)):
        if names:
            lines += [f"Remark: {_number(names, 'image')} {what}: {_some(names)}."]
    return lines


_PLAIN = "of one colour all over"


def _match_lines(matches: Sequence[Match], alike: float, *, looked: bool) -> list[str]:
    across, within = [m for m in matches if m.across], [m for m in matches if not m.across]
    lines = [f"Twice within a class: {_kinds(within)}."]
    lines += [f"Twice across classes, which is label noise: {_kinds(across)}."]
    for number, match in enumerate(across[:_SHOWN], start=1):
        how = "the same file" if match.alike is None else f"alike by {match.alike:.3f}"
        lines += [f"  {number}. {how}"]
        lines += [f"     {_named(*pair)}" for pair in zip(match.ids, match.classes, strict=True)]
    if len(across) > _SHOWN:
        lines += [f"  and {len(across) - _SHOWN:,} more, all of them in --json"]
    if looked:
        return [*lines, f"Near-identical are pictures that correlate by {alike:g} or more."]
    return [*lines, "These are vectors: only identical ones were looked for."]


def _leak_lines(matches: Sequence[Match], leaks: Sequence[Leak]) -> list[str]:
    """How many pictures are on both sides of each split, by their numbers in the list above."""
    numbers = {m.ids: str(n) for n, m in enumerate((m for m in matches if m.across), start=1)}
    lines = []
    for leak in leaks:
        where = "the published halves" if leak.rank is None else f"split {leak.rank}"
        which = _some([numbers[match.ids] for match in leak.matches])
        shown = f": {which}" if leak.matches else ""
        lines += [f"On both sides of {where}: {_kinds(leak.matches)}{shown}."]
    return lines


def _kinds(matches: Sequence[Match]) -> str:
    same = sum(match.alike is None for match in matches)
    return f"{same:,} identical, {len(matches) - same:,} near-identical"


def _named(name: str, label: str) -> str:
    return name if name.startswith(f"{label}/") else f"{name} ({label})"


def _number(names: Sequence[object], what: str) -> str:
    return f"{len(names):,} {what}{'' if len(names) == 1 else 's'}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
