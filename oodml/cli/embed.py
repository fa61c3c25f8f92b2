"""`oodml embed`: vectors of a data set, and the cache of all that were made."""

from __future__ import annotations

import re
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from oodml.cli.console import echo_json, echo_table, size_text
from oodml.cli.inputs import (
    device_option,
    json_option,
    load_vectors,
    path_type,
    precision_option,
)

if TYPE_CHECKING:
    from oodml.embed.upkeep import Entry

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SECONDS = {"h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


def _size(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    """`10GB` as bytes; `all` as none left."""
    if text is None or text == "all":
        return None if text is None else 0
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", text, re.IGNORECASE)
    if not match:
        raise click.BadParameter(f"{text!r} is no size; expected all, or such as 10GB.")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def _age(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    """`30d` as seconds."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])", text)
    if not match:
        raise click.BadParameter(f"{text!r} is no age; expected such as 12h, 30d or 8w.")
    return float(match[1]) * _SECONDS[match[2]]


@click.command()
@click.argument("dataset", required=False)
@click.option("--encoder", help="Such as oodml:hog or tv:resnet50; none for data of vectors.")
@precision_option
@device_option
@click.option("-o", "--output", type=path_type(), help="The file to write.")
@click.option("--cache", is_flag=True, help="Instead: show what the caches hold.")
@click.option(
    "--prune",
    metavar="SIZE",
    callback=_size,
    help="With --cache: remove what was used longest ago until SIZE (10GB) is left; or all.",
)
@click.option(
    "--older-than",
    metavar="AGE",
    callback=_age,
    help="With --cache: remove what was not used for AGE (30d).",
)
@json_option
def embed(
    dataset: str | None,
    output: Path | None,
    cache: bool,
    prune: int | None,
    older_than: float | None,
    as_json: bool,
    **how: Any,
) -> None:
    """Embed every image of DATASET and write the vectors to a file.

    A data set that holds vectors, such as isolet, embeds as itself: leave --encoder out. Vectors
    are kept in OODML_HOME/embeddings, so that the same data are not embedded twice; --cache shows
    them.

    \b
    Example:  oodml embed folder:photos/images --encoder tv:resnet50 -o photos.emb
    """
    if cache:
        if dataset or output or how["encoder"]:
            raise click.UsageError("--cache goes alone, or with --prune and --older-than.")
        _echo_cache(prune, older_than, as_json=as_json)
        return
    if prune is not None or older_than is not None:
        raise click.UsageError("--prune and --older-than go with --cache.")
    if dataset is None or output is None:
        raise click.UsageError("Give a DATASET and -o FILE, or --cache.")
    _write(dataset, output, how, as_json=as_json)


def _write(dataset: str, output: Path, how: dict[str, Any], *, as_json: bool) -> None:
    from oodml.embed import write_embeddings

    vectors = load_vectors(None, dataset, **how)
    write_embeddings(output, vectors)
    n, d = vectors.vectors.shape
    if as_json:
        facts = {"file": str(output), "dataset": vectors.dataset, "images": n, "dimension": d}
        facts |= {"encoder": vectors.encoder.to_json() if vectors.encoder else None}
        echo_json({**facts, "classes": len(vectors.classes), "digest": vectors.digest()})
    else:
        classes = len(vectors.classes)
        click.echo(
            f"{output}: {n} images of {classes} classes of {vectors.dataset}, {d} dimensions."
        )


def _echo_cache(most: int | None, older: float | None, *, as_json: bool) -> None:
    """What is in the cache, after what is to go has gone."""
    from oodml.embed.upkeep import find_entries, prune
    from oodml.store import home

    asked = most is not None or older is not None
    removed = prune(most_bytes=most, older=older) if asked else []
    entries = find_entries()
    total = sum(entry.bytes for entry in entries)
    if as_json:
        left, gone = ([_record(entry) for entry in part] for part in (entries, removed))
        echo_json({"entries": left, "bytes": total, "removed": gone})
        return
    columns = ["dataset", "encoder", "precision", "images", "dimension", "size", "used", "state"]
    echo_table(columns, [_cells(entry) for entry in entries], title=str(home()))
    click.echo(f"{len(entries)} caches, {size_text(total)} in all.")
    if asked:
        freed = sum(entry.bytes for entry in removed)
        click.echo(f"Removed: {len(removed)} caches, {size_text(freed)}.")


def _record(entry: Entry) -> dict[str, Any]:
    return {**asdict(entry), "folder": str(entry.folder), "complete": entry.complete}


def _cells(entry: Entry) -> list[str]:
    days = (time.time() - entry.used) / 86400
    used = "today" if days < 1 else f"{days:.0f} days ago"
    state = "complete" if entry.complete else f"{entry.done:,} images done"
    state = "of an old format" if entry.old else state + (", being filled" * entry.filling)
    shape = [f"{entry.rows:,}", str(entry.dim or "–")] if not entry.old else ["–", "–"]
    names = [entry.dataset, entry.encoder, entry.precision]
    return [*names, *shape, size_text(entry.bytes), used, state]
