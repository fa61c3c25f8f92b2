"""Claims: one at a time holds one, and none outlives its process."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from oodml.embed import claims
from oodml.errors import FormatError


def age(path: Path, seconds: float) -> Path:
    """Make a file older than it is."""
    stamp = time.time() - seconds
    os.utime(path, (stamp, stamp))
    return path


def claim_of(path: Path, **other: object) -> None:
    """Write a claim like one of this process, but for what is other."""
    path.unlink(missing_ok=True)
    assert claims.take(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **other}))


def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_claims_are_of_one_at_a_time_and_do_not_outlive_their_process(tmp_path: Path) -> None:
    path = tmp_path / "x.claim"
    assert claims.take(path)
    assert not claims.take(path)
    assert claims.is_held(path)
    claims.release(path)
    assert claims.take(path)
    claim_of(path, pid=gone())
    assert not claims.is_held(path)
    assert claims.take(path)
    for other in ({"host": "elsewhere"}, {"boot": "another"}, {"pids": "another container"}):
        claim_of(path, pid=gone(), **other)
        assert not claims.take(path)
    for text in ("", "[]", "no JSON"):
        path.write_text(text)
        assert claims.is_held(path)
    old = time.time() - claims.STALE - 1
    os.utime(path, (old, old))
    assert claims.take(path)


def test_a_claim_of_a_former_process_of_the_same_number_is_dead(tmp_path: Path) -> None:
    path = tmp_path / "x.claim"
    claim_of(path, token="of before")
    assert not claims.is_held(path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        start = claims._start(other.pid)
        claim_of(path, pid=other.pid, token="another", start=start)
        assert claims.is_held(path)
        claim_of(path, pid=other.pid, token="another", start="1")
        assert not claims.is_held(path) or start is None
        other.communicate(b"\n")


def test_what_was_taken_over_is_not_given_back(tmp_path: Path) -> None:
    path = tmp_path / "x.claim"
    claim_of(path, token="another", host="elsewhere")
    claims.release(path)
    assert path.exists()


def test_claims_are_renewed_while_they_are_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert claims.STALE <= 60
    monkeypatch.setattr(claims, "STALE", 0.1)
    monkeypatch.setattr(claims, "_thread", None)
    path = tmp_path / "x.claim"
    assert claims.take(path)
    stamp = age(path, 1000).stat().st_mtime
    deadline = time.monotonic() + 30
    while path.stat().st_mtime == stamp and time.monotonic() < deadline:
        time.sleep(0.01)
    assert path.stat().st_mtime > stamp
    claims.release(path)


def test_it_is_said_once_whom_one_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, waits = tmp_path / "x.claim", []
    claim_of(path, host="elsewhere", pid=12)

    def other(_: float) -> None:
        waits.append(1)
        if len(waits) == 2 * claims.PATIENCE:
            path.unlink()

    monkeypatch.setattr(time, "sleep", other)
    with claims.held(path):
        assert len(waits) == 2 * claims.PATIENCE
    assert [record.message for record in caplog.records] == [
        f"Waiting for elsewhere (pid 12, by {path})."
    ]
    assert not path.exists()


def test_a_full_disk_is_said_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.claim"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(FormatError, match=r"^Cannot write .*x\.claim: .*; set OODML_HOME") as e:
            claims.take(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert e.value is not None
    assert not path.exists()
