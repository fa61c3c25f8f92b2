"""Following a training: lines as it goes, a tracker of one's own, what is shown beside the bar."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from toys import toy_embeddings

import oodml
from oodml.cli import main
from oodml.embed import write_embeddings
from oodml.errors import UnknownNameError
from oodml.registry import Name, find_function
from oodml.sweep import latest_line
from oodml.sweep.following import Lines

TRACKER = """
import json
from pathlib import Path

class Told:
    def __init__(self, spec):
        self.path = Path(f"told-{spec.method}-{spec.rank}.txt")

    def log(self, step, values):
        with self.path.open("a") as stream:
            stream.write(json.dumps([step, sorted(values)]) + "\\n")

def follow(spec):
    return Told(spec)
"""


def test_lines_are_written_as_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "aa" / "run" / "metrics.jsonl"
    lines = Lines(path)
    monkeypatch.setattr("oodml.sweep.following.PAUSE", 0.0)
    lines.log(1, {"loss": 2.5})
    lines.log(2, {"loss": 1.25, "val recall@1": 0.5})
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert records == [{"loss": 2.5, "step": 1}, {"loss": 1.25, "step": 2, "val recall@1": 0.5}]
    assert latest_line(tmp_path) == "step 2, loss 1.25, val recall@1 0.500"
    monkeypatch.setattr("oodml.sweep.following.PAUSE", 1e9)
    lines.log(3, {"loss": 1.0})
    assert latest_line(tmp_path).startswith("step 2")
    with path.open("a") as stream:
        stream.write('{"step": 3, "lo')  # it is being written
    assert latest_line(tmp_path) == ""
    os.utime(path, (0, 0))
    assert latest_line(tmp_path) == ""
    assert latest_line(tmp_path / "nothing") == ""


def test_a_tracker_of_ones_own_is_told_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("my_trackers.py").write_text(TRACKER)
    vectors = toy_embeddings(12)
    write_embeddings(Path("toy.emb"), vectors)
    oodml.write_sequence(Path("toy.json"), oodml.build_splits(vectors, levels=2))
    words = ["run", "--embeddings", "toy.emb", "--splits", "toy.json", "--executor", "serial"]
    words += ["--method", "margin?dim=4", "--steps", "3", "--seeds", "1", "--select", "val"]
    result = CliRunner().invoke(main, [*words, "--tracker", "py:my_trackers:follow"])
    assert result.exit_code == 0, result.output
    for rank in (1, 2):
        told = [json.loads(x) for x in Path(f"told-margin-{rank}.txt").read_text().splitlines()]
        assert told == [[1, ["loss"]], [2, ["loss"]], [3, ["loss", "val recall@1"]]]
    kept = list(Path("runs").glob("??/*/metrics.jsonl"))
    assert [len(path.read_text().splitlines()) for path in kept] == [3, 3]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wandb", "'wandb': expected py:MODULE:FUNCTION"),
        ("py:no_such_module:f", "'py:no_such_module:f': there is no module 'no_such_module'"),
        ("py:json:nothing", "'py:json:nothing': json has no function 'nothing'"),
    ],
)
def test_what_is_no_tracker_is_said(name: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        find_function(Name.parse(name))
