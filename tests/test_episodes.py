"""k-shot episodes and the torch view of a split."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import toy_embeddings

import oodml
from oodml.data import Dataset, Vectors
from oodml.errors import DataError, SplitError
from oodml.split import Split, import_official, read_sequence, write_sequence
from oodml.split.episodes import EpisodeRecipe, PublishedEpisode, require_images

IMAGES = {"b": [f"b/{i}" for i in range(6)], "a": [f"a/{i}" for i in range(9, 0, -1)]}


def test_an_episode_is_a_function_of_its_numbers_alone() -> None:
    recipe = EpisodeRecipe(3, (1, 5), 10)
    first = recipe.support(IMAGES, rank=2, shots=5, index=7)
    turned = {name: IMAGES[name][::-1] for name in reversed(IMAGES)}
    assert recipe.support(turned, rank=2, shots=5, index=7) == first
    assert EpisodeRecipe(3, (5,), 8).support(IMAGES, rank=2, shots=5, index=7) == first
    others = [
        recipe.support(IMAGES, rank=1, shots=5, index=7),
        recipe.support(IMAGES, rank=2, shots=5, index=6),
        EpisodeRecipe(4, (1, 5), 10).support(IMAGES, rank=2, shots=5, index=7),
    ]
    assert all(other != first for other in others)
    for name, ids in first.items():
        assert len(set(ids)) == 5
        assert set(ids) < set(IMAGES[name])


def test_the_drawing_is_the_documented_one() -> None:
    rng = np.random.default_rng([0, 1, 2, 3])
    expected = {}
    for name in ("a", "b"):
        rows = rng.choice(len(IMAGES[name]), 2, replace=False)
        expected[name] = tuple(np.array(sorted(IMAGES[name]))[np.sort(rows)].tolist())
    assert EpisodeRecipe(0, (2,), 4).support(IMAGES, rank=1, shots=2, index=3) == expected


def test_episodes_that_cannot_be_are_refused() -> None:
    recipe = EpisodeRecipe(0, (2, 6), 3)
    with pytest.raises(SplitError, match="1 classes have no more than 6 images, such as 'b'"):
        recipe.support(IMAGES, rank=1, shots=6, index=0)
    with pytest.raises(SplitError, match="no episode 3 of 2 shots; there are 3 of each of 2, 6"):
        recipe.support(IMAGES, rank=1, shots=2, index=3)
    with pytest.raises(SplitError, match="expected positive numbers"):
        EpisodeRecipe(0, (0,), 3)


def test_episodes_travel_with_the_file_and_its_digest(tmp_path: Path) -> None:
    plain = oodml.build_splits(toy_embeddings(12), levels=2)
    drawn = replace(plain, episodes=EpisodeRecipe(0, (1, 5), 10))
    listed = replace(plain, published_episodes=(PublishedEpisode(1, 1, 0, {"a": ("a/1",)}),))
    for sequence in (plain, drawn, listed):
        write_sequence(tmp_path / "s.json", sequence)
        assert read_sequence(tmp_path / "s.json") == sequence
    assert len({plain.digest, drawn.digest, listed.digest}) == 3
    assert "episodes" not in json.dumps(plain.to_json())


def test_the_published_episodes_are_read(test_data: Path) -> None:
    path = test_data / "oodml_official" / "cars196_splits.pkl"
    assert not import_official(path).published_episodes
    sequence = import_official(path, episodes=True)
    episodes = sequence.published_episodes
    assert len(episodes) == 8 * 3 * 10
    for episode in episodes:
        assert set(episode.support) == set(sequence.at(episode.rank).test)
        assert {len(set(ids)) for ids in episode.support.values()} == {episode.shots}
    data = oodml.load_data(f"folder:{test_data / 'cars196_half' / 'images'}")
    with pytest.raises(DataError, match=r"\d+ of 11233 images of the published episodes are not"):
        require_images(episodes, data.ids)
    require_images(episodes, {name for e in episodes for ids in e.support.values() for name in ids})


# The torch view ----------------------------------------------------------------------------------


def test_a_side_is_a_torch_data_set() -> None:
    data = oodml.load_data("digits")
    split = Split(1, 1.0, ("3", "1"), ("7",), ("0", "9"))
    train = oodml.subset(data, split, "train")
    assert isinstance(train, torch.utils.data.Dataset)
    assert train.classes == ("1", "3")
    wanted = [i for i, label in enumerate(data.labels) if data.classes[label] in ("1", "3")]
    assert train.rows.tolist() == wanted
    for item in (0, len(train) - 1):
        image, label = train[item]
        assert image.size == (8, 8)
        assert train.classes[label] == data.classes[data.labels[train.rows[item]]]
    sides = [oodml.subset(data, split, side) for side in ("train", "val", "test", "train side")]
    assert len(sides[0]) + len(sides[1]) == len(sides[3])
    assert {*sides[3].classes}.isdisjoint(sides[2].classes)


def test_a_loader_can_read_it_in_other_processes() -> None:
    data = oodml.load_data("digits")
    split = Split(1, 1.0, ("3", "1"), ("7",), ("0", "9"))
    test = oodml.subset(data, split, "test", transform=np.array)
    loader = torch.utils.data.DataLoader(test, batch_size=64, num_workers=1)
    images, labels = next(iter(loader))
    assert images.shape == (64, 8, 8)
    assert set(labels.tolist()) == {0, 1}


def test_vectors_and_wrong_sides() -> None:
    data = Dataset("v", ("a", "b"), np.array([0, 1]), ("0", "1"), Vectors(np.eye(2, dtype="f4")))
    split = Split(1, 1.0, ("a",), (), ("b",))
    vector, label = oodml.subset(data, split, "test")[0]
    assert vector.tolist() == [0, 1]
    assert label == 0
    with pytest.raises(ValueError, match="expected one of train, val, test, train side"):
        oodml.subset(data, split, "gallery")  # type: ignore[arg-type]
    with pytest.raises(SplitError, match="1 of 1 classes are not in 'v', such as 'c'"):
        oodml.subset(data, Split(1, 1.0, ("c",), (), ("b",)), "train")
