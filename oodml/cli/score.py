"""`oodml score`: embeddings scored as they are, no training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from oodml.cli.console import echo_json, echo_table, number, progress_bar
from oodml.cli.inputs import json_option, load_vectors, path_type, vectors_options

if TYPE_CHECKING:
    from oodml.embed import EmbeddingSet
    from oodml.score import ScoreCard, Subject
    from oodml.split import Part, SplitSequence

SIMILARITIES = ("cosine", "dot", "euclidean")  # of oodml.metrics, which takes long to import


@click.command()
@vectors_options
@click.option("--splits", "file", type=path_type(), help="Score the test classes of every split.")
@click.option("--controls", is_flag=True, help="With --splits: also the controls of every split.")
@click.option(
    "--both-ways", is_flag=True, help="With --splits: also the train side of every split."
)
@click.option("--metric", "metrics", multiple=True, help="Repeat for several; see oodml list.")
@click.option(
    "--similarity",
    type=click.Choice(SIMILARITIES),
    default="cosine",
    show_default=True,
    help="Of retrieval; the other metrics have their own.",
)
@json_option
def score(
    embeddings: Path | None,
    dataset: str | None,
    encoder: str | None,
    precision: str | None,
    device: str,
    file: Path | None,
    controls: bool,
    both_ways: bool,
    metrics: tuple[str, ...],
    similarity: str,
    as_json: bool,
) -> None:
    """Score vectors on all classes, or on the test classes of every split.

    Where a data set keeps queries and gallery apart (inshop), queries are looked for in the gallery
    alone, unless a split tests on images to train on; what was done is said below the table.

    \b
    Example:  oodml score --embeddings photos.emb --splits photos.json
    """
    from oodml.embed.device import find_device
    from oodml.metrics import DEFAULT_METRICS, find_metric
    from oodml.score import Subject
    from oodml.split import read_sequence

    chosen = tuple(dict.fromkeys(metrics)) or DEFAULT_METRICS
    for name in chosen:
        find_metric(name)
    for option, given in (("--controls", controls), ("--both-ways", both_ways)):
        if given and file is None:
            raise click.UsageError(f"{option} goes with --splits.")
    sequence = read_sequence(file) if file else None
    fallback = sequence.encoder if sequence else None
    how: dict[str, Any] = {"precision": precision, "device": device, "fallback": fallback}
    vectors = load_vectors(embeddings, dataset, encoder, **how)
    device = find_device(device)  # of retrieval too, of which no value depends
    if sequence is None:
        _score_all(vectors, chosen, similarity, device, as_json=as_json)
    else:
        parts = sequence.parts(controls=controls, both_ways=both_ways)
        plain = Subject(features=vectors.digest(), similarity=similarity)
        cards = _score_parts(vectors, sequence, parts, plain, metrics=chosen, device=device)
        title, roles = f"{vectors.dataset}, {vectors.source}", vectors.roles is not None
        _echo_cards(cards, chosen, title, roles=roles, as_json=as_json)


def _score_parts(
    vectors: EmbeddingSet,
    sequence: SplitSequence,
    parts: tuple[Part, ...],
    plain: Subject,
    **options: Any,
) -> list[ScoreCard]:
    from oodml.score import score_split

    cards = []
    with progress_bar("Scoring") as progress:
        for done, part in enumerate(parts, start=1):
            subject = replace(plain, control=part.control, swapped=part.swapped)
            cards.append(score_split(vectors, sequence, part.rank, subject=subject, **options))
            progress(done, len(parts))
    return cards


def _echo_cards(
    cards: list[ScoreCard],
    metrics: tuple[str, ...],
    title: str,
    *,
    roles: bool,
    as_json: bool,
) -> None:
    from oodml.score import describe_roles
    from oodml.split import Part

    if as_json:
        echo_json({"cards": [card.to_json() for card in cards]})
        return
    rows = [
        [
            str(Part(c.rank, c.control, c.swapped)),
            "–" if c.shift is None else f"{c.shift:.4g}",
            str(len(c.classes)),
            str(int(c.counts.sum())),
            str(c.excluded),
            str(c.tied),
        ]
        + [f"{c.values[metric]:.3f}" for metric in metrics]
        for c in cards
    ]
    columns = ["split", "shift", "test classes", "queries", "left out", "tied", *metrics]
    echo_table(columns, rows, title=title)
    if roles:
        click.echo(describe_roles(used=cards[0].roles))
    for name in cards[0].chance:
        chances = [card.chance[name] for card in cards]
        click.echo(f"Chance of {name}: {min(chances):.4f} to {max(chances):.4f}.")


def _score_all(
    vectors: EmbeddingSet,
    metrics: tuple[str, ...],
    similarity: str,
    device: str,
    *,
    as_json: bool,
) -> None:
    from oodml.metrics import score_vectors
    from oodml.score import describe_roles, role_masks, uses_roles

    masks = role_masks(vectors) if uses_roles(vectors) else {}
    with progress_bar("Ranking") as progress:
        scores = score_vectors(
            vectors.vectors,
            vectors.labels,
            metrics,
            similarity=similarity,
            device=device,
            progress=progress,
            **masks,
        )
    values, chance, spread = scores.values, scores.chance, scores.spread
    if as_json:
        echo_json(
            {
                "dataset": vectors.dataset,
                "similarity": similarity,
                "queries": len(scores.labels),
                "roles": bool(masks),
                "excluded": scores.excluded,
                "tied": scores.tied,
                "values": values,
                "chance": chance,
                "spread": spread,
            }
        )
        return
    rows = [
        [name, *(number(facts.get(name), 4) for facts in (values, chance, spread))]
        for name in metrics
    ]
    facts = f"{len(scores.labels)} queries, {scores.excluded} left out, {scores.tied} tied"
    title = f"{vectors.dataset}: {facts}"
    columns = ["name", "value", "chance", "spread over seeds"]
    shown = columns if spread else columns[:-1]
    echo_table(shown, [row[: len(shown)] for row in rows], title=title)
    if vectors.roles is not None:
        click.echo(describe_roles(used=bool(masks)))
