"""`oodml data`: data sets on disk."""

from __future__ import annotations

import click


@click.group()
def data() -> None:
    """Fetch, check and show data sets."""
