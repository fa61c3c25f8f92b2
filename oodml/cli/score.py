"""`oodml score`: embeddings scored as they are, no training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from oodml.cli.console import echo_json, echo_table
from oodml.cli.inputs import json_option, load_vectors, path_type, vectors_options

if TYPE_CHECKING:
    from oodml.embed import EmbeddingSet


@click.command()
@vectors_options
@click.option("--splits", "file", type=path_type(), help="Score the test classes of every split.")
@click.option("--controls", is_flag=True, help="With --splits: also the controls of every split.")
@click.option("--metric", "metrics", multiple=True, help="Repeat for several.")
@json_option
def score(
    embeddings: Path | None,
    dataset: str | None,
    encoder: str | None,
    file: Path | None,
    controls: bool,
    metrics: tuple[str, ...],
    as_json: bool,
) -> None:
    """Score vectors on all classes, or on the test classes of every split.

    \b
    Example:  oodml score --embeddings photos.emb --splits photos.json
    """
    from oodml.metrics import DEFAULT_METRICS, find_metric
    from oodml.split import read_sequence

    chosen = tuple(dict.fromkeys(metrics)) or DEFAULT_METRICS
    for name in chosen:
        find_metric(name)
    if controls and file is None:
        raise click.UsageError("--controls goes with --splits.")
    sequence = read_sequence(file) if file else None
    fallback = sequence.encoder.name if sequence and sequence.encoder else None
    vectors = load_vectors(embeddings, dataset, encoder, fallback=fallback)
    if sequence is None:
        _score_all(vectors, chosen, as_json=as_json)
        return
    from oodml.score import Subject, score_split

    plain = Subject(features=vectors.digest())
    parts = sequence.with_controls() if controls else [(s.rank, None) for s in sequence.splits]
    cards = [
        score_split(
            vectors, sequence, rank, subject=replace(plain, control=control), metrics=chosen
        )
        for rank, control in parts
    ]
    if as_json:
        echo_json({"cards": [card.to_json() for card in cards]})
        return
    rows = [
        [
            f"{c.rank}" if c.control is None else f"{c.rank}, control {c.control}",
            "–" if c.shift is None else f"{c.shift:.4g}",
            str(len(c.classes)),
            str(int(c.counts.sum())),
        ]
        + [f"{c.values[metric]:.3f}" for metric in chosen]
        for c in cards
    ]
    title = f"{vectors.dataset}, {vectors.source}"
    echo_table(["split", "shift", "test classes", "queries", *chosen], rows, title=title)


def _score_all(vectors: EmbeddingSet, metrics: tuple[str, ...], *, as_json: bool) -> None:
    from oodml.metrics import find_metric, rank_positives

    ranks = rank_positives(vectors.vectors, vectors.labels)
    found = [find_metric(name) for name in metrics]
    values = {metric.name: float(metric.per_query(ranks).mean()) for metric in found}
    chance = {metric.name: metric.chance(ranks) for metric in found}
    if as_json:
        facts = {"dataset": vectors.dataset, "queries": len(ranks.labels)}
        echo_json(
            {
                **facts,
                "excluded": ranks.excluded,
                "tied": ranks.tied,
                "values": values,
                "chance": chance,
            }
        )
        return
    rows = [[name, f"{values[name]:.4f}", f"{chance[name]:.4f}"] for name in values]
    title = f"{vectors.dataset}: {len(ranks.labels)} queries, {ranks.excluded} left out"
    echo_table(["name", "value", "chance"], rows, title=title)
