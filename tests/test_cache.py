"""The embedding cache: no image is embedded twice, and nothing wrong comes out of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from test_claims import claim_of, gone
from toys_embed import Counting, folder_data

import oodml
from oodml.cli import main
from oodml.data import Dataset
from oodml.embed import cache as cache_module
from oodml.embed import claims
from oodml.embed.cache import Cache, shard_rows
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


def interrupted(data: Dataset, shards: int) -> Counting:
    """The encoder of an extraction that ends after so many shards."""
    encoder = Counting()

    def stop(done: int, _: int) -> None:
        if done > 2 * shards:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        oodml.embed_data(data, encoder, progress=stop)
    return encoder


def embedded_again(data: Dataset) -> int:
    """How many images are embedded now; the vectors are checked."""
    encoder = Counting()
    found = oodml.embed_data(data, encoder)
    fresh = oodml.embed_data(data, Counting(), cache=False)
    np.testing.assert_array_equal(found.vectors, fresh.vectors)
    return encoder.images


def flip(path: Path, place: int) -> None:
    """Change one byte, counted from the end."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def is_mapped(array: np.ndarray[Any, Any]) -> bool:
    """Whether an array lies in a mapped file."""
    while isinstance(array.base, np.ndarray) and not isinstance(array, np.memmap):
        array = array.base
    return isinstance(array, np.memmap)


def only(folder: Path, pattern: str) -> Path:
    [found] = folder.rglob(pattern)
    return found


# Filling -----------------------------------------------------------------------------------------


def test_every_image_is_embedded_once_and_mapped(data: Dataset, home: Path) -> None:
    encoder, seen = Counting(), []
    found = oodml.embed_data(data, encoder, progress=lambda done, total: seen.append((done, total)))
    assert encoder.images == 7
    assert seen[-1] == (7, 7)
    assert seen == sorted(seen)
    assert is_mapped(found.vectors)
    assert not found.vectors.flags.writeable
    assert [path.suffix for path in home.rglob("*.npy")] == [".npy"], "shards become one file"
    assert not list(home.rglob("*.claim"))
    np.testing.assert_array_equal(np.load(only(home, "vectors-*.npy")), found.vectors)
    assert embedded_again(data) == 0


def test_an_interrupted_extraction_goes_on_at_its_shard(data: Dataset, home: Path) -> None:
    interrupted(data, shards=2)
    kept = {path: path.stat().st_mtime_ns for path in home.rglob("shard-*.npy")}
    assert len(kept) == 2
    assert not list(home.rglob("*.claim")), "what a process claimed is given back"
    assert embedded_again(data) == 3


def test_an_encoder_is_known_by_its_identity_not_by_its_name(data: Dataset) -> None:
    oodml.embed_data(data, Counting())
    renamed, other = Counting(name="renamed"), Counting(dim=5)
    found = oodml.embed_data(data, renamed)
    assert (renamed.images, found.source) == (0, "renamed")
    oodml.embed_data(data, other)
    assert other.images == 7


def test_another_reading_of_images_is_another_cache(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    oodml.embed_data(data, Counting())
    monkeypatch.setattr(cache_module, "READING", -1)
    assert embedded_again(data) == 7
    assert len(find_entries()) == 2


def test_images_that_other_data_share_are_not_embedded_again(tmp_path: Path, data: Dataset) -> None:
    expected = oodml.embed_data(data, Counting())
    shutil.copytree(tmp_path / "set", tmp_path / "more")
    extra = folder_data(tmp_path / "extra", n=9)
    for name in ("a/008.png", "b/007.png"):
        shutil.copy(tmp_path / "extra" / name, tmp_path / "more" / name)
    assert len(extra) == 9
    part = folder_of(
        tmp_path / "set", tmp_path / "part", ["a/004.png", "a/000.png", "b/003.png", "b/001.png"]
    )
    encoder = Counting()
    found = oodml.embed_data(part, encoder)
    assert encoder.images == 0
    rows = [expected.ids.index(name) for name in found.ids]
    np.testing.assert_array_equal(found.vectors, expected.vectors[rows])
    assert embedded_again(oodml.load_data(f"folder:{tmp_path / 'more'}")) == 2


def folder_of(source: Path, target: Path, names: list[str]) -> Dataset:
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / name, target / name)
    return oodml.load_data(f"folder:{target}")


def test_a_cache_folder_is_read_like_a_file(data: Dataset, home: Path, tmp_path: Path) -> None:
    found = oodml.embed_data(data, Counting())
    folder = only(home, "manifest.json").parent
    read = oodml.read_embeddings(folder)
    assert read.digest() == found.digest()
    assert (read.ids, read.encoder, read.dataset) == (found.ids, found.encoder, found.dataset)
    assert is_mapped(read.vectors)
    shown = CliRunner().invoke(main, ["score", "--embeddings", str(folder), "--json"])
    assert shown.exit_code == 0, shown.output
    (folder / "sealed.json").unlink()
    with pytest.raises(FormatError, match=r"is a cache that is not complete; give the command"):
        oodml.read_embeddings(folder)
    with pytest.raises(FormatError, match=r"manifest\.json does not exist"):
        oodml.read_embeddings(tmp_path)


def test_shards_take_a_cpu_half_a_minute_at_most() -> None:
    """At 5 images of 224 x 224 a second."""
    assert shard_rows(224) / 5 < 30
    assert shard_rows(518) * (518 / 224) ** 2 / 5 < 30
    assert shard_rows(8) == 8192
    assert shard_rows(0) == 8192


# Damage ------------------------------------------------------------------------------------------


def test_a_cut_shard_is_reported_and_only_it_is_made_anew(
    data: Dataset, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    interrupted(data, shards=2)
    shard = only(home, "shard-000001-*.npy")
    shard.write_bytes(shard.read_bytes()[:-3])
    assert embedded_again(data) == 2 + 3
    assert [record.message for record in caplog.records] == [
        f"{shard} is damaged and is made anew."
    ]


def test_of_a_cut_file_what_is_whole_is_kept(
    data: Dataset, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    oodml.embed_data(data, Counting())
    path = only(home, "vectors-*.npy")
    path.write_bytes(path.read_bytes()[: -2 * 4 * 4])  # 2 rows: the last shard, half of that before
    assert embedded_again(data) == 3
    [record] = caplog.records
    assert record.message == f"{path} is damaged; what is missing of it is made anew."


@pytest.mark.parametrize("change", [b"", b"{}", b"nothing"])
def test_lost_digests_are_found_again_in_a_whole_file(
    data: Dataset, home: Path, change: bytes
) -> None:
    oodml.embed_data(data, Counting())
    seal = only(home, "sealed.json")
    before = seal.read_bytes()
    seal.write_bytes(change)
    assert embedded_again(data) == 0
    assert seal.read_bytes() == before


@pytest.mark.parametrize("complete", [True, False])
def test_the_doctor_finds_a_changed_shard_and_repairs_just_it(
    data: Dataset, home: Path, *, complete: bool
) -> None:
    if complete:
        oodml.embed_data(data, Counting())
        flip(only(home, "vectors-*.npy"), -1 - 4 * 4)  # in shard 2 of 0 to 3, which has one row
    else:
        interrupted(data, shards=3)
        flip(only(home, "shard-000002-*.npy"), -1)
    [checked] = check_caches()
    assert (checked.damaged, checked.shards) == ([2], 4)
    shown = CliRunner().invoke(main, ["doctor", "--verify"])
    assert shown.exit_code == 1
    folder = only(home, "manifest.json").parent
    assert f"{folder}: shards 2 are damaged; give oodml doctor --repair" in shown.output
    mended = CliRunner().invoke(main, ["doctor", "--repair", "--json"])
    assert mended.exit_code == 0, mended.output
    assert json.loads(mended.stdout)["caches"][0]["damaged"] == [2]
    assert embedded_again(data) == (2 if complete else 3)
    assert [found.damaged for found in check_caches()] == [[]]


# Claims ------------------------------------------------------------------------------------------


def test_dead_claims_do_not_block(data: Dataset, home: Path) -> None:
    interrupted(data, shards=1)
    folder = only(home, "manifest.json").parent
    for name in ("shard-000001.claim", "seal.claim"):
        claim_of(folder / name, pid=gone())
    assert embedded_again(data) == 5
    assert not list(folder.glob("*.claim"))


def test_a_shard_that_another_works_on_is_waited_for(
    data: Dataset, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one finishes while this one waits."""
    interrupted(data, shards=0)
    folder = only(home, "manifest.json").parent
    cache = Cache.read(folder)
    claim = cache.claim(1)
    assert claims.take(claim)
    expected = oodml.embed_data(data, Counting(), cache=False).vectors
    waits = []

    def other(_: float) -> None:
        waits.append(1)
        if len(waits) == 2:
            cache.put(1, expected[2:4])
            claims.release(claim)

    monkeypatch.setattr(time, "sleep", other)
    encoder = Counting()
    found = oodml.embed_data(data, encoder)
    np.testing.assert_array_equal(found.vectors, expected)
    assert encoder.images == 5
    assert len(waits) >= 2


# Pruning -----------------------------------------------------------------------------------------


def caches(data: Dataset, home: Path) -> list[Path]:
    """Three caches, the last one used last."""
    folders = []
    for age, dim in ((300, 1), (200, 2), (100, 3)):
        before = set(home.glob("*"))
        oodml.embed_data(data, Counting(dim=dim))
        [folder] = set(home.glob("*")) - before
        stamp = time.time() - age
        os.utime(folder / "manifest.json", (stamp, stamp))
        folders.append(folder)
    return folders


def test_what_was_used_longest_ago_goes_first(data: Dataset, home: Path) -> None:
    first, second, third = caches(data, home)
    oodml.embed_data(data, Counting(dim=1))  # now the last used
    sizes = {entry.folder: entry.bytes for entry in find_entries()}
    assert [entry.folder for entry in find_entries()] == [first, third, second]
    removed = prune(most_bytes=sum(sizes.values()) - 1)
    assert [entry.folder for entry in removed] == [second]
    assert not prune(most_bytes=sum(sizes.values()))
    assert [entry.folder for entry in prune(older=50)] == [third]
    assert [entry.folder for entry in prune(most_bytes=0)] == [first]
    assert not list(home.iterdir())


def test_what_is_being_filled_stays_and_old_formats_go(data: Dataset, home: Path) -> None:
    interrupted(data, shards=1)
    folder = only(home, "manifest.json").parent
    assert claims.take(folder / "shard-000003.claim")
    write_json(home / "old" / "manifest.json", "embedding-cache", {"rows": 3})
    (home / "old" / "vectors-00000.npy").write_bytes(b"x")
    shown = json.loads(CliRunner().invoke(main, ["embed", "--cache", "--json"]).stdout)
    states = {entry["old"]: (entry["filling"], entry["complete"]) for entry in shown["entries"]}
    assert states == {False: (True, False), True: (False, False)}
    assert [entry.folder.name for entry in prune(older=1e9)] == ["old"]
    assert not prune(most_bytes=0)
    claims.release(folder / "shard-000003.claim")
    assert len(prune(most_bytes=0)) == 1


def test_the_cache_is_shown_and_pruned_by_a_command(data: Dataset, home: Path) -> None:
    caches(data, home)
    record = json.loads(CliRunner().invoke(main, ["embed", "--cache", "--json"]).stdout)
    entry = record["entries"][0]
    assert (entry["rows"], entry["dim"], entry["complete"]) == (7, 3, True)
    assert (entry["dataset"], entry["encoder"]) == (data.name, "counting")
    assert record["bytes"] == sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
    text = CliRunner().invoke(main, ["embed", "--cache", "--prune", "1KB"]).stdout
    assert "Removed: 3 caches" in text
    assert not list(home.iterdir())
    for wrong in (
        ["--cache", "--prune", "much"],
        ["--cache", "--older-than", "5"],
        ["glyphs", "--cache"],
        ["glyphs", "--prune", "all"],
        ["glyphs"],
    ):
        refused = CliRunner().invoke(main, ["embed", *wrong])
        assert refused.exit_code == 2, refused.output


# Several processes, and dying ones ---------------------------------------------------------------

_FILL = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_claims import claim_of, gone
from toys_embed import Counting
import oodml
from oodml.embed import cache
cache.shard_rows = lambda _: 2
data = oodml.load_data("folder:" + {folder!r})
oodml.embed_data(data, Counting(log=Path(sys.argv[1]), pause=float(sys.argv[2])))
"""


def fill(tmp_path: Path, log: Path, pause: float) -> subprocess.Popen[bytes]:
    script = _FILL.format(tests=str(Path(__file__).parent), folder=str(tmp_path / "many"))
    return subprocess.Popen([sys.executable, "-c", script, str(log), str(pause)])


def logged(*logs: Path) -> int:
    return sum(int(line) for log in logs if log.exists() for line in log.read_text().split())


@pytest.mark.slow
def test_processes_share_the_work_and_embed_every_image_once(tmp_path: Path) -> None:
    data = folder_data(tmp_path / "many", n=41)
    logs = [tmp_path / f"log{i}" for i in range(3)]
    processes = [fill(tmp_path, log, 0.3) for log in logs]
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
    assert logged(*logs) == 41
    assert sum(log.exists() for log in logs) >= 2, "more than one of them worked"
    assert embedded_again(data) == 0


@pytest.mark.slow
def test_killed_it_goes_on_at_the_shard_it_was_at(tmp_path: Path, home: Path) -> None:
    data = folder_data(tmp_path / "many", n=41)
    log = tmp_path / "log"
    process = fill(tmp_path, log, 0.3)
    deadline = time.time() + 120
    while logged(log) < 10 and time.time() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = 2 * len(list(home.rglob("shard-*.npy")))
    assert 8 <= kept < 41
    assert list(home.rglob("*.claim")), "a killed process cannot give its claim back"
    assert embedded_again(data) == 41 - kept
    assert logged(log) - kept <= 2, "no more than one shard was lost"
