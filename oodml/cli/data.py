"""`oodml data`: data sets on disk."""

from __future__ import annotations

import click

from oodml.cli.fetch import fetch


@click.group()
def data() -> None:
    """Fetch, check and show data sets."""


data.add_command(fetch)
