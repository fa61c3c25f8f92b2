"""Two cards of the same queries made one."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from toys import toy_embeddings

import oodml
from oodml.errors import RunError
from oodml.score import ScoreCard, Subject, score_split, unite
from oodml.score.union import BY_METRIC
from oodml.sweep import read_cards


def test_every_field_by_metric_is_united() -> None:
    """A new mapping of a card is either by metric, and united, or named here."""
    mappings = {field.name for field in fields(ScoreCard) if "Mapping" in str(field.type)}
    assert mappings - {"budget"} == set(BY_METRIC)


def test_cards_of_other_queries_are_not_united() -> None:
    vectors = toy_embeddings(14)
    sequence = oodml.build_splits(vectors, levels=2)

    def card(rank: int = 1, metric: str = "map", **subject: Any) -> ScoreCard:
        return score_split(
            vectors, sequence, rank, subject=Subject(**subject), metrics=[metric, "recall@1"]
        )

    one = card()
    assert set(unite(one, card(metric="mrr")).values) == {"map", "mrr", "recall@1"}
    wrong = replace(one, sums={"map": one.sums["map"] + 1, "mrr": one.sums["map"]})
    assert unite(one, wrong).values["map"] == one.values["map"]
    others = {
        "rank": card(rank=2),
        "swapped": card(swapped=True),
        "similarity": card(similarity="dot"),
        "counts": replace(one, counts=one.counts + 1),
        "features": card(features="other"),
    }
    for name, other in others.items():
        with pytest.raises(RunError, match=f"'frozen', rank 1, differ in .*{name}"):
            unite(one, other)


def test_stores_with_other_metrics_of_a_run_are_read_as_one(tmp_path: Path) -> None:
    vectors = toy_embeddings(12)
    sequence = oodml.build_splits(vectors, levels=2)
    for name in ("map@r", "nmi"):
        oodml.run_methods(
            vectors,
            sequence,
            methods=["frozen"],
            metrics=["recall@1", name],
            store=tmp_path / name,
        )
    cards = read_cards([tmp_path / "map@r", tmp_path / "nmi"])
    assert len(cards) == len(sequence.splits)
    assert all({*card.values} == {"recall@1", "map@r", "nmi"} for card in cards)
