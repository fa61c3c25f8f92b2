"""Names of one's own: plug-in files, from the command line to the worker processes."""

from __future__ import annotations

import json
import os
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from toys import toy_embeddings

import oodml
from oodml import registry
from oodml.cli import main
from oodml.data import DATASETS
from oodml.embed import ENCODERS, open_encoder
from oodml.errors import DataError, FormatError, RunError, UnknownNameError, WeightsError
from oodml.methods import METHODS, Budget, find_method
from oodml.metrics import METRICS
from oodml.registry import KINDS, load_plugin, plugin_of, plugins
from oodml.shift import MEASURES
from oodml.split import SEARCHES
from oodml.store import file_digest
from oodml.sweep import RunStore, Sweep, make_executor, run_sweep
from oodml.sweep.jobs import Setting, carry_out
from oodml.sweep.run import plan_jobs

PLUGIN = '''
"""Gaussian classes, and a method that keeps the first `dim` axes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from oodml import metrics, methods as built_in
from oodml.data import Dataset, Vectors
from oodml.methods import FitContext, Trained
from oodml.methods.heads import Head, vectors_spec
from oodml.registry import Name


def load_blobs(name: Name) -> Dataset:
    classes = name.resolve({"classes": 12})["classes"]
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), 5)
    vectors = rng.standard_normal((classes, 8))[labels] * 2 + rng.standard_normal((len(labels), 8))
    return Dataset(
        name="blobs",
        classes=tuple(f"blob {number:02}" for number in range(classes)),
        labels=labels,
        ids=tuple(map(str, range(len(labels)))),
        source=Vectors(vectors.astype(np.float32)),
    )


@dataclass(frozen=True, slots=True)
class Axes:
    name: ClassVar[str] = "axes"
    version: ClassVar[int] = 1
    needs: ClassVar[str] = "features"
    seeded: ClassVar[bool] = False
    dim: int = 2

    def fit(self, context: FitContext) -> Trained:
        import torch

        d = context.train.vectors.shape[1]
        head = torch.eye(d)[: self.dim]
        spec = vectors_spec(d, f"+axes:{self.dim}", out=self.dim)
        record = {"pid": os.getpid(), "module": type(self).__module__}
        return Trained(Head(spec, ((head, torch.zeros(self.dim)),)), (record,))


datasets = {"blobs": load_blobs}
methods = {"axes": Axes}
'''


@pytest.fixture(autouse=True)
def _none_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No plug-in stays loaded after a test."""
    monkeypatch.setattr(registry, "_loaded", {})


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    return path


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def call(*words: object) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def ok(*words: object) -> str:
    result = call(*words)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_every_registry_is_of_a_known_kind() -> None:
    found = {r.kind for r in (DATASETS, ENCODERS, MEASURES, SEARCHES, METRICS, METHODS)}
    assert found == set(KINDS)


def test_a_file_registers_its_dicts(mine: Path) -> None:
    assert "axes" not in METHODS
    plugin = load_plugin(mine)
    assert plugin.sha256 == file_digest(mine)
    assert {kind: [*names] for kind, names in plugin.members.items()} == {
        "datasets": ["blobs"],
        "methods": ["axes"],
    }
    assert list(METHODS) == sorted(METHODS)
    assert {"axes", "frozen", "multisimilarity"} <= set(METHODS)
    assert find_method("axes?dim=3").dim == 3  # type: ignore[attr-defined]
    assert "blobs" in DATASETS
    assert len(oodml.load_data("blobs?classes=6").classes) == 6
    assert plugin_of("methods", "axes") == plugin
    assert plugin_of("methods", "frozen") is None
    assert load_plugin(str(mine)) is plugin
    (mine.parent / "linked.py").symlink_to(mine)
    assert load_plugin(mine.parent / "linked.py") is plugin
    assert plugins() == (plugin,)
    assert oodml.registry.load_plugin is load_plugin


def test_a_changed_file_takes_the_place_of_what_it_was(mine: Path) -> None:
    first = load_plugin(mine)
    mine.write_text(PLUGIN.replace("dim: int = 2", "dim: int = 5"))
    second = load_plugin(mine)
    assert second.sha256 != first.sha256
    assert find_method("axes").dim == 5  # type: ignore[attr-defined]
    assert plugins() == (second,)


def test_a_name_taken_twice_is_an_error(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_plugin(mine)
    other = write(tmp_path / "other.py", "methods = {'axes': 1}\ndatasets = {'x': 1}")
    with pytest.raises(UnknownNameError, match=r"'axes' of methods is taken twice, by .*mine\.py"):
        load_plugin(other)
    assert "x" not in DATASETS
    load_plugin(write(tmp_path / "third.py", "methods = {'frozen': 1}"))
    for look in (lambda: METHODS["multisimilarity"], lambda: list(METHODS)):
        with pytest.raises(UnknownNameError, match=r"'frozen' of methods is taken twice, by oodml"):
            look()
    assert "blobs" in DATASETS
    point = EntryPoint("blobs", "math:pi", "oodml.datasets")
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [point] * (group == "oodml.datasets")
    )
    with pytest.raises(
        UnknownNameError, match=r"taken twice, by the package of math:pi and by .*m"
    ):
        oodml.load_data("blobs")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "defines none of datasets, encoders, measures, searches, metrics, methods; exp"),
        ("", "defines none of datasets"),
        ("datasets = {}", "defines none of datasets"),
        ("from oodml import methods", "defines none of datasets"),
        ("datasets = ['mine']", "datasets is a list; expected a dict of names"),
        ("datasets = {'a:b': 1}", "datasets has the name 'a:b'; expected text without : @ ?"),
        ("datasets = {1: 1}", "datasets has the name 1; expected text"),
        ("x = 1\ndatasets = {", r"cannot be loaded \(SyntaxError: .*, line 2\); mend it"),
        ("x = 1\n\nhalf(x)", r"cannot be loaded \(NameError: name 'half' is .*, line 3\)"),
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_n"),
        ("import sys\nsys.exit(3)", r"cannot be loaded \(SystemExit: 3, line 2\)"),
        ("datasets = {'a': '\0'}", "cannot be loaded"),
        ("datasets = {'a': '\udcff'}", "cannot be loaded"),
    ],
)
def test_what_is_no_plug_in_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(FormatError, match=rf"mine\.py.*{message}"):
        load_plugin(path)
    assert not plugins()


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        FormatError, match=r"none\.py cannot be read \(No such file .*expected a pl"
    ):
        load_plugin(tmp_path / "none.py")
    result = call("--plugin", tmp_path, "list")
    assert result.exit_code == 1
    assert "cannot be read (Is a directory); expected a plug-in file." in result.stderr


def test_members_that_are_not_what_they_should_be(tmp_path: Path, mine: Path) -> None:
    load_plugin(write(tmp_path / "a.py", "datasets = {'odd': lambda name: name.key}"))
    with pytest.raises(DataError, match="The data set 'odd' of a plug-in gave str; expected a"):
        oodml.load_data("odd")
    load_plugin(write(mine, PLUGIN.replace('{"axes"', '{"axis"')))
    with pytest.raises(UnknownNameError, match="'axis' of a plug-in has the name 'axes'"):
        find_method("axis")


# The path of the data ----------------------------------------------------------------------------


def test_a_plug_in_goes_all_the_way(mine: Path, tmp_path: Path) -> None:
    """Its data set is embedded and split, its method run in other processes, and drawn."""
    emb, splits, runs = (tmp_path / name for name in ("b.emb", "s.json", "runs"))
    assert "60 images of 12 classes of blobs" in ok("--plugin", mine, "embed", "blobs", "-o", emb)
    ok("splits", "build", "--embeddings", emb, "--levels", 2, "-o", splits)
    words = ["--plugin", mine, "run", "--dataset", "blobs", "--splits", splits]
    words += ["--method", "frozen", "--method", "axes?dim=4", "--executor", "local", "-o", runs]
    levels = len(oodml.read_sequence(splits).splits)
    assert f"{2 * levels} runs, 0 of them done before" in ok(*words)
    assert f"{2 * levels} runs, {2 * levels} of them done" in ok(*words)
    found = {}
    for path in runs.glob("*/*/spec.json"):
        spec = json.loads(path.read_text())
        found.setdefault(spec["method"], set()).add(spec["plugin"])
        environment = json.loads((path.parent / "env.json").read_text())
        assert environment["plugins"] == {"mine.py": file_digest(mine)}
        if spec["method"] == "axes":
            record = json.loads((path.parent / "metrics.jsonl").read_text())
            assert record["module"].startswith("oodml_plugin_")
            assert record["pid"] != os.getpid()
    assert found == {"frozen": {None}, "axes": {file_digest(mine)}}
    curves = json.loads(ok("curve", runs, "-o", tmp_path / "c.svg", "--json"))["curves"]
    assert sorted(curve["method"] for curve in curves) == ["axes?dim=4", "frozen"]


def test_a_package_registers_by_entry_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `pip install` leaves behind: a module, and a folder of metadata that names it."""
    (tmp_path / "blob_package.py").write_text(PLUGIN)
    info = tmp_path / "blob_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: blob-package\nVersion: 1.0\n")
    points = "[oodml.datasets]\nblobs = blob_package:load_blobs\n"
    (info / "entry_points.txt").write_text(f"{points}[oodml.methods]\naxes = blob_package:Axes\n")
    assert "blobs" not in DATASETS
    monkeypatch.syspath_prepend(tmp_path)
    assert "60 images of 12 classes" in ok("embed", "blobs", "-o", tmp_path / "b.emb")
    assert find_method("axes?dim=1").name == "axes"
    assert {"blobs", "digits"} <= set(json.loads(ok("list", "datasets", "--json"))["datasets"])


def test_the_digest_of_a_run_without_plug_ins_stays(mine: Path) -> None:
    vectors = toy_embeddings(12)
    sequence = oodml.build_splits(vectors, levels=2)
    before = Sweep(("frozen", "multisimilarity")).specs(vectors, sequence)
    load_plugin(mine)
    assert Sweep(("frozen", "multisimilarity")).specs(vectors, sequence) == before
    assert {spec.plugin for spec in before} == {None}
    first = Sweep(("axes",)).specs(vectors, sequence)
    mine.write_text(PLUGIN + "\n# another text\n")
    load_plugin(mine)
    second = Sweep(("axes",)).specs(vectors, sequence)
    assert not {spec.digest() for spec in first} & {spec.digest() for spec in second}


def test_a_file_that_changes_under_way_stops_its_runs(mine: Path, tmp_path: Path) -> None:
    load_plugin(mine)
    vectors = toy_embeddings(12)
    sequence = oodml.build_splits(vectors, levels=2)
    sweep, store = Sweep(("axes",), budget=Budget(steps=1)), RunStore(tmp_path / "runs")
    specs, setting = sweep.specs(vectors, sequence), Setting(("recall@1",))
    job = plan_jobs(specs, vectors, sequence, store, setting)[0]
    mine.write_text(PLUGIN + "\n# another text\n")
    failure = carry_out(job)
    assert failure is not None
    assert "mine.py was changed while its runs were under way" in failure.reason
    mine.write_text("methods = 3")
    with pytest.raises(RunError, match="methods is a int; expected a dict"):
        run_sweep(vectors, sequence, sweep, store, executor=lambda: make_executor("serial"))


ENCODER = """
import torch
from oodml.embed import EncoderSpec
from oodml.embed.images import shape_image

class Scaled:
    spec = EncoderSpec("mine", "mine/1", dim=3, size=8)

    def __init__(self, by):
        self.by = torch.tensor(by)

    def transform(self, image):
        return shape_image(image, self.spec)

    def __call__(self, batch):
        return batch.float().mean((2, 3)) * self.by

encoders = {"mine": lambda name: Scaled(name.resolve({"by": 1.0})["by"]), "wrong": lambda name: 5}
"""


def test_encoders_of_a_plug_in_follow_its_file_and_tensors(mine: Path) -> None:
    """Whatever the spec that they have themselves says."""
    mine.write_text(ENCODER)
    load_plugin(mine)
    first, same, other = (open_encoder(f"mine:{by}") for by in ("x", "x", "x?by=2"))
    assert first.spec.identity() == same.spec.identity() != other.spec.identity()
    batch = torch.ones(1, 3, 8, 8, dtype=torch.uint8)
    assert other(batch).tolist() == [[2.0, 2.0, 2.0]]
    mine.write_text(ENCODER.replace("mean", "amax"))
    load_plugin(mine)
    assert open_encoder("mine:x").spec.identity() != first.spec.identity()
    with pytest.raises(WeightsError, match="'wrong' gives a int; expected an encoder"):
        open_encoder("wrong")


def test_names_of_plug_ins_are_listed(mine: Path) -> None:
    names = json.loads(ok("--plugin", mine, "list", "--json"))
    assert "blobs" in names["datasets"]
    assert "axes" in names["methods"]
    assert "dim=2" in ok("--plugin", mine, "list", "methods")
    shown = ok("list", "datasets")
    for spelling in ("csv:PATH[?name=X&root=DIR]", "mnist[:PATH][?complete=false]"):
        assert spelling in shown
    assert "--plugin" in ok("--help")
