"""Score cards: right numbers, files, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from toys import toy_embeddings

import oodml
from oodml.errors import FormatError
from oodml.metrics import evaluate
from oodml.score import ScoreCard, Subject, score_split


def card(**changes: object) -> ScoreCard:
    vectors = toy_embeddings()
    sequence = oodml.build_splits(vectors, levels=3)
    return score_split(vectors, sequence, 2, subject=Subject(**changes))  # type: ignore[arg-type]


def test_a_card_is_the_score_of_the_test_classes() -> None:
    vectors = toy_embeddings()
    sequence = oodml.build_splits(vectors, levels=3)
    found = score_split(vectors, sequence, 2, subject=Subject())
    test = vectors.of(sequence.at(2).test)
    expected = evaluate(test.vectors, test.labels, list(found.values))
    assert found.values == pytest.approx(expected)
    assert found.classes == sequence.at(2).test
    assert (found.rank, found.levels) == (2, len(sequence.splits))
    assert found.shift == sequence.at(2).shift
    assert int(found.counts.sum()) == len(test)
    for name in found.classes:
        rows = test.of([name])
        assert found.counts[found.classes.index(name)] == len(rows)


def test_a_card_comes_back_from_json() -> None:
    found = card(method="m", seed=3)
    text = json.dumps(found.to_json(), allow_nan=False)
    again = ScoreCard.from_json(json.loads(text))
    assert json.dumps(again.to_json()) == text
    with pytest.raises(ValueError, match="read-only"):
        again.counts[0] = 5


def test_what_is_no_card_is_refused() -> None:
    record = card().to_json()
    for change in ({"counts": [1]}, {"classes": []}, {"sums": {"recall@1": [1.0]}}, {"other": 1}):
        with pytest.raises(FormatError, match=r"card"):
            ScoreCard.from_json({**record, **change})
    del record["rank"]
    with pytest.raises(FormatError, match="no score card"):
        ScoreCard.from_json(record)


def test_a_class_of_one_image_is_left_out_and_counted() -> None:
    vectors = toy_embeddings(8, 3)
    rows = np.flatnonzero((vectors.labels != 7) | (np.arange(len(vectors)) % 3 == 0))
    fewer = replace(
        vectors,
        labels=vectors.labels[rows],
        ids=tuple(vectors.ids[r] for r in rows),
        vectors=vectors.vectors[rows],
    )
    sequence = oodml.build_splits(fewer, levels=1)
    alone = sequence.at(1).test if "class 007" in sequence.at(1).test else None
    found = score_split(fewer, sequence, 1, subject=Subject())
    assert found.excluded == (1 if alone else 0)
    assert "class 007" not in found.classes
