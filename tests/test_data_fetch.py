"""`oodml data fetch` as a user meets it, against a server of our own."""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import web as moods
from archives import tarred, zipped
from web import Web, serving

from oodml.data.facts import Archive, Facts
from oodml.data.fetch import fetch_data
from oodml.data.transport import Patience
from oodml.data.unpack import suffix_of
from oodml.errors import DataError, FormatError

HASTY = Patience(connect=5, read=5, tries=2, pause=0.01)
IMAGES = {f"images/{n % 3}/{n}.png": random.Random(n).randbytes(500) for n in range(30)}
LABELS = b"0 1 2\n" * 99


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    for name in ("OODML_MIRROR", "OODML_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as server:
        yield server


@pytest.fixture
def contents(tmp_path: Path) -> dict[str, bytes]:
    """A tgz with images, a gz with labels, a list that is no archive."""
    tarred(IMAGES)(tmp_path / "images.tgz")
    content = (tmp_path / "images.tgz").read_bytes()
    (tmp_path / "images.tgz").unlink()
    return {"images.tgz": content, "labels.gz": gzip.compress(LABELS), "list.txt": b"a b\n"}


@pytest.fixture
def toy(web: Web, contents: dict[str, bytes]) -> Facts:
    """A data set of these files, all of them published and served."""
    archives = []
    for file, content in contents.items():
        sha256 = hashlib.sha256(content).hexdigest()
        urls = (web.put(f"first/{file}", content), web.put(f"second/{file}", content))
        archives.append(Archive(file, urls, len(content), sha256))
    return facts_of(tuple(archives))


def facts_of(*ways: tuple[Archive, ...], by_hand: str = "") -> Facts:
    return Facts("toy", "Toys", 3, 30, "https://toys.example", "for play only", ways, by_hand)


def fetched(facts: Facts, root: Path, **options: Any) -> Path:
    """Fetch, and check that all of it is there and nothing else."""
    found = fetch_data(facts, root, patience=HASTY, **options)
    folder = root / "toy"
    assert (found.folder, found.terms) == (folder, "for play only")
    assert tree(folder) == whole() | {
        name: content for name, content in tree(folder).items() if name in EXTRA
    }
    return folder


EXTRA = ("manifest.json", "images.tgz", "labels.gz")


def whole() -> dict[str, bytes]:
    return {**IMAGES, "labels": LABELS, "list.txt": b"a b\n"}


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())


# All is well -------------------------------------------------------------------------------------


def test_a_set_is_fetched_once(toy: Facts, web: Web, tmp_path: Path) -> None:
    folder = fetched(toy, tmp_path)
    assert [path for path, _ in web.asked] == [f"/first/{a.file}" for a in toy.ways[0]]
    record = manifest(folder)
    assert (record["format"], record["name"], record["complete"]) == ("oodml.data", "toy", True)
    assert (record["terms"], record["home"]) == ("for play only", "https://toys.example")
    for made, archive in zip(record["archives"], toy.ways[0], strict=True):
        assert (made["file"], made["bytes"], made["sha256"]) == (
            archive.file,
            archive.bytes,
            archive.sha256,
        )
        assert (made["url"], made["checked"]) == (archive.urls[0], "sha256")
        assert made["date"][:2] == "20"
    assert [made["entries"] for made in record["archives"]] == [
        ["images"],
        ["labels"],
        ["list.txt"],
    ]
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    web.asked.clear()
    fetched(toy, tmp_path)
    assert not web.asked
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times


def test_archives_are_kept_where_that_is_asked_for(toy: Facts, web: Web, tmp_path: Path) -> None:
    folder = fetched(toy, tmp_path, keep=True)
    assert tree(folder).keys() == {*whole(), *EXTRA}
    (folder / "labels").unlink()
    web.asked.clear()
    fetched(toy, tmp_path)
    assert not web.asked


def test_what_was_removed_is_fetched_again(toy: Facts, web: Web, tmp_path: Path) -> None:
    folder = fetched(toy, tmp_path)
    (folder / "labels").unlink()
    web.asked.clear()
    fetched(toy, tmp_path)
    assert [path for path, _ in web.asked] == ["/first/labels.gz"]


def test_progress_is_told_in_bytes(toy: Facts, tmp_path: Path) -> None:
    told: dict[str, list[tuple[int, int]]] = {}

    class Bar:
        def __init__(self, what: str) -> None:
            self.calls = told.setdefault(what, [])

        def __enter__(self) -> Any:
            return lambda done, total: self.calls.append((done, total))

        def __exit__(self, *_: object) -> None:
            pass

    fetched(toy, tmp_path, bar=Bar)
    for archive in toy.ways[0]:
        assert told[f"Fetching {archive.file}"][-1] == (archive.bytes, archive.bytes)
        if suffix_of(archive.file):
            assert told[f"Unpacking {archive.file}"]


# By hand, by mirror, offline ---------------------------------------------------------------------


def test_a_file_that_lies_there_is_used(
    toy: Facts, web: Web, contents: dict[str, bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "images.tgz").write_bytes(contents["images.tgz"])
    fetched(toy, tmp_path)
    assert [path for path, _ in web.asked] == ["/first/labels.gz", "/first/list.txt"]
    assert (folder / "images.tgz").exists()  # it is the user's
    assert manifest(folder)["archives"][0]["url"] is None


@pytest.mark.parametrize("content", [b"", moods.PAGE, b"\x1f\x8b other"])
def test_a_file_that_lies_there_is_checked(
    toy: Facts, web: Web, tmp_path: Path, content: bytes
) -> None:
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "images.tgz").write_bytes(content)
    with pytest.raises(DataError, match=r"images\.tgz (is an empty|is a web page|has the sha256)"):
        fetched(toy, tmp_path)
    assert (web.asked, tree(folder)) == ([], {"images.tgz": content})


def test_a_set_to_be_got_by_hand(contents: dict[str, bytes], tmp_path: Path) -> None:
    tgz = Archive("images.tgz", bytes=len(contents["images.tgz"]), md5="0" * 32)
    gz, txt = Archive("labels.gz"), Archive("list.txt")
    facts = facts_of((tgz,), (gz, txt), by_hand="its link is dead")
    with pytest.raises(DataError) as caught:
        fetched(facts, tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[0] == "Toys cannot be fetched: its link is dead (https://toys.example)."
    assert lines[1] == f"Put into {tmp_path / 'toy'}:"
    assert lines[2] == f"  images.tgz ({len(contents['images.tgz']):,} bytes, md5 {'0' * 32})"
    assert lines[3:6] == [f"Or put into {tmp_path / 'toy'}:", "  labels.gz", "  list.txt"]
    assert "for play only" in lines[-1]
    (tmp_path / "toy" / "labels.gz").write_bytes(contents["labels.gz"])
    with pytest.raises(DataError, match=r"labels\.gz, is there\n  list\.txt\n"):
        fetched(facts, tmp_path)
    (tmp_path / "toy" / "list.txt").write_bytes(contents["list.txt"])
    found = fetch_data(facts, tmp_path)
    assert [(made["file"], made["checked"]) for made in found.archives] == [
        ("labels.gz", None),
        ("list.txt", None),
    ]
    assert (tmp_path / "toy" / "labels").read_bytes() == LABELS


def test_a_mirror_is_asked_first(
    toy: Facts, web: Web, contents: dict[str, bytes], tmp_path: Path, monkeypatch: Any
) -> None:
    for file, content in contents.items():
        web.put(f"ours/toy/{file}", content)
    web.put("ours/toy/labels.gz", gzip.compress(b"wrong"))
    monkeypatch.setenv("OODML_MIRROR", f"{web.url}ours/")
    fetched(toy, tmp_path)
    assert [path for path, _ in web.asked] == [
        "/ours/toy/images.tgz",
        "/ours/toy/labels.gz",
        "/first/labels.gz",
        "/ours/toy/list.txt",
    ]
    monkeypatch.setenv("OODML_MIRROR", "/srv/data")
    with pytest.raises(DataError, match=r"OODML_MIRROR is '/srv/data'; expected an http"):
        fetched(toy, tmp_path / "b")


def test_a_mirror_has_what_nobody_else_gives(
    web: Web, contents: dict[str, bytes], tmp_path: Path, monkeypatch: Any
) -> None:
    facts = facts_of((Archive("absent.zip"),), (Archive("labels.gz"),), by_hand="it is secret")
    monkeypatch.setenv("OODML_MIRROR", web.url)
    with pytest.raises(DataError, match=r"(?s)it is secret.*absent\.zip cannot be fetched"):
        fetch_data(facts, tmp_path, patience=HASTY)
    web.put("toy/labels.gz", contents["labels.gz"])
    fetch_data(facts, tmp_path, patience=HASTY)
    assert (tmp_path / "toy" / "labels").read_bytes() == LABELS


def test_offline(
    toy: Facts, web: Web, contents: dict[str, bytes], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("OODML_OFFLINE", "1")
    path = tmp_path / "toy" / "images.tgz"
    with pytest.raises(DataError, match="OODML_OFFLINE is set and") as caught:
        fetched(toy, tmp_path)
    for part in (str(path), toy.ways[0][0].urls[0], toy.ways[0][0].sha256):
        assert part in str(caught.value)
    for file, content in contents.items():
        (tmp_path / "toy" / file).write_bytes(content)
    fetched(toy, tmp_path)
    assert not web.asked


def test_a_real_archive(test_data: Path, web: Web, tmp_path: Path) -> None:
    """Omniglot's first small set, with the sha256 that tensorflow/datasets publishes."""
    file = "images_background_small1.zip"
    if not (test_data / "omniglot" / file).exists():
        pytest.skip(f"no omniglot/{file} in {test_data}")
    url = web.put(file, (test_data / "omniglot" / file).read_bytes())
    sha256 = "f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4"
    facts = facts_of((Archive(file, (url,), 1_319_022, sha256, members=40_000),))
    fetch_data(facts, tmp_path, patience=HASTY)
    folder = tmp_path / "toy" / file[:-4]
    assert len(list(folder.glob("*/character*/*.png"))) == 2720
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {".png"}


# What goes wrong ---------------------------------------------------------------------------------


def test_a_failure_leaves_what_can_be_gone_on_with(toy: Facts, web: Web, tmp_path: Path) -> None:
    good = web.files["/first/labels.gz"]
    web.files["/first/labels.gz"] = web.files["/second/labels.gz"] = gzip.compress(b"wrong")
    with pytest.raises(DataError, match=r"labels\.gz cannot be fetched: .*first.*second"):
        fetched(toy, tmp_path)
    assert tree(tmp_path / "toy").keys() == {*IMAGES, "manifest.json"}
    assert not manifest(tmp_path / "toy")["complete"]
    web.files["/second/labels.gz"] = good
    web.asked.clear()
    fetched(toy, tmp_path)
    assert not [path for path, _ in web.asked if "images" in path]


def test_what_nobody_published_is_remembered(web: Web, tmp_path: Path) -> None:
    first, second = gzip.compress(LABELS), gzip.compress(b"other labels")
    facts = facts_of((Archive("labels.gz", (web.put("labels.gz", first),)),))
    found = fetch_data(facts, tmp_path, patience=HASTY)
    assert found.archives[0]["checked"] is None
    assert found.archives[0]["sha256"] == hashlib.sha256(first).hexdigest()
    (tmp_path / "toy" / "labels").unlink()
    web.put("labels.gz", second)
    with pytest.raises(DataError, match=r"and had .* when it was first fetched; remove .*manifest"):
        fetch_data(facts, tmp_path, patience=HASTY)
    (tmp_path / "toy" / "manifest.json").unlink()
    fetch_data(facts, tmp_path, patience=HASTY)
    assert (tmp_path / "toy" / "labels").read_bytes() == b"other labels"


def test_a_hostile_archive_leaves_nothing(web: Web, tmp_path: Path) -> None:
    for files in ({"a": b"", "../b": b""}, {".hidden": b""}, {"manifest.json": b"{}"}):
        zipped(files)(tmp_path / "x.zip")
        url = web.put("x.zip", (tmp_path / "x.zip").read_bytes())
        with pytest.raises(DataError, match=r"leads out of the folder|is kept for other things"):
            fetch_data(facts_of((Archive("x.zip", (url,)),)), tmp_path, patience=HASTY)
        left = {".x.zip.part", ".x.zip.part.json"} if "a" not in files else set()
        assert tree(tmp_path / "toy").keys() == left
        (tmp_path / "toy" / ".x.zip.part").unlink(missing_ok=True)
    assert not (tmp_path / "b").exists()


def test_nothing_is_overwritten(toy: Facts, tmp_path: Path) -> None:
    mine = tmp_path / "toy" / "images" / "mine.png"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(DataError, match=r"toy/images is there already; move it away"):
        fetched(toy, tmp_path)
    assert mine.read_bytes() == b"mine"
    mine.parent.rename(tmp_path / "mine")
    fetched(toy, tmp_path)  # nothing is in the way


STEPS = ("rename", "replace", "unlink", "mkdir", "rmdir", "fsync")


def test_an_end_at_any_step_is_gone_on_with(web: Web, tmp_path: Path) -> None:
    """The process ends before one change of the disk after the other, with no last words."""
    files = {"a/x": b"x", "b/y": b"y", "c.txt": b"c"}
    zipped(files)(tmp_path / "x.zip")
    urls = (web.put("x.zip", (tmp_path / "x.zip").read_bytes()),)
    facts = facts_of((Archive("x.zip", urls), Archive("list.txt", (web.put("l", b"a b"),))))
    ends = 0
    while True:
        root = tmp_path / str(ends)
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(SystemExit):
            _end_before(ends, patch)
            fetch_data(facts, root, patience=HASTY)
            break
        names = {path.name for path in (root / "toy").glob("[!.]*")} if root.exists() else set()
        assert names <= {"a", "b", "c.txt", "list.txt", "manifest.json"}
        fetch_data(facts, root, patience=HASTY)
        left = tree(root / "toy")
        assert left.keys() == {*files, "list.txt", "manifest.json"}, f"after {ends} steps"
        assert left.items() > files.items()
        ends += 1
    assert ends > 30


def _end_before(step: int, patch: pytest.MonkeyPatch) -> None:
    """From the given change of the disk on, there are no more."""
    left = [step]

    def ending(real: Any) -> Any:
        def change(*args: Any, **options: Any) -> Any:
            if left[0] == 0:
                raise SystemExit
            left[0] -= 1
            return real(*args, **options)

        return change

    for name in STEPS:
        patch.setattr(os, name, ending(getattr(os, name)))


def test_two_fetches_do_not_meet(toy: Facts, tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    handle = os.open(tmp_path / "toy", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(DataError, match="Another fetch is at work"):
        fetched(toy, tmp_path)
    os.close(handle)
    fetched(toy, tmp_path)


def test_a_manifest_changed_by_hand(toy: Facts, tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    path = tmp_path / "toy" / "manifest.json"
    for text in ("{", '{"format": "oodml.data", "version": 1}'):
        path.write_text(text)
        with pytest.raises(FormatError, match=r"manifest\.json"):
            fetched(toy, tmp_path)


def test_too_little_room(toy: Facts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1 << 20))
    with pytest.raises(DataError, match=r"has 1 MiB left, .* choose another --root"):
        fetched(toy, tmp_path)
