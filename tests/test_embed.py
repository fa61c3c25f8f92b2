"""Encoders, reading images, extraction, the cache and the embedding file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import oodml
from oodml.data import Dataset, Pixels
from oodml.embed import EmbeddingSet, EncoderSpec, open_encoder, read_embeddings, write_embeddings
from oodml.embed.images import shape_image
from oodml.errors import DataError, FormatError, UnknownNameError, WeightsError

BUILTIN = ["oodml:pixels", "oodml:hog", "tv:resnet18?init=random&seed=0&size=32"]
ENCODER = {"name": "x", "arch": "x", "dim": 2, "size": 8, "mean": [0], "std": [1]}


def pictures(n: int = 8, side: int = 40, seed: int = 0) -> Dataset:
    """n random colour images of 2 classes."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    return Dataset("toy", ("a", "b"), np.arange(n) % 2, tuple(map(str, range(n))), Pixels(images))


# Encoders ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILTIN)
def test_an_encoder_keeps_its_promises(name: str) -> None:
    """Right shape, finite, the same twice, and independent of the rest of the batch."""
    encoder = open_encoder(name)
    data = pictures()
    assert isinstance(data.source, Pixels)
    images = [encoder.transform(Image.fromarray(image)) for image in data.source.images]
    batch = torch.from_numpy(np.stack(images))
    assert batch.dtype == torch.uint8
    vectors = encoder(batch)
    assert vectors.shape == (len(data), encoder.spec.dim)
    assert torch.isfinite(vectors).all()
    assert torch.equal(vectors, encoder(batch))
    alone = torch.cat([encoder(batch[i : i + 1]) for i in range(len(data))])
    torch.testing.assert_close(alone, vectors, rtol=1e-3, atol=1e-4)
    assert open_encoder(name).spec == encoder.spec


def test_specs_come_back_and_identity_leaves_out_the_name() -> None:
    spec = open_encoder("oodml:hog").spec
    assert EncoderSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    assert replace(spec, name="other", licence=None).identity() == spec.identity()
    assert replace(spec, size=64).identity() != spec.identity()


def test_hog_has_the_dimension_of_its_cells() -> None:
    assert open_encoder("oodml:hog").spec.dim == 324
    assert open_encoder("oodml:hog?size=64").spec.dim == 7 * 7 * 36


def test_hog_sees_orientation_not_brightness() -> None:
    encoder = open_encoder("oodml:hog")
    ramp = np.tile(np.linspace(20, 120, 32).astype(np.uint8), (32, 1))
    flat, brighter, turned = np.full_like(ramp, 90), ramp + 60, ramp.T.copy()
    batch = torch.from_numpy(np.stack([ramp, brighter, turned, flat])[:, None])
    vectors = encoder(batch).numpy()
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)
    assert abs(vectors[0] @ vectors[2]) < 0.05 * (vectors[0] @ vectors[0])
    assert not vectors[3].any()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("oodml:hogg", "not built in; there are oodml:hog and oodml:pixels"),
        ("oodml:hog?size=30", "multiple of 8"),
        ("oodml:hog?size=-8", "multiple of 8"),
        ("oodml:pixels?size=0", "size is 0; expected 1 or more"),
        ("oodml:pixels?size=-2", "size is -2; expected 1 or more"),
        ("tv:resnet18?init=random&size=0", "size is 0; expected 1 or more"),
        ("tv:resnet18?init=random&resize=-1&crop=-1", "resize is -1; expected 1 or more"),
        ("tvv:resnet18", "'tvv' is not among the encoders; nearest: tv"),
        (
            "tv:resnet51?init=random",
            "'tv:resnet51' is not a torchvision network; nearest: resnet50",
        ),
        ("tv:resnet18?init=zero", "expected random"),
        ("tv:resnet18.NONE", "has no weights 'NONE'; it has IMAGENET1K_V1"),
        ("tv:resnet18?init=random&size=32&crop=16", "size=S alone, or resize=R&crop=S"),
        ("tv:resnet18?init=random&mean=1,2", "one number or R,G,B"),
        ("tv:resnet18?init=random&std=0", "std is '0'"),
        ("tv:resnet18?init=random&interpolation=x", "interpolation 'x' is not known"),
        ("tv:resnet18?head=x", "has no parameter 'head'"),
    ],
)
def test_wrong_encoder_names_are_explained(name: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        open_encoder(name)


def test_random_weights_are_a_function_of_the_seed() -> None:
    state = torch.random.get_rng_state()
    first, again, other = (
        open_encoder(f"tv:resnet18?init=random&seed={seed}&size=32") for seed in (0, 0, 1)
    )
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator was touched"
    batch = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    assert torch.equal(first(batch), again(batch))
    assert not torch.equal(first(batch), other(batch))
    assert first.spec.identity() == again.spec.identity() != other.spec.identity()


def test_random_weights_that_a_library_draws_in_another_way_are_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As another release of torch may."""
    name = "tv:squeezenet1_1?init=random&seed=0&size=32"
    first = open_encoder(name).spec
    monkeypatch.setattr(torch.nn.init, "kaiming_uniform_", torch.nn.init.kaiming_normal_)
    assert open_encoder(name).spec.identity() != first.identity()


@pytest.mark.parametrize(
    "name", ["tv:vit_b_16?init=random&size=70", "tv:alexnet?init=random&size=8"]
)
def test_a_size_that_a_network_cannot_take_is_refused(name: str) -> None:
    size = name.rpartition("=")[2]
    with pytest.raises(WeightsError, match=f"cannot take images of {size} x {size} pixels .*; cho"):
        open_encoder(name)


# The input of an encoder --------------------------------------------------------------------------


def test_shapes_follow_the_spec() -> None:
    spec = EncoderSpec("x", "x", dim=1, size=24, resize=32)
    wide = np.zeros((50, 100, 3), dtype=np.uint8)
    wide[:, 40:60] = 255  # the middle stays
    found = shape_image(Image.fromarray(wide), spec)
    assert found.shape == (3, 24, 24)
    assert found[:, :, 12].min() == 255
    squashed = shape_image(Image.fromarray(wide), replace(spec, resize=None, mode="L"))
    assert squashed.shape == (1, 24, 24)


def test_the_crop_is_torchvisions() -> None:
    from torchvision.models import ResNet18_Weights

    rng = np.random.default_rng(0)
    for size in [(300, 451), (451, 300), (257, 256), (64, 90)]:
        image = Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
        spec = open_encoder("tv:resnet18?init=random").spec
        pixels = torch.from_numpy(shape_image(image, spec)).float() / 255
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (spec.mean, spec.std))
        expected = ResNet18_Weights.IMAGENET1K_V1.transforms(antialias=True)(image)
        torch.testing.assert_close((pixels - mean) / std, expected)


# The embedding file ------------------------------------------------------------------------------


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    data = replace(pictures(), groups=("g", "h"), default=(("a",), ("b",)))
    vectors = oodml.embed_data(data, "oodml:pixels")
    write_embeddings(tmp_path / "x.emb", vectors)
    found = read_embeddings(tmp_path / "x.emb")
    for name in (
        "dataset",
        "classes",
        "ids",
        "content_fingerprint",
        "encoder",
        "groups",
        "default",
    ):
        assert getattr(found, name) == getattr(vectors, name), name
    assert found.digest() == vectors.digest()
    write_embeddings(tmp_path / "y.emb", found)
    assert (tmp_path / "x.emb").read_bytes() == (tmp_path / "y.emb").read_bytes()


def test_vectors_and_labels_are_enough(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((4, 3))
    np.savez(tmp_path / "ints.npz", vectors=x, labels=[5, 5, 3, 3])
    np.savez(tmp_path / "names.npz", vectors=x, labels=["b", "b", "a", "a"])
    ints, names = (read_embeddings(tmp_path / f"{name}.npz") for name in ("ints", "names"))
    assert ints.classes == ("3", "5")
    assert ints.labels.tolist() == names.labels.tolist() == [1, 1, 0, 0]
    assert names.classes == ("a", "b")
    assert ints.dataset == "ints"
    assert ints.vectors.dtype == np.float32


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": [0, 1]}, "lacks vectors"),
        ({"vectors": np.ones((2, 2))}, "lacks labels"),
        ({"vectors": np.ones(2), "labels": [0, 1]}, r"shape \(2,\)"),
        ({"vectors": np.ones((2, 2), dtype=complex), "labels": [0, 1]}, "complex128"),
        ({"vectors": np.ones((2, 2)), "labels": [[0], [1]]}, r"shape \(2, 1\)"),
        ({"vectors": np.ones((2, 2)), "labels": [0.5, 1]}, "float64"),
        ({"vectors": np.ones((2, 2)), "labels": [0, 1], "meta": "{"}, "no JSON object"),
        ({"vectors": np.ones((2, 2)), "labels": [0, 1], "meta": '{"format": "x"}'}, "format 'x'"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(FormatError, match=message):
        read_embeddings(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"classes": [["a"], ["b"]]}, r"classes are <U1 of shape \(2, 1\)"),
        ({"classes": [0.5, 1]}, "classes are float64"),
        ({"classes": ["a"]}, "labels from 0 to 1; expected 0 to 0"),
        ({"ids": [["a"], ["b"]]}, r"ids are <U1 of shape \(2, 1\)"),
        ({"ids": ["a"]}, "1 ids but labels"),
        ({"ids": "a"}, r"ids are <U1 of shape \(\)"),
        ({"labels": [b"\xff", b"a"]}, "labels are no UTF-8"),
        ({"vectors": np.ones((2, 0))}, "vectors of no dimension"),
        ({"vectors": np.full((2, 1), 1e300)}, "2 rows hold NaN or infinity"),
        ({"meta": {"encoder": "hog"}}, "no encoder spec: 'hog' is no JSON object"),
        ({"meta": {"encoder": {"mean": 1, "std": 2}}}, "no encoder spec"),
        ({"meta": {"encoder": ENCODER | {"name": 5}}}, "no encoder spec: name is 5"),
        ({"meta": {"groups": ["g"]}}, "has 1 groups; expected 2"),
        ({"meta": {"groups": 5}}, "groups 5; expected one name a class"),
        ({"meta": {"default": [["0"], ["2"]]}}, "class '2' of the published split is unknown"),
        ({"meta": {"default": [["0", "1"], ["1"]]}}, "class '1' .* on both sides"),
        ({"meta": {"default": ["0", "1"]}}, "expected two lists of class names"),
        ({"meta": {"default": [["0"]]}}, "expected two lists of class names"),
        ({"meta": {"default": [[0], [1]]}}, "expected two lists of class names"),
        ({"meta": {"dataset": 5}}, "meta has dataset 5; expected text"),
        ({"meta": {"content_fingerprint": []}}, r"meta has content_fingerprint \[\]"),
        ({"meta": []}, "meta is no JSON object"),
    ],
)
def test_malformed_files_are_named(tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    path = tmp_path / "x.npz"
    arrays = {"vectors": np.ones((2, 2)), "labels": [0, 1], **arrays}
    if "meta" in arrays:
        arrays["meta"] = json.dumps(arrays["meta"])
    np.savez(path, **arrays)  # type: ignore[arg-type]
    with pytest.raises((DataError, FormatError), match=f"^{path}.*{message}"):
        read_embeddings(path)


def test_bytes_and_integers_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    labels = np.array(["é", "a"]).astype("U1")
    np.savez(path, vectors=np.eye(2, dtype=np.int8), labels=np.char.encode(labels, "utf-8"))
    found = read_embeddings(path)
    assert found.classes == ("a", "é")
    assert found.labels.tolist() == [1, 0]
    assert found.vectors.dtype == np.float32


def test_bare_vectors_are_known_by_their_images_and_shown_by_their_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    facts = {"labels": [0, 1, 1], "ids": ["x", "y", "z"]}
    for name, changes in [("one", {}), ("two", {}), ("other", {"ids": ["x", "y", "w"]})]:
        np.savez(tmp_path / f"{name}.npz", vectors=rng.random((3, 2)), **{**facts, **changes})  # type: ignore[arg-type]
    one, two, other = (read_embeddings(tmp_path / f"{n}.npz") for n in ("one", "two", "other"))
    assert one.content_fingerprint == two.content_fingerprint != other.content_fingerprint
    assert one.digest() != two.digest()
    assert (one.encoder, one.source, one.dataset) == (None, "one", "one")
    made = oodml.embed_data(pictures(), "oodml:pixels?size=8")
    assert made.source == made.of(["a"]).source == "oodml:pixels?size=8"
    write_embeddings(tmp_path / "made.emb", made)
    assert read_embeddings(tmp_path / "made.emb").source == made.source


def test_a_place_for_caches_that_is_none_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("OODML_HOME", str(tmp_path / "file"))
    with pytest.raises(FormatError, match=f"^Cannot write {tmp_path}/file/.*; choose a place"):
        oodml.embed_data(pictures(), "oodml:pixels")


def test_labels_and_vectors_must_pair_up_and_be_finite(tmp_path: Path) -> None:
    x = np.ones((3, 2))
    np.savez(tmp_path / "short.npz", vectors=x, labels=[0, 1])
    with pytest.raises(DataError, match=r"shape \(3, 2\) for 2 labels"):
        read_embeddings(tmp_path / "short.npz")
    x[1, 0] = np.nan
    np.savez(tmp_path / "nan.npz", vectors=x, labels=[0, 1, 1])
    with pytest.raises(DataError, match=r"1 rows hold NaN or infinity \(rows 1\)"):
        read_embeddings(tmp_path / "nan.npz")


def test_values_are_read_only_and_subsets_keep_names_and_vectors_together() -> None:
    vectors = oodml.embed_data(pictures(), "oodml:pixels")
    with pytest.raises(ValueError, match="read-only"):
        vectors.vectors[0] = 0
    only = vectors.of(["b"])
    assert only.classes == ("b",)
    assert only.ids == ("1", "3", "5", "7")
    np.testing.assert_array_equal(only.vectors, vectors.vectors[1::2])
    swapped = vectors.of(["b", "a"])
    assert [swapped.classes[i] for i in swapped.labels] == ["a", "b"] * 4
    with pytest.raises(
        DataError, match="1 classes are not among the embeddings of 'toy', such as 'c'"
    ):
        vectors.of(["a", "c"])


def test_embeddings_refuse_what_does_not_fit() -> None:
    good = oodml.embed_data(pictures(), "oodml:pixels")
    with pytest.raises(DataError, match="no image"):
        replace(good, classes=("a", "b", "c"))
    with pytest.raises(DataError, match="has 1 groups; expected 2"):
        replace(good, groups=("g",))
    with pytest.raises(DataError, match="on both sides"):
        replace(good, default=(("a",), ("a",)))
    with pytest.raises(DataError, match="one row a label"):
        EmbeddingSet("x", ("a",), np.zeros(2, int), ("1", "2"), np.ones((3, 2)), "f")
