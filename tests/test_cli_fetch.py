"""`oodml data fetch` as a command, and as a process that is killed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from archives import tarred
from click.testing import CliRunner, Result
from web import Web, plainly, serving, slow, until

import oodml
from oodml.cli import main
from oodml.data import fetch as module
from oodml.data.facts import FACTS, Archive, Facts
from oodml.data.fetch import fetch_data
from oodml.errors import UnknownNameError

FILES = {f"images/{n % 7}/{n}.png": random.Random(n).randbytes(200) for n in range(2500)}


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    for name in ("OODML_MIRROR", "OODML_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A mirror of the sets below."""
    with serving() as server:
        monkeypatch.setenv("OODML_MIRROR", server.url)
        yield server


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("fetch") / "images.tgz"
    tarred(FILES)(path)
    return path.read_bytes()


def archive_of(content: bytes) -> Archive:
    sha256 = hashlib.sha256(content).hexdigest()
    return Archive("images.tgz", (), len(content), sha256, members=3000, expands=20)


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


# Facts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("facts", FACTS.values(), ids=lambda facts: facts.name)
def test_what_is_published_is_well_formed(facts: Facts) -> None:
    assert facts.ways
    for way in facts.ways:
        assert bool(facts.by_hand) == (not all(archive.urls for archive in way))
        for archive in way:
            for kind, digits in ((archive.sha256, 64), (archive.md5, 32)):
                assert kind is None or (len(kind) == digits and int(kind, 16) >= 0)
            assert all(url.startswith(("http://", "https://")) for url in archive.urls)
            if any(url.startswith("http://") for url in archive.urls):
                assert archive.sha256  # who sits between could have changed it
            assert Path(archive.file).name == archive.file


def test_a_name_that_nobody_fetches() -> None:
    with pytest.raises(UnknownNameError, match=r"'cub' is not .* nearest: cub200"):
        fetch_data("cub")


# The command -------------------------------------------------------------------------------------


def call(*words: object) -> Result:
    result = CliRunner().invoke(main, ["data", "fetch", *map(str, words)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_command(
    web: Web, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = archive_of(content)
    facts = Facts("toy", "Toys", 7, 2500, "https://toys.example", "for play only", ((archive,),))
    monkeypatch.setitem(FACTS, "toy", facts)
    web.put("toy/images.tgz", content)
    result = call("toy", "--root", tmp_path)
    assert result.exit_code == 0
    assert "Terms of use: for play only." in result.stderr
    assert "for play only" in result.stdout
    assert f"use it as toy:{tmp_path / 'toy'}" in result.stdout
    assert f"sha256 {archive.sha256}, checked by its published sha256" in result.stdout
    record = json.loads(call("toy", "--root", tmp_path, "--json").stdout)
    assert record.keys() == {"name", "folder", "terms", "home", "archives"}
    assert record["folder"] == str(tmp_path / "toy")
    assert [made["file"] for made in record["archives"]] == ["images.tgz"]
    monkeypatch.setenv("OODML_HOME", str(tmp_path / "home"))
    assert "use it as toy." in call("toy").stdout
    assert tree(tmp_path / "home" / "datasets" / "toy").items() > FILES.items()
    assert oodml.fetch_data is module.fetch_data


@pytest.mark.parametrize("name", ["cars196", "inshop"])
def test_the_command_where_a_set_cannot_be_fetched(tmp_path: Path, name: str) -> None:
    result = call(name, "--root", tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Terms of use: non-commercial research only" in result.stderr
    assert f"Put into {tmp_path / name}:" in result.stderr
    for archive in FACTS[name].ways[0]:
        assert f"\n  {archive.file}" in result.stderr


# Killed ------------------------------------------------------------------------------------------

_CODE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell may have switched off
import sys
from oodml.cli import main
from oodml.data.facts import FACTS, Archive, Facts
from oodml.data.fetch import fetch_data
from oodml.errors import UnknownNameError
size, sha256, *words = sys.argv[1:]
archive = Archive("images.tgz", (), int(size), sha256, members=3000, expands=20)
FACTS["toy"] = Facts("toy", "Toys", 7, 2500, "home", "terms", ((archive,),))
main(["data", "fetch", "toy", *words])
"""


@contextlib.contextmanager
def fetching(content: bytes, root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The command in a process of its own, which is killed at the end if it still lives."""
    sha256 = hashlib.sha256(content).hexdigest()
    words = [sys.executable, "-c", _CODE, str(len(content)), sha256, "--root", str(root)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, env=dict(os.environ)) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def finish(content: bytes, root: Path) -> None:
    """The same command again goes through, and leaves what one that was never killed leaves."""
    with fetching(content, root) as process:
        assert process.wait(60) == 0
    assert tree(root / "toy").items() > FILES.items()
    assert {path.name for path in (root / "toy").iterdir()} == {"images", "manifest.json"}


def seen(folder: Path) -> set[str]:
    """The names that a loader would look at."""
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    return {name for name in names if not name.startswith(".")}


def test_killed_in_the_middle_of_a_download(web: Web, content: bytes, tmp_path: Path) -> None:
    web.put("toy/images.tgz", content, slow(0.05))
    part = tmp_path / "toy" / ".images.tgz.part"
    with fetching(content, tmp_path):
        until(lambda: part.exists() and part.stat().st_size > 60_000)
    assert not seen(tmp_path / "toy")
    came = part.stat().st_size
    assert part.read_bytes() == content[:came]
    finish(content, tmp_path)
    assert web.ranges() == [None, f"bytes={came}-"]


def test_killed_in_the_middle_of_unpacking(web: Web, content: bytes, tmp_path: Path) -> None:
    web.put("toy/images.tgz", content)
    folder = tmp_path / "toy" / ".images.tgz.unpacking" / "tree" / "images"
    with fetching(content, tmp_path) as process:
        until(lambda: folder.exists() and list(folder.iterdir()))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not seen(tmp_path / "toy")
    assert folder.exists()  # it was in the middle
    finish(content, tmp_path)
    assert web.ranges() == [None]  # nothing was downloaded again


@pytest.mark.slow
def test_killed_again_and_again(web: Web, content: bytes, tmp_path: Path) -> None:
    """At any moment what has a name is whole, and the work gets done."""
    web.put("toy/images.tgz", content, *[slow(0.005)] * 99)
    rng = random.Random(0)
    for _ in range(15):
        with fetching(content, tmp_path) as process, contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.3 + rng.random())
        left = seen(tmp_path / "toy")
        assert left <= {"images", "manifest.json"}
        if "images" in left:
            assert tree(tmp_path / "toy" / "images").keys() == {n[7:] for n in FILES}
    finish(content, tmp_path)


def test_interrupted_by_hand(web: Web, content: bytes, tmp_path: Path) -> None:
    """Ctrl-C ends the command without a traceback, and what came stays."""
    web.put("toy/images.tgz", content, slow(0.05), plainly)
    part = tmp_path / "toy" / ".images.tgz.part"
    with fetching(content, tmp_path) as process:
        until(lambda: part.exists() and part.stat().st_size > 50_000)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 1
    assert not seen(tmp_path / "toy")
    finish(content, tmp_path)
