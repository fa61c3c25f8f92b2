"""The command line: a command parses, calls one function, prints."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click

from oodml.cli.bench import bench
from oodml.cli.curve import curve
from oodml.cli.data import data
from oodml.cli.demo import demo
from oodml.cli.doctor import doctor
from oodml.cli.embed import embed
from oodml.cli.encoder import check_encoder
from oodml.cli.listing import list_names
from oodml.cli.run import run
from oodml.cli.score import score
from oodml.cli.splits import splits
from oodml.errors import OodmlError
from oodml.registry import load_plugin


class _Main(click.Group):
    """Turns what is wrong in the user's world into one sentence; a bug keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OodmlError as error:
            raise click.ClickException(str(error)) from None


@click.group(cls=_Main, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="oodml")
@click.option("-v", "--verbose", is_flag=True, help="Log what is done to stderr.")
@click.option(
    "--plugin",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A Python file with names of your own: datasets = {...}, methods = {...}; repeatable.",
)
def main(verbose: bool, files: tuple[Path, ...]) -> None:
    """How will an embedding do on classes it never saw, and how does that change with distance?

    \b
    Start here:  oodml demo
    """
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    for file in files:
        load_plugin(file)


for _command in (
    *(demo, list_names, data, embed, check_encoder, splits),
    *(run, score, curve, bench, doctor),
):
    main.add_command(_command)
