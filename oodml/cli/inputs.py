"""The options that say which vectors a command works on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from oodml.cli.console import progress_bar

if TYPE_CHECKING:
    from oodml.embed import EmbeddingSet, EncoderSpec

F = TypeVar("F", bound=Callable[..., Any])

VECTORS = ("embeddings", "dataset", "encoder", "precision", "device")  # of `vectors_options`

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def path_type(*, exists: bool = False) -> click.Path:
    return click.Path(path_type=Path, exists=exists, dir_okay=False)


precision_option = click.option(
    "--precision",
    type=click.Choice(["float32", "bf16"]),
    help="Of a torch encoder; bf16 is faster and rounds to 3 digits on the way; default float32.",
)
device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    help="cpu, cuda, ...; auto: cuda where there is one.",
)


def vectors_options(command: F) -> F:
    """`--embeddings FILE`, or `--dataset D --encoder E` and how to compute the vectors."""
    for option in reversed(
        (
            click.option(
                "--embeddings",
                type=click.Path(path_type=Path),
                help="An embedding file, or the folder of a complete cache.",
            ),
            click.option("--dataset", help="A data set: glyphs, folder:PATH, csv:PATH."),
            click.option(
                "--encoder",
                help="An encoder, such as oodml:hog or tv:resnet50; none for data of vectors.",
            ),
            precision_option,
            device_option,
        )
    ):
        command = option(command)
    return command


def load_vectors(
    embeddings: Path | None,
    dataset: str | None,
    encoder: str | None,
    *,
    precision: str | None = None,
    device: str = "auto",
    fallback: EncoderSpec | None = None,
) -> EmbeddingSet:
    """The vectors that the options name; `fallback` is the encoder where none is named."""
    from oodml.data import Vectors, load_data
    from oodml.embed import embed_data, read_embeddings

    if embeddings is not None:
        if dataset or encoder:
            raise click.UsageError("Give --embeddings, or --dataset and --encoder, not both.")
        return read_embeddings(embeddings)
    if dataset is None:
        raise click.UsageError("Give --embeddings FILE, or --dataset D and --encoder E.")
    data = load_data(dataset)
    if not isinstance(data.source, Vectors):
        if encoder is None and fallback is not None:
            encoder, precision = fallback.name, precision or fallback.precision
        if encoder is None:
            raise click.UsageError(
                f"{data.name} holds images: give --encoder too, such as --encoder oodml:hog."
            )
    with progress_bar(f"Embedding {data.name}") as update:
        return embed_data(data, encoder, progress=update, precision=precision, device=device)
