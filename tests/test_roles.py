"""Queries and gallery apart: what a data set says of it reaches every score, or none of a curve."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from oracles import ranks_of
from published_trees import ITEMS, write_clothes
from toys import toy_embeddings

import oodml
from oodml.cli import main
from oodml.data import Dataset, load_data
from oodml.embed import EmbeddingSet, embed_data, read_embeddings, write_embeddings
from oodml.errors import DataError
from oodml.metrics import evaluate, score_vectors
from oodml.score import ScoreCard, Subject, role_masks, score_split, uses_roles
from oodml.split import Control, Split, SplitSequence, write_sequence

METRICS = ("recall@1", "recall@4", "map@r")


def with_roles(vectors: EmbeddingSet, trained: int = 0, *, seed: int = 0) -> EmbeddingSet:
    """The first `trained` classes to train on, the images of the others queries or gallery."""
    rng = np.random.default_rng(seed)
    drawn = rng.choice(["query", "gallery"], len(vectors))
    roles = np.where(vectors.labels < trained, "train", drawn)
    return replace(vectors, roles=tuple(roles.tolist()))


def slow(vectors: EmbeddingSet) -> dict[str, float]:
    """Loops over queries and gallery: the definition."""
    assert vectors.roles is not None
    rows = vectors.vectors.tolist()
    labels = vectors.labels.tolist()
    gallery = [role == "gallery" for role in vectors.roles]
    hits: dict[str, list[float]] = {name: [] for name in METRICS}
    left_out = 0
    for query, role in enumerate(vectors.roles):
        ranks = ranks_of(rows, labels, query, gallery=gallery) if role == "query" else []
        if role == "query" and not ranks:
            left_out += 1
        if ranks:
            hits["recall@1"].append(float(ranks[0] <= 1))
            hits["recall@4"].append(float(ranks[0] <= 4))
            within = [rank for rank in ranks if rank <= len(ranks)]
            found = [(at + 1) / rank for at, rank in enumerate(within)]
            hits["map@r"].append(sum(found) / len(ranks))
    scores = {name: sum(values) / len(values) for name, values in hits.items()}
    return {**scores, "queries": len(hits["recall@1"]), "excluded": left_out}


def sequence_of(vectors: EmbeddingSet, *sides: tuple[range, range], controls: bool = False) -> Any:
    """Splits of those train and test classes."""
    names = vectors.classes
    splits = []
    for rank, (train, test) in enumerate(sides, start=1):
        one, other = (tuple(names[at] for at in side) for side in (train, test))
        drawn = (Control(one[: len(other)]),) if controls else ()
        splits.append(Split(rank, float(rank), one, (), other, drawn))
    return SplitSequence(vectors.dataset, tuple(splits))


def call(*words: object) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


# Values and files --------------------------------------------------------------------------------


def test_roles_follow_their_images() -> None:
    vectors = with_roles(toy_embeddings(6, 4), 2)
    assert vectors.roles is not None
    part = vectors.of(["class 004", "class 001"])
    assert part.roles is not None
    role_of = dict(zip(vectors.ids, vectors.roles, strict=True))
    assert [role_of[name] for name in part.ids] == [*part.roles]
    assert toy_embeddings(6, 4).of(["class 004"]).roles is None


def test_roles_come_back_from_a_file(tmp_path: Path) -> None:
    vectors = with_roles(toy_embeddings(6, 4), 2)
    write_embeddings(tmp_path / "a.emb", vectors)
    again = read_embeddings(tmp_path / "a.emb")
    assert again.roles == vectors.roles
    assert again.digest() == vectors.digest()


def test_without_roles_nothing_changes(tmp_path: Path) -> None:
    """The digests that vectors had, and the arrays that files had, before there were roles."""
    plain = toy_embeddings(6, 4)
    write_embeddings(tmp_path / "a.emb", plain)
    with np.load(tmp_path / "a.emb") as arrays:
        assert {*arrays.files} == {"vectors", "labels", "classes", "ids", "meta"}
    assert read_embeddings(tmp_path / "a.emb").roles is None
    whole = EmbeddingSet(
        "plain", ("a", "b"), [0, 1], ("0", "1"), np.array([[1, 2], [3, 4]], np.float32), "plain"
    )
    parts = []
    for array in (whole.labels, whole.vectors):
        head = f"{array.dtype.str}{array.shape}".encode()
        parts.append(hashlib.sha256(head + array.tobytes()).hexdigest())
    text = json.dumps([["a", "b"], *parts], separators=(",", ":"))
    assert whole.digest() == hashlib.sha256(text.encode()).hexdigest()


def test_digests_know_of_roles_and_contents_do_not() -> None:
    plain = toy_embeddings(6, 4)
    one, other = with_roles(plain), with_roles(plain, seed=1)
    assert len({plain.digest(), one.digest(), other.digest()}) == 3
    assert plain.content_fingerprint == one.content_fingerprint


@pytest.mark.parametrize(
    ("roles", "message"),
    [(("query",) * 3, "has 3 roles; expected 24"), (("probe",) * 24, "has the role 'probe'")],
)
def test_roles_that_will_not_do(tmp_path: Path, roles: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(toy_embeddings(6, 4), roles=roles)
    plain = toy_embeddings(6, 4)
    arrays = {"vectors": plain.vectors, "labels": plain.labels, "roles": np.array(roles)}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        read_embeddings(tmp_path / "a.npz")


def test_a_file_of_any_origin_may_have_roles(tmp_path: Path) -> None:
    roles = np.array([b"query", b"gallery", b"gallery", b"train"])
    np.savez(tmp_path / "a.npz", vectors=np.eye(4), labels=[0, 0, 1, 1], roles=roles)
    assert read_embeddings(tmp_path / "a.npz").roles == ("query", "gallery", "gallery", "train")


# Where they are used -----------------------------------------------------------------------------


def test_roles_are_used_where_no_split_tests_on_images_to_train_on() -> None:
    vectors = with_roles(toy_embeddings(12, 4), 5)
    low, high = range(5), range(5, 12)
    assert uses_roles(vectors)
    assert uses_roles(vectors, sequence_of(vectors, (low, high)))
    assert uses_roles(vectors, sequence_of(vectors, (low, range(6, 12)), (range(4), high)))
    mixed = sequence_of(vectors, (low, high), (high, low))
    assert not uses_roles(vectors, mixed)
    one_class = sequence_of(vectors, (low, high), (range(4), range(4, 12)))
    assert not uses_roles(vectors, one_class)
    assert not uses_roles(vectors, sequence_of(vectors, (high, low), controls=True))
    controlled = sequence_of(vectors, (range(5, 8), range(8, 11)), controls=True)
    assert uses_roles(vectors, controlled)
    controlled = sequence_of(vectors, (low, range(5, 10)), controls=True)
    assert not uses_roles(vectors, controlled)  # its controls test on images to train on


@pytest.mark.parametrize("roles", [None, "train", "query", "gallery"])
def test_without_queries_and_a_gallery_every_image_is_both(roles: str | None) -> None:
    vectors = toy_embeddings(6, 4)
    vectors = replace(vectors, roles=roles and (roles,) * len(vectors))
    assert not uses_roles(vectors)
    assert not uses_roles(vectors, sequence_of(vectors, (range(3), range(3, 6))))


# Scores ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_a_card_equals_the_loop_over_queries_and_gallery(seed: int) -> None:
    vectors = with_roles(toy_embeddings(16, 5, seed=seed, noise=3), 6, seed=seed)
    sequence = sequence_of(vectors, (range(6), range(6, 16)), (range(5), range(8, 16)))
    for split in sequence.splits:
        card = score_split(vectors, sequence, split.rank, subject=Subject(), metrics=METRICS)
        expected = slow(vectors.of(split.test))
        assert card.roles
        assert card.values == pytest.approx({name: expected[name] for name in METRICS})
        assert (int(card.counts.sum()), card.excluded) == (
            expected["queries"],
            expected["excluded"],
        )
        again = ScoreCard.from_json(json.loads(json.dumps(card.to_json())))
        assert again.roles


def test_a_curve_is_never_of_two_protocols() -> None:
    vectors = with_roles(toy_embeddings(12, 4, noise=2), 6)
    low, high = range(6), range(6, 12)
    sequence = sequence_of(vectors, (low, high), (high, low))
    plain = replace(vectors, roles=None)
    for rank in (1, 2):
        card = score_split(vectors, sequence, rank, subject=Subject(), metrics=METRICS)
        expected = score_split(plain, sequence, rank, subject=Subject(), metrics=METRICS)
        assert not card.roles
        assert card.values == expected.values
        assert card.counts.tolist() == expected.counts.tolist()


def test_a_class_without_gallery_is_left_out_and_counted() -> None:
    vectors = with_roles(toy_embeddings(6, 4), 3)
    roles = np.array(vectors.roles)
    roles[vectors.labels == 3] = "query"
    roles[vectors.labels == 4] = "gallery"
    roles[vectors.labels == 5] = ["query", "gallery", "query", "gallery"]
    vectors = replace(vectors, roles=tuple(roles.tolist()))
    sequence = sequence_of(vectors, (range(3), range(3, 6)))
    card = score_split(vectors, sequence, 1, subject=Subject(), metrics=METRICS)
    assert card.classes == ("class 005",)
    assert (card.counts.tolist(), card.excluded) == ([2], 4)
    # Class 4 asks nothing, but is found: 2 of the 6 images of the gallery are right.
    assert card.chance["recall@1"] == pytest.approx(2 / 6)


def test_a_card_from_before_there_were_roles_is_one_without() -> None:
    vectors = toy_embeddings(6, 4)
    sequence = sequence_of(vectors, (range(3), range(3, 6)))
    record = score_split(vectors, sequence, 1, subject=Subject()).to_json()
    del record["roles"]
    assert ScoreCard.from_json(record).roles is False


def test_runs_know_of_roles() -> None:
    vectors = with_roles(toy_embeddings(12, 4), 6)
    sequence = sequence_of(vectors, (range(6), range(6, 12)))
    cards = oodml.run_methods(vectors, sequence, methods=["frozen"])
    expected = score_split(vectors, sequence, 1, subject=Subject())
    assert [card.roles for card in cards] == [True]
    assert cards[0].values == expected.values


@pytest.mark.parametrize("metrics", [("nmi?seeds=1",), ("recall@1", "nmi?seeds=1", "intra")])
def test_metrics_of_a_set_are_of_queries_and_gallery_together(metrics: tuple[str, ...]) -> None:
    vectors = with_roles(toy_embeddings(12, 5, noise=2), 5)
    roles = np.array(vectors.roles)
    found = score_vectors(vectors.vectors, vectors.labels, metrics, **role_masks(vectors))
    rest = roles != "train"
    sets = [name for name in metrics if name != "recall@1"]
    expected = evaluate(vectors.vectors[rest], vectors.labels[rest], sets)
    assert {name: found.values[name] for name in sets} == expected
    assert found.values != evaluate(vectors.vectors, vectors.labels, metrics)


@pytest.mark.parametrize("seed", range(3))
def test_queries_are_the_same_with_and_without_ranks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, labels = rng.standard_normal((60, 4)), rng.integers(0, 25, 60)
    for masks in (
        {},
        {"queries": rng.random(60) < 0.5},
        {"gallery": rng.random(60) < 0.5},
        {"queries": rng.random(60) < 0.5, "gallery": rng.random(60) < 0.5},
    ):
        ranked = score_vectors(vectors, labels, ["recall@1", "intra"], **masks)
        alone = score_vectors(vectors, labels, "intra", **masks)
        assert ranked.queries.tolist() == alone.queries.tolist()
        assert ranked.labels.tolist() == alone.labels.tolist()
        assert ranked.excluded == alone.excluded
        assert ranked.values["intra"] == alone.values["intra"]


# As a user ---------------------------------------------------------------------------------------


@pytest.fixture
def clothes(tmp_path: Path) -> Dataset:
    write_clothes(tmp_path / "clothes")
    return load_data(f"inshop:{tmp_path / 'clothes'}?complete=false")


def test_clothes_are_scored_as_published(clothes: Dataset, tmp_path: Path) -> None:
    """From the folder and from the file of its embeddings; then the slow loop says the same."""
    vectors = embed_data(clothes, "oodml:pixels")
    assert vectors.roles == clothes.roles
    expected = slow(vectors)
    assert expected["excluded"] == 1  # id_00000006 has a query only
    write_embeddings(tmp_path / "clothes.emb", vectors)
    place = f"inshop:{tmp_path / 'clothes'}?complete=false"
    options = [word for name in METRICS for word in ("--metric", name)]
    for inputs in (
        ("--embeddings", tmp_path / "clothes.emb"),
        ("--dataset", place, "--encoder", "oodml:pixels"),
    ):
        found = json.loads(call("score", *inputs, *options, "--json"))
        assert found["roles"] is True
        assert found["values"] == pytest.approx({name: expected[name] for name in METRICS})
        assert (found["queries"], found["excluded"]) == (expected["queries"], 1)
        text = call("score", *inputs)
        assert "Queries are looked for in the gallery; images to train on are left out." in text


@pytest.mark.parametrize(
    ("sides", "said"),
    [
        (lambda names: (names[:2], names[2:]), "Queries are looked for in the gallery"),
        (lambda names: (names[2:4], names[:2] + names[4:]), "every image is query and gallery"),
    ],
)
def test_splits_of_clothes(
    clothes: Dataset,
    tmp_path: Path,
    sides: Callable[[tuple[str, ...]], tuple[tuple[str, ...], tuple[str, ...]]],
    said: str,
) -> None:
    vectors = embed_data(clothes, "oodml:pixels")
    train, test = sides(clothes.classes)
    sequence = SplitSequence("inshop", (Split(1, 1.0, train, (), test),))
    write_embeddings(tmp_path / "clothes.emb", vectors)
    write_sequence(tmp_path / "clothes.json", sequence)
    words = ("--embeddings", tmp_path / "clothes.emb", "--splits", tmp_path / "clothes.json")
    assert said in call("score", *words)
    (record,) = json.loads(call("score", *words, "--json"))["cards"]
    assert record["roles"] is said.startswith("Queries")
    roles = {name: parts for name, _, parts in ITEMS}
    images = sum(len(roles[name]) for name in test)
    queries = sum(roles[name].count("query") for name in test)
    asking = queries if record["roles"] else images
    assert sum(record["counts"]) + record["excluded"] == asking


def test_a_data_set_without_roles_says_nothing_of_them(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "toy.emb", toy_embeddings(6, 4))
    words = ("--embeddings", tmp_path / "toy.emb")
    assert "gallery" not in call("score", *words)
    assert json.loads(call("score", *words, "--json"))["roles"] is False
