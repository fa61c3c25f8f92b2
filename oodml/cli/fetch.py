"""`oodml data fetch`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click

from oodml.cli.console import echo_json, progress_bar
from oodml.cli.inputs import json_option


@click.command()
@click.argument("name")
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    help="Put it into ROOT/NAME; default: OODML_HOME/datasets, where its name alone finds it.",
)
@click.option("--keep", is_flag=True, help="Keep downloaded archives beside what they hold.")
@json_option
def fetch(name: str, root: Path | None, keep: bool, as_json: bool) -> None:
    """Download, check and unpack the published data set NAME; killed, it goes on where it was.

    An archive that you put into ROOT/NAME yourself is used in place of a download.

    \b
    Example:  oodml data fetch omniglot
    """
    from oodml.data.fetch import facts_of, fetch_data

    facts = facts_of(name)
    click.echo(f"{facts.title}, {facts.home}\nTerms of use: {facts.terms}.", err=True)
    fetched = fetch_data(facts, root, keep=keep, bar=_mebibytes)
    if as_json:
        echo_json({**asdict(fetched), "folder": str(fetched.folder)})
        return
    for archive in fetched.archives:
        known = archive["checked"]
        said = f"checked by its published {known}" if known else "unchecked: no hash is published"
        click.echo(f"{archive['file']}: sha256 {archive['sha256']}, {said}.")
    use = f"{name}:{fetched.folder}" if root else name
    click.echo(f"{fetched.folder} holds {facts.title}; use it as {use}. Terms: {facts.terms}.")


@contextmanager
def _mebibytes(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that counts MiB, from bytes."""
    with progress_bar(f"{what} (MiB)") as update:
        yield lambda done, total: update(done >> 20, total >> 20)
