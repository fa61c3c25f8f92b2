"""MNIST and ISOLET: files in any published form give one data set; damage is named."""

from __future__ import annotations

import gzip
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import io

import oodml
from oodml.cli import main
from oodml.data import Dataset, Pixels, Vectors, load_data
from oodml.data.facts import FACTS
from oodml.errors import DataError, FormatError

Sides = dict[str, tuple[np.ndarray, np.ndarray]]


@pytest.fixture
def digits() -> Sides:
    """30 training and 10 test images, all ten digits on either side."""
    rng = np.random.default_rng(0)
    return {
        side: (rng.integers(0, 256, (n, 28, 28), dtype=np.uint8), rng.permutation(n) % 10)
        for side, n in (("train", 30), ("t10k", 10))
    }


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


def write_idx(root: Path, digits: Sides, *, dot: bool = False, packed: bool = False) -> Path:
    root.mkdir(parents=True)
    for side, (images, labels) in digits.items():
        for what, array in (("images-idx3", images), ("labels-idx1", labels.astype(np.uint8))):
            name = f"{side}-{what}-ubyte"
            content = idx(array)
            name = name.replace("-idx", ".idx") if dot else name
            if packed:
                name, content = f"{name}.gz", gzip.compress(content)
            (root / name).write_bytes(content)
    return root


def write_npz(root: Path, digits: Sides, *, by_class: bool = False) -> Path:
    root.mkdir(parents=True)
    arrays = {}
    for side, (images, labels) in digits.items():
        order = np.argsort(labels, kind="stable") if by_class else np.arange(len(labels))
        key = {"train": "train", "t10k": "test"}[side]
        arrays[f"x_{key}"], arrays[f"y_{key}"] = images[order], labels[order]
    np.savez(root / "mnist.npz", **arrays)
    return root


def part_of(root: Path, name: str = "mnist") -> Dataset:
    return load_data(f"{name}:{root}?complete=false")


# MNIST -------------------------------------------------------------------------------------------


def test_every_form_gives_the_same_data_set(digits: Sides, tmp_path: Path) -> None:
    roots = [
        write_idx(tmp_path / "a", digits),
        write_idx(tmp_path / "b" / "raw", digits, dot=True).parent,
        write_idx(tmp_path / "c" / "MNIST" / "raw", digits, packed=True).parent.parent,
        write_npz(tmp_path / "d", digits),
        write_npz(tmp_path / "e", digits, by_class=True),
    ]
    first, *others = map(part_of, roots)
    assert first.classes == tuple("0123456789")
    assert first.default is None
    for other in others:
        assert other.ids == first.ids
        assert other.content_fingerprint() == first.content_fingerprint()


def test_an_id_stays_with_its_image(digits: Sides, tmp_path: Path) -> None:
    data = part_of(write_npz(tmp_path / "a", digits))
    assert isinstance(data.source, Pixels)
    assert sorted({path.split("/")[0] for path in data.ids}) == ["test", "train"]
    there = {
        image.tobytes(): label
        for images, labels in digits.values()
        for image, label in zip(images, labels, strict=True)
    }
    for image, label, path in zip(data.source.images, data.labels, data.ids, strict=True):
        assert there[image.tobytes()] == label == int(path.split("/")[1])
    some = {"train": tuple(array[7:] for array in digits["train"])}
    part = part_of(write_npz(tmp_path / "b", some))  # type: ignore[arg-type]
    assert isinstance(part.source, Pixels)
    known = dict(zip(data.ids, data.source.images, strict=True))
    for path, image in zip(part.ids, part.source.images, strict=True):
        np.testing.assert_array_equal(known[path], image)


def test_equal_images_have_different_ids(digits: Sides, tmp_path: Path) -> None:
    images, labels = digits["train"]
    twice = (np.concatenate([images, images[:1]]), np.concatenate([labels, labels[:1]]))
    data = part_of(write_npz(tmp_path / "a", {"train": twice}))
    assert len(data) == 31
    assert sum(path.endswith("-2") for path in data.ids) == 1


def test_counts_of_mnist(digits: Sides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_npz(tmp_path / "a", digits)
    with pytest.raises(DataError, match="holds 10 classes and 40 images; expected the 10 and 70,0"):
        load_data(f"mnist:{root}")
    monkeypatch.setitem(FACTS, "mnist", replace(FACTS["mnist"], images=40))
    assert len(load_data(f"mnist:{root}")) == 40
    few = {"t10k": (digits["t10k"][0][:2], np.array([3, 8]))}
    assert part_of(write_npz(tmp_path / "b", few)).classes == ("3", "8")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as an idx file"),
        (b"\0\0\x08", "cannot be read as an idx file"),
        (b"<html>" * 50, "is no idx file of bytes, or not all of it: it begins with 3c68746d"),
        (struct.pack(">IIII", 0x0803, 30, 28, 28) + b"\0" * 9, "has 9 bytes of data where its"),
        (struct.pack(">IIII", 0x0803, 2**31, 2**31, 28), "has 0 bytes of data where its head"),
        (struct.pack(">IIII", 0x0803, 30, 2, 2) + b"\0" * 120, r"uint8 of shape \(30, 2, 2\)"),
        (struct.pack(">IIII", 0x0803, 3, 28, 28) + b"\0" * 2352, r"labels uint8 of shape \(30,\)"),
    ],
)
def test_damaged_idx_files_are_named(
    digits: Sides, tmp_path: Path, content: bytes, message: str
) -> None:
    root = write_idx(tmp_path / "a", digits)
    (root / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=f"train-images-idx3-ubyte.*{message}"):
        part_of(root)


def test_mnist_that_cannot_be_read(digits: Sides, tmp_path: Path) -> None:
    root = write_idx(tmp_path / "a", digits, packed=True)
    path = root / "train-labels-idx1-ubyte.gz"
    content = path.read_bytes()
    for broken in (content[:-12], b"no gzip at all", content[:20] + b"\xff" * 9 + content[29:]):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"train-labels-idx1-ubyte\.gz"):
            part_of(root)
    (tmp_path / "b").mkdir()
    expected = r"is no MNIST .*expected train-images-idx3.*found an empty folder"
    with pytest.raises(DataError, match=expected):
        part_of(tmp_path / "b")
    np.savez(tmp_path / "b" / "mnist.npz", x_train=np.zeros((2, 28, 28), np.uint8))
    with pytest.raises(DataError, match=r"mnist\.npz is no MNIST .*found x_train"):
        part_of(tmp_path / "b")
    (tmp_path / "b" / "mnist.npz").write_bytes(b"no npz")
    with pytest.raises(FormatError, match=r"mnist\.npz cannot be read as an npz file"):
        part_of(tmp_path / "b")
    wrong = {"train": (digits["train"][0], np.full(30, 11))}
    with pytest.raises(DataError, match="expected images with labels from 0 to 9"):
        part_of(write_npz(tmp_path / "c", wrong))


def test_the_real_mnist(test_data: Path) -> None:
    if not (test_data / "mnist").is_dir():
        pytest.skip(f"no mnist in {test_data}")
    data = load_data(f"mnist:{test_data / 'mnist'}")
    assert (len(data.classes), len(data)) == (10, 70_000)
    sides = np.array([path.startswith("train/") for path in data.ids])
    assert (sides.sum(), (~sides).sum()) == (60_000, 10_000)
    assert len({path.removeprefix("test/").removeprefix("train/") for path in data.ids}) == 70_000


# ISOLET ------------------------------------------------------------------------------------------


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    """26 letters in the first file, 26 in the second, in reverse order."""
    root = tmp_path / "isolet"
    root.mkdir()
    rng = np.random.default_rng(0)
    for name, letters in (("isolet1+2+3+4", range(1, 27)), ("isolet5", range(26, 0, -1))):
        rows = [
            ", ".join([*(f"{x:.4f}" for x in rng.uniform(-1, 1, 617)), f"{letter}."])
            for letter in letters
        ]
        (root / f"{name}.data").write_text("\n".join(rows) + "\n")
    return root


def test_isolet_is_vectors_of_letters(spoken: Path) -> None:
    data = part_of(spoken, "isolet")
    assert "".join(data.classes) == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    assert data.labels.tolist() == [*range(26), *range(25, -1, -1)]
    assert data.ids[0] == "isolet1+2+3+4/0000"
    assert data.ids[-1] == "isolet5/0025"
    assert isinstance(data.source, Vectors)
    row = (spoken / "isolet5.data").read_text().splitlines()[3].split(",")
    np.testing.assert_array_equal(data.source.vectors[29], np.array(row[:-1], np.float32))
    with pytest.raises(
        DataError, match="holds 26 classes and 52 images; expected the 26 and 7,797"
    ):
        load_data(f"isolet:{spoken}")


def test_isolet_from_matlab_is_the_same(spoken: Path, tmp_path: Path) -> None:
    data = part_of(spoken, "isolet")
    assert isinstance(data.source, Vectors)
    other = tmp_path / "other"
    other.mkdir()
    arrays = {"X": data.source.vectors.astype(float), "Y": (data.labels + 1)[:, None]}
    io.savemat(other / "Isolet.mat", arrays)
    found = part_of(tmp_path / "other", "isolet")
    assert found.classes == data.classes
    assert found.labels.tolist() == data.labels.tolist()
    assert found.source.content_hashes(()) == data.source.content_hashes(())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.replace("26.", "27."), "labels from 1 to 26"),
        (lambda row: row.replace("26.", "2.5"), "labels from 1 to 26"),
        (lambda row: "nan" + row[row.index(",") :], "expected finite features"),
        (lambda row: row[row.index(",") + 1 :], "cannot be read as rows of numbers"),
        (lambda row: "x" + row, "cannot be read as rows of numbers"),
    ],
)
def test_damaged_rows_of_isolet(spoken: Path, change, message: str) -> None:  # type: ignore[no-untyped-def]
    path = spoken / "isolet5.data"
    first, *others = path.read_text().splitlines()
    path.write_text("\n".join([change(first), *others]))
    with pytest.raises(DataError, match=rf"isolet5\.data.*{message}"):
        part_of(spoken, "isolet")


def test_isolet_that_cannot_be_read(spoken: Path) -> None:
    (spoken / "isolet5.data").write_text("")
    with pytest.raises(DataError, match=r"isolet5\.data"):
        part_of(spoken, "isolet")
    for path in spoken.iterdir():
        path.rename(path.with_name(f"{path.name}.Z"))
    with pytest.raises(DataError, match=r"is no ISOLET .*unpack \.data\.Z with gzip -d"):
        part_of(spoken, "isolet")
    (spoken / "Isolet.mat").write_bytes(b"no matlab" * 40)
    with pytest.raises(DataError, match=r"Isolet\.mat cannot be read as a \.mat file"):
        part_of(spoken, "isolet")
    io.savemat(spoken / "Isolet.mat", {"fea": np.zeros((2, 617)), "gnd": np.ones(2)})
    with pytest.raises(DataError, match=r"Isolet\.mat cannot be read as a \.mat file with X and Y"):
        part_of(spoken, "isolet")
    io.savemat(spoken / "Isolet.mat", {"X": np.zeros((2, 9)), "Y": np.ones((2, 1))})
    with pytest.raises(DataError, match=r"features of shape \(2, 9\).*expected \(n, 617\)"):
        part_of(spoken, "isolet")


# Vectors are their own embedding -----------------------------------------------------------------


def call(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, [str(word) for word in words])
    return result.exit_code, result.stdout, result.stderr


def test_vectors_embed_as_themselves(spoken: Path, tmp_path: Path) -> None:
    name, out = f"isolet:{spoken}?complete=false", tmp_path / "i.emb"
    code, shown, _ = call("embed", name, "-o", out)
    assert (code, "52 images of 26 classes of isolet, 617 dimensions" in shown) == (0, True)
    data = load_data(name)
    assert isinstance(data.source, Vectors)
    found = oodml.read_embeddings(out)
    np.testing.assert_array_equal(found.vectors, data.source.vectors)
    assert found.content_fingerprint == data.content_fingerprint()
    assert found.encoder is None
    splits = tmp_path / "s.json"
    assert call("splits", "build", "--dataset", name, "--levels", 2, "-o", splits)[0] == 0
    assert call("score", "--dataset", name, "--splits", splits)[0] == 0
    cards = oodml.run_methods(data, oodml.read_sequence(splits), methods=["frozen"])
    assert {card.dataset for card in cards} == {"isolet"}


def test_images_need_an_encoder_and_vectors_refuse_one(spoken: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.emb"
    code, _, said = call("embed", "digits", "-o", out)
    assert (code, "digits holds images: give --encoder too" in said) == (2, True)
    name = f"isolet:{spoken}?complete=false"
    code, _, said = call("embed", name, "--encoder", "oodml:hog", "-o", out)
    assert (code, "holds vectors, which are their own embedding" in said) == (1, True)
    assert not out.exists()
    with pytest.raises(DataError, match="'digits' holds images; name an encoder for them"):
        oodml.embed_data(load_data("digits"))


def test_the_real_isolet(test_data: Path) -> None:
    root = test_data / "isolet"
    if not root.is_dir():
        pytest.skip(f"no isolet in {test_data}")
    data = part_of(root, "isolet")
    assert (len(data.classes), len(data)) == (26, 1_560)
    assert (np.bincount(data.labels) == 60).all()
    found = oodml.evaluate(oodml.embed_data(data).vectors, data.labels, ["recall@1"])
    assert found["recall@1"] > 0.85  # spoken letters are not hard; chance is 0.04
    with pytest.raises(DataError, match="holds 26 classes and 1,560 images"):
        load_data(f"isolet:{root}")
