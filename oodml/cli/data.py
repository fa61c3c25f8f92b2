"""`oodml data`: data sets on disk."""

from __future__ import annotations

import click

from oodml.cli.check import check
from oodml.cli.fetch import fetch
from oodml.cli.show import show


@click.group()
def data() -> None:
    """Fetch, check and show data sets."""


data.add_command(check)
data.add_command(show)
data.add_command(fetch)
