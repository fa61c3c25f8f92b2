"""What disks, kills and other processes do to the embedding cache, and what must not be lost."""

from __future__ import annotations

import errno
import json
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from test_cache import embedded_again, fill, flip, folder_of, interrupted, logged, only
from test_claims import age, claim_of
from toys_embed import Counting, folder_data

import oodml
from oodml.cli import main
from oodml.data import Dataset
from oodml.embed import cache as cache_module
from oodml.embed import claims, embeddings
from oodml.embed.cache import Cache
from oodml.embed.prepared import prepare_images
from oodml.embed.upkeep import check_caches, find_entries, prune
from oodml.errors import FormatError
from oodml.store import write_json


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of one's own, in shards of 2 rows."""
    monkeypatch.setattr(cache_module, "shard_rows", lambda _: 2)
    monkeypatch.setenv("OODML_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "embeddings"


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return folder_data(tmp_path / "set", n=7)


@pytest.fixture
def cache(data: Dataset, home: Path) -> Cache:
    """A complete one."""
    oodml.embed_data(data, Counting())
    return Cache.read(only(home, "manifest.json").parent)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Reading -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sealed.json", "vectors-"])
@pytest.mark.parametrize("use", [Cache.tidy, Cache.vectors, Cache.damaged, Cache.mend])
def test_an_error_of_reading_is_told_and_is_no_damage(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, name: str, use: Callable[[Cache], object]
) -> None:
    before = contents(cache.folder)
    opened = Path.open

    def failing(path: Path, *args: Any, **how: Any) -> Any:
        if path.name.startswith(name):
            raise OSError(errno.EIO, "Input/output error")
        return opened(path, *args, **how)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", failing)
        with pytest.raises(FormatError, match=rf"^Cannot read .*{name}.*: Input/output error; try"):
            use(cache)
    assert contents(cache.folder) == before


def test_verifying_changes_nothing_and_calls_nothing_lost_healthy(
    data: Dataset, cache: Cache
) -> None:
    (cache.folder / "sealed.json").write_bytes(b"{}")
    before = contents(cache.folder)
    assert [checked.damaged for checked in check_caches()] == [[]], "the digests can be had again"
    assert contents(cache.folder) == before
    flip(only(cache.folder, "vectors-*.npy"), -1)
    before = contents(cache.folder)
    shown = CliRunner().invoke(main, ["doctor", "--verify"])
    assert shown.exit_code == 1
    assert "4 damaged" in shown.stdout
    assert contents(cache.folder) == before
    assert [checked.damaged for checked in check_caches(repair=True)] == [[0, 1, 2, 3]]
    assert [checked.damaged for checked in check_caches()] == [[]]
    assert embedded_again(data) == 7


def test_changed_digests_are_found_again(cache: Cache) -> None:
    path = cache.folder / "sealed.json"
    facts, before = json.loads(path.read_text()), path.read_bytes()
    path.write_text(json.dumps({**facts, "shards": facts["shards"][::-1]}))
    assert cache.damaged() == []
    assert cache.mend() == []
    assert path.read_bytes() == before


# Several at once ---------------------------------------------------------------------------------


def test_many_may_meet_the_same_damage(data: Dataset, cache: Cache) -> None:
    path = only(cache.folder, "vectors-*.npy")
    path.write_bytes(path.read_bytes()[:-4])
    ready, errors = threading.Barrier(6), []

    def tidy() -> None:
        ready.wait()
        try:
            cache.tidy()
        except BaseException as error:  # noqa: BLE001 - whatever it was
            errors.append(error)

    threads = [threading.Thread(target=tidy) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert cache.missing() == [3]
    assert embedded_again(data) == 1


@pytest.mark.slow
def test_processes_that_meet_the_same_damage_make_it_anew_once(tmp_path: Path, home: Path) -> None:
    data = folder_data(tmp_path / "many", n=41)
    oodml.embed_data(data, Counting())
    path = only(home, "vectors-*.npy")
    path.write_bytes(path.read_bytes()[: -10 * 4 * 4])
    logs = [tmp_path / f"log{i}" for i in range(3)]
    processes = [fill(tmp_path, log, 0.1) for log in logs]
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
    assert logged(*logs) == 11
    assert embedded_again(data) == 0


# What kills leave --------------------------------------------------------------------------------


def test_what_a_kill_left_in_a_complete_cache_goes_with_its_next_use(
    data: Dataset, cache: Cache
) -> None:
    before = contents(cache.folder)
    found = cache.vectors()
    assert found is not None
    cache.put(1, found[2:4])
    (cache.folder / "vectors-0123456789abcdef.npy").write_bytes(b"x")
    age(cache.folder / "manifest.json", 0)
    (cache.folder / ".vectors-a.npy.0.tmp").write_bytes(b"x")
    age(cache.folder / ".vectors-a.npy.0.tmp", 1000)
    (cache.folder / ".vectors-a.npy.1.tmp").write_bytes(b"of one at work")
    claim_of(cache.folder / "shard-000001.claim", token="of before")
    assert embedded_again(data) == 0
    assert contents(cache.folder) == before | {".vectors-a.npy.1.tmp": b"of one at work"}


def test_repair_removes_what_was_left(cache: Cache) -> None:
    before = contents(cache.folder)
    found = cache.vectors()
    assert found is not None
    cache.put(0, found[:2])
    assert [checked.damaged for checked in check_caches(repair=True)] == [[]]
    assert contents(cache.folder) == before


def test_what_is_no_cache_any_more_goes_with_any_pruning(cache: Cache, home: Path) -> None:
    for name in ("torn", ".removed-0", "beginning"):
        (home / name).mkdir()
        (home / name / "shard").write_bytes(b"x")
    shutil.copy(cache.folder / "manifest.json", home / ".removed-0")
    age(home / "torn", 1000)
    assert {entry.folder.name for entry in prune(older=1e9)} == {"torn", ".removed-0"}
    assert {path.name for path in home.iterdir()} == {cache.folder.name, "beginning"}


# Pruning -----------------------------------------------------------------------------------------


def test_newer_formats_and_what_cannot_be_read_just_now_stay(
    cache: Cache, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json(home / "newer" / "manifest.json", "embedding-cache", {}, version=99)
    read = Path.read_text

    def failing(path: Path, *args: Any, **how: Any) -> str:
        if path.parent == cache.folder:
            raise OSError(errno.EIO, "Input/output error")
        return read(path, *args, **how)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", failing)
        assert not prune(most_bytes=0)
    assert [entry.folder for entry in prune(most_bytes=0)] == [cache.folder]
    assert [path.name for path in home.iterdir()] == ["newer"]


def test_what_cannot_be_removed_is_not_told_as_removed(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    assert not prune(most_bytes=0)
    assert not cache.folder.exists(), "what is left does not pass for a cache"
    monkeypatch.undo()


def test_a_cache_is_in_use_before_its_first_shard_is_claimed(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[object] = []

    def starting(encoder: Any, *_: object) -> Any:
        removed.extend(prune(most_bytes=0))
        return start(encoder, "cpu", None)

    from oodml.embed import extract

    start = extract.start_worker
    monkeypatch.setattr(extract, "start_worker", starting)
    oodml.embed_data(data, Counting())
    assert removed == []
    assert len(prune(most_bytes=0)) == 1


def test_decoded_images_are_shown_and_pruned_too(data: Dataset, tmp_path: Path) -> None:
    folder = prepare_images(data, 10).folder
    (tmp_path / "home" / "weights").mkdir()
    [entry] = find_entries()
    assert (entry.folder, entry.encoder) == (folder, "decoded images, shorter side 10")
    assert (entry.rows, entry.done, entry.dim) == (7, 7, 0)
    shown = CliRunner().invoke(main, ["embed", "--cache"]).stdout
    assert "complete" in shown
    assert list(check_caches()) == []
    assert claims.take(folder / "pixels-00000.claim")
    assert not prune(most_bytes=0)
    claims.release(folder / "pixels-00000.claim")
    assert [entry.folder for entry in prune(most_bytes=0)] == [folder]
    assert not folder.exists()
    places = json.loads(CliRunner().invoke(main, ["doctor", "--json"]).stdout)["places"]
    assert {"name": "OODML_HOME/weights", "path": f"{tmp_path}/home/weights", "bytes": 0} in places


def test_reading_a_folder_or_taking_from_it_is_a_use(
    tmp_path: Path, data: Dataset, cache: Cache
) -> None:
    manifest = age(cache.folder / "manifest.json", 1000)
    oodml.read_embeddings(cache.folder)
    assert time.time() - manifest.stat().st_mtime < 500
    age(manifest, 1000)
    encoder = Counting()
    oodml.embed_data(folder_of(tmp_path / "set", tmp_path / "part", list(data.ids[2:6])), encoder)
    assert encoder.images == 0
    assert time.time() - manifest.stat().st_mtime < 500


def test_the_help_says_what_an_age_is() -> None:
    text = " ".join(CliRunner().invoke(main, ["embed", "--help"]).stdout.split())
    assert "remove what was not used for AGE (30d)." in text


# Facts, progress, ids ----------------------------------------------------------------------------


def test_a_folder_holds_the_facts_of_its_last_use(data: Dataset, cache: Cache) -> None:
    grouped = replace(data, name="renamed", groups=("g", "h"), terms="mine")
    oodml.embed_data(grouped, Counting())
    read = oodml.read_embeddings(cache.folder)
    assert (read.dataset, read.groups, read.terms) == ("renamed", ("g", "h"), "mine")
    written = (cache.folder / "facts.npz").stat().st_mtime_ns
    oodml.embed_data(grouped, Counting())
    assert (cache.folder / "facts.npz").stat().st_mtime_ns == written


def test_progress_counts_what_was_known(tmp_path: Path, data: Dataset, cache: Cache) -> None:
    assert cache.is_sealed()
    shutil.copytree(tmp_path / "set", tmp_path / "more")
    folder_data(tmp_path / "extra", n=12)
    for name in ("a/008.png", "b/007.png", "b/009.png"):
        shutil.copy(tmp_path / "extra" / name, tmp_path / "more" / name)
    seen, encoder = [], Counting()
    more = oodml.load_data(f"folder:{tmp_path / 'more'}")
    oodml.embed_data(more, encoder, progress=lambda done, _: seen.append(done), batch=1)
    assert (encoder.images, seen[-1]) == (3, 10)
    assert seen == sorted(seen)
    part = folder_of(tmp_path / "set", tmp_path / "part", list(data.ids[2:6]))
    seen.clear()
    oodml.embed_data(part, encoder, progress=lambda done, _: seen.append(done))
    assert seen == [2, 4]


def test_many_ids_are_written_as_bytes(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = replace(oodml.embed_data(data, Counting()), ids=tuple("äbcdef€"))
    oodml.write_embeddings(tmp_path / "small.emb", found)
    monkeypatch.setattr(embeddings, "_LARGE", 27)
    oodml.write_embeddings(tmp_path / "large.emb", found)
    kinds = {}
    for name in ("small", "large"):
        with np.load(tmp_path / f"{name}.emb") as file:
            kinds[name] = file["ids"].dtype.str
        assert oodml.read_embeddings(tmp_path / f"{name}.emb").ids == found.ids
    assert kinds == {"small": "<U1", "large": "|S3"}
    odd = replace(found, ids=("\udc80", *found.ids[1:]))
    oodml.write_embeddings(tmp_path / "odd.emb", odd)
    assert oodml.read_embeddings(tmp_path / "odd.emb").ids == odd.ids


def test_a_shard_that_another_fills_is_told_and_progress_ends(
    data: Dataset, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    interrupted(data, shards=0)
    cache = Cache.read(only(home, "manifest.json").parent)
    claim_of(cache.claim(1), host="elsewhere", pid=12)
    waits = []

    def other(_: float) -> None:
        waits.append(1)
        if len(waits) == 2 * claims.PATIENCE:
            cache.claim(1).unlink()

    monkeypatch.setattr(time, "sleep", other)
    assert embedded_again(data) == 7
    assert [record.message.split(" (")[0] for record in caplog.records] == ["Waiting for elsewhere"]
