"""Following a training as it goes: a line a step in its folder, and a tracker of one's own."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from oodml.methods import Tracker
from oodml.registry import Name, current_folder, find_function
from oodml.sweep.runs import RunStore
from oodml.sweep.spec import RunSpec

PAUSE = 1.0  # seconds between two writings
CHECKED = 200  # lines that are looked at for the last validation


@dataclass(slots=True)
class Lines:
    """A tracker that appends a line of JSON a step to a file, about once a second.

    The lines of a training that is killed stay; at its end all of them are written anew.
    """

    path: Path
    _pending: list[str] = field(default_factory=list)
    _written: float = 0.0

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._pending.append(json.dumps({"step": step, **values}))
        if time.monotonic() - self._written >= PAUSE:
            self.flush()

    def flush(self) -> None:
        """Write what is not written yet."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as stream:
            stream.write("".join(f"{line}\n" for line in self._pending))
        self._pending.clear()
        self._written = time.monotonic()


@dataclass(frozen=True, slots=True)
class Followers:
    """The lines in a run's folder, and a tracker of one's own that is told the same."""

    lines: Lines
    own: Tracker | None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.lines.log(step, values)
        if self.own is not None:
            self.own.log(step, values)

    def flush(self) -> None:
        """Write the lines that are not written yet: the last ones, where a training fails."""
        self.lines.flush()


def tracker_of(spec: RunSpec, store: RunStore, name: str | None) -> Followers:
    """Who follows a run; `name` is `py:module:function`, called with the spec."""
    lines = Lines(store.folder(spec) / "metrics.jsonl")
    return Followers(lines, None if name is None else _own(name, spec))


def _own(name: str, spec: RunSpec) -> Tracker:
    with current_folder():
        tracker: Tracker = find_function(Name.parse(name))(spec)
    return tracker


def latest_line(store: Path, within: float = 30.0) -> str:
    """What the training that wrote last is at: step, loss, and validation recall where known.

    Empty where none wrote within so many seconds.
    """
    files = [(path.stat().st_mtime, path) for path in store.glob("??/*/metrics.jsonl")]
    written, path = max(files, default=(0.0, store))
    if time.time() - written > within:
        return ""
    try:
        records = [json.loads(line) for line in path.read_text().splitlines()[-CHECKED:]]
    except (OSError, ValueError):  # it is being written
        return ""
    recalls = [r["val recall@1"] for r in records if "val recall@1" in r]
    if not records:
        return ""
    shown = f"step {records[-1]['step']}, loss {records[-1]['loss']:.4g}"
    return shown + (f", val recall@1 {recalls[-1]:.3f}" if recalls else "")
