"""Terms of use go with the data: data set, embeddings, files, score cards, results of runs."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from toys import toy_embeddings

from oodml.data import FACTS, Vectors, load_data
from oodml.data.facts import Facts
from oodml.embed import EmbeddingSet, embed_data, read_embeddings, write_embeddings
from oodml.errors import FormatError
from oodml.methods import Budget
from oodml.score import ScoreCard, Subject, score_split
from oodml.split import build_splits
from oodml.store import read_npz, write_npz
from oodml.sweep import read_cards, run_methods

TERMS = "for play only"


def known() -> EmbeddingSet:
    return replace(toy_embeddings(), terms=TERMS)


def test_a_named_data_set_brings_its_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = load_data("digits")
    assert plain.terms is None
    monkeypatch.setitem(FACTS, "digits", Facts("digits", "Digits", 10, 1797, "home", TERMS))
    data = load_data("digits")
    assert data.terms == TERMS
    assert data.content_fingerprint() == plain.content_fingerprint()
    bare = Vectors(np.ones((len(data), 2), np.float32))
    assert embed_data(replace(data, source=bare)).terms == TERMS
    assert embed_data(replace(plain, source=bare)).terms is None


def test_every_published_set_has_terms() -> None:
    for facts in FACTS.values():
        assert facts.terms
        assert facts.home.startswith("https://")


def test_terms_change_no_digest() -> None:
    with_terms, without = known(), toy_embeddings()
    assert with_terms.digest() == without.digest()
    assert with_terms.content_fingerprint == without.content_fingerprint
    sequences = [build_splits(vectors, levels=3).digest for vectors in (with_terms, without)]
    assert sequences[0] == sequences[1]


def test_an_embedding_file_keeps_them(tmp_path: Path) -> None:
    path = tmp_path / "toy.emb"
    write_embeddings(path, known())
    again = read_embeddings(path)
    assert again.terms == TERMS
    assert again.of(again.classes[:3]).terms == TERMS
    write_embeddings(path, toy_embeddings())
    assert "terms" not in json.loads(str(read_npz(path)["meta"]))  # as files were before
    assert read_embeddings(path).terms is None


def test_terms_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "toy.emb"
    write_embeddings(path, known())
    arrays = read_npz(path)
    meta = {**json.loads(str(arrays["meta"])), "terms": ["a"]}
    write_npz(path, {**arrays, "meta": np.array(json.dumps(meta))})
    with pytest.raises(FormatError, match=r"meta has terms \['a'\]; expected text"):
        read_embeddings(path)


def test_a_card_carries_them() -> None:
    vectors = known()
    sequence = build_splits(vectors, levels=3)
    card = score_split(vectors, sequence, 1, subject=Subject())
    assert card.terms == TERMS
    record = card.to_json()
    assert ScoreCard.from_json(record).terms == TERMS
    assert fields(ScoreCard)[-1].name == "terms"
    del record["terms"]
    assert ScoreCard.from_json(record).terms is None  # a card of before
    bare = score_split(toy_embeddings(), sequence, 1, subject=Subject())
    assert bare.terms is None
    assert {**bare.to_json(), "terms": TERMS} == card.to_json()


def test_the_results_of_runs_carry_them(tmp_path: Path) -> None:
    vectors = known()
    sequence = build_splits(vectors, levels=3)
    for given, terms in ((toy_embeddings(), None), (vectors, TERMS)):
        store = tmp_path / str(terms)
        run_methods(given, sequence, methods=["frozen"], store=store)
        results = [json.loads(path.read_text()) for path in store.rglob("result.json")]
        assert [card["terms"] for found in results for card in found["cards"]] == [terms] * 3
        assert {card.terms for card in read_cards([store])} == {terms}


def test_terms_learnt_later_are_not_lost_in_a_store(tmp_path: Path) -> None:
    """A store in which runs on the same vectors were begun when the terms were not known."""
    sequence = build_splits(toy_embeddings(), levels=3)
    budget = Budget(steps=3, batch=16, per_class=4)
    for given, method in ((toy_embeddings(), "frozen"), (known(), "multisimilarity?dim=8")):
        run_methods(given, sequence, methods=[method], seeds=[0], store=tmp_path, budget=budget)
    found = {card.method.split("?")[0]: card.terms for card in read_cards([tmp_path])}
    assert found == {"frozen": None, "multisimilarity": TERMS}
