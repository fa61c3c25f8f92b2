"""`oodml embed`."""

from __future__ import annotations

from pathlib import Path

import click

from oodml.cli.console import echo_json
from oodml.cli.inputs import json_option, load_vectors, path_type


@click.command()
@click.argument("dataset")
@click.option("--encoder", help="Such as oodml:hog or tv:resnet50; none for data of vectors.")
@click.option("-o", "--output", type=path_type(), required=True, help="The file to write.")
@json_option
def embed(dataset: str, encoder: str | None, output: Path, as_json: bool) -> None:
    """Embed every image of DATASET and write the vectors to a file.

    A data set that holds vectors, such as isolet, embeds as itself: leave --encoder out.

    \b
    Example:  oodml embed folder:photos/images --encoder tv:resnet50 -o photos.emb
    """
    from oodml.embed import write_embeddings

    vectors = load_vectors(None, dataset, encoder)
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
