"""Files: atomic, told apart by kind and version, no pickle; digests: one spelling for one value."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from oodml import store
from oodml.errors import FormatError


def test_json_comes_back(tmp_path: Path) -> None:
    body = {"b": [1.5, None, "ü"], "a": {"x": True}}
    store.write_json(tmp_path / "file.json", "thing", body)
    assert store.read_json(tmp_path / "file.json", "thing") == body
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]


def test_same_value_same_bytes(tmp_path: Path) -> None:
    store.write_json(tmp_path / "1", "thing", {"a": 1, "b": 0.1})
    store.write_json(tmp_path / "2", "thing", {"b": 0.1, "a": 1})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as an oodml.thing file"),
        ("[]", "no JSON object"),
        ('{"format": "oodml.other", "version": 1}', "has format 'oodml.other', version 1"),
        ('{"format": "oodml.thing", "version": 2}', "reads format 'oodml.thing', version 1"),
        ("\x00", "cannot be read"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(FormatError, match=message):
        store.read_json(path, "thing")


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"none\.json does not exist"):
        store.read_json(tmp_path / "none.json", "thing")


def test_nan_is_not_written_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    store.write_json(path, "thing", {"a": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        store.write_json(path, "thing", {"a": float("nan")})
    assert store.read_json(path, "thing") == {"a": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_failure_while_writing_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    store.write_text(path, "old")

    def fail() -> None:
        with store.replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fail()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["file/below.json", "folder", "pipe"])
def test_what_cannot_be_written_is_said_in_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match=f"^Cannot write {tmp_path / name}: .*; choose "):
        store.write_json(tmp_path / name, "thing", {})
    assert len(list(tmp_path.iterdir())) == 3


def test_a_full_disk_is_said_in_one_sentence(tmp_path: Path) -> None:
    def fill() -> None:
        with store.replacing(tmp_path / "x"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(FormatError, match=r"x: No space left on device; choose"):
        fill()
    assert not list(tmp_path.iterdir())


def test_a_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "file")
    for text in ("first", "second"):
        store.write_text(tmp_path / "link", text)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real" / "file").read_text() == text


def test_the_umask_is_honoured_and_a_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    before = os.umask(0o027)
    try:
        store.write_text(path, "new")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640
    path.chmod(0o600)
    store.write_text(path, "newer")
    assert path.stat().st_mode & 0o777 == 0o600


def test_arrays_come_back_without_pickle(tmp_path: Path) -> None:
    path = tmp_path / "arrays.emb"
    store.write_npz(path, {"x": np.arange(3), "names": np.array(["a", "b"])})
    assert [entry.name for entry in tmp_path.iterdir()] == ["arrays.emb"]
    found = store.read_npz(path)
    assert found["x"].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="Object arrays"):
        store.write_npz(tmp_path / "objects", {"x": np.array([{}], dtype=object)})


def test_object_arrays_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "hostile.npz"
    np.savez(path, x=np.array([{}], dtype=object))
    with pytest.raises(FormatError, match="cannot be read as an npz"):
        store.read_npz(path)


def test_broken_archives_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    for content in (b"", b"PK\x03\x04 broken", b"text"):
        path.write_bytes(content)
        with pytest.raises(FormatError, match=r"x\.npz cannot be read"):
            store.read_npz(path)
    np.save(tmp_path / "one.npy", np.arange(3))
    with pytest.raises(FormatError, match="a single array"):
        store.read_npz(tmp_path / "one.npy")


def test_array_digest_depends_on_type_shape_and_bytes_only() -> None:
    x = np.arange(12, dtype=np.float32)
    assert store.array_digest(x.reshape(3, 4)) == store.array_digest(
        np.asfortranarray(x.reshape(3, 4))
    )
    others = [x.reshape(4, 3), x, x.astype(np.float64), x + 1]
    assert len({store.array_digest(array) for array in [x.reshape(3, 4), *others]}) == 5


def test_home_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OODML_HOME", str(tmp_path))
    assert store.home() == tmp_path
    monkeypatch.delenv("OODML_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store.home() == tmp_path / "oodml"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert store.home() == Path.home() / ".cache" / "oodml"


def test_shipped_files_are_the_checkouts_or_the_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = Path(__file__).resolve().parent.parent
    assert store.shipped("splits") == root / "splits"
    installed = tmp_path / "site-packages" / "oodml" / "store.py"
    monkeypatch.setattr(store, "__file__", str(installed))
    assert store.shipped("splits") == installed.parent / "_shipped" / "splits"


def test_canonical_json_is_stable() -> None:
    value = {"b": 1, "a": [0.1, "é"]}
    assert store.canonical_json(value) == '{"a":[0.1,"é"],"b":1}'
    assert store.digest(value) == store.digest(json.loads(store.canonical_json(value)))
