"""The command line as a user types it."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from toys import toy_embeddings

import oodml
from oodml.cli import main
from oodml.embed import write_embeddings


def call(*words: object) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def ok(*words: object) -> str:
    result = call(*words)
    assert result.exit_code == 0, result.output
    return result.stdout


def as_json(*words: object) -> Any:
    return json.loads(ok(*words, "--json"))


def error(*words: object) -> str:
    """The one sentence of a command that fails; nothing on stdout, exit code 1."""
    result = call(*words)
    assert result.exit_code == 1, result.output
    assert not result.stdout
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "toy.emb"
    write_embeddings(path, toy_embeddings(20))
    return path


@pytest.fixture(scope="module")
def splits(vectors: Path) -> Path:
    path = vectors.parent / "splits.json"
    ok("splits", "build", "--embeddings", vectors, "--levels", 3, "-o", path)
    return path


@pytest.fixture(scope="module")
def runs(vectors: Path, splits: Path) -> Path:
    path = vectors.parent / "runs"
    words = ["--embeddings", vectors, "--splits", splits, "--method", "frozen"]
    words += ["--method", "multisimilarity?dim=8", "--seeds", 2, "--steps", 5]
    ok("run", *words, "--executor", "serial", "-o", path)
    return path


def photos(root: Path) -> Path:
    rng = np.random.default_rng(0)
    for i in range(8):
        path = root / "ab"[i % 2] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(path)
    return root


# The path of the data ----------------------------------------------------------------------------


def test_embed_writes_a_file(tmp_path: Path) -> None:
    root = photos(tmp_path / "pets" / "images")
    words = ("embed", f"folder:{root}", "--encoder", "oodml:pixels?size=8")
    assert "8 images of 2 classes of pets, 64 dimensions" in ok(*words, "-o", tmp_path / "p.emb")
    facts = as_json(*words, "-o", tmp_path / "p.emb")
    assert facts["digest"] == oodml.read_embeddings(tmp_path / "p.emb").digest()


def test_splits_are_built_shown_and_verified(vectors: Path, splits: Path) -> None:
    shown = ok("splits", "show", splits)
    assert "toy: ooDML search, frechet shift" in shown
    rows = as_json("splits", "show", splits, "--embeddings", vectors)["splits"]
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    for row in rows:
        assert row["measured"] == pytest.approx(row["shift"], rel=1e-6)
        assert {"excess", "percentile", "n_train", "n_val", "n_test"} <= row.keys()
    assert as_json("splits", "show", splits)["splits"][0]["measured"] is None
    assert "are right" in ok("splits", "verify", splits, "--embeddings", vectors)


def test_splits_that_do_not_hold_fail_to_verify(splits: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.emb"
    write_embeddings(other, toy_embeddings(20, seed=1))
    assert "does not hold on this data" in error("splits", "verify", splits, "--embeddings", other)


def test_splits_are_exported_as_csv(splits: Path, tmp_path: Path) -> None:
    text = ok("splits", "export", splits)
    ok("splits", "export", splits, "-o", tmp_path / "s.csv")
    assert (tmp_path / "s.csv").read_text() == text
    rows = list(csv.DictReader(text.splitlines()))
    sequence = oodml.read_sequence(splits)
    test = tuple(r["class"] for r in rows if (r["rank"], r["side"]) == ("2", "test"))
    assert test == sequence.at(2).test
    assert as_json("splits", "export", splits)[0]["rank"] == 1


def test_runs_are_resumed_and_drawn(
    vectors: Path, splits: Path, runs: Path, tmp_path: Path
) -> None:
    words = ("run", "--embeddings", vectors, "--splits", splits, "--method", "frozen", "-o", runs)
    levels = len(oodml.read_sequence(splits).splits)
    assert as_json(*words, "--dry-run")["done_before"] == levels
    assert "0 to do" in ok(*words, "--dry-run")
    targets = [tmp_path / f"c.{kind}" for kind in ("svg", "png", "pdf")]
    out = [word for target in targets for word in ("-o", target)]
    shown = ok("curve", runs, *out, "--csv", tmp_path / "c.csv")
    assert "AGS" in shown
    assert "frozen" in shown
    assert targets[0].read_text().startswith("<?xml")
    with Image.open(targets[1]) as image:
        assert image.size[0] > 500
    assert targets[2].read_bytes().startswith(b"%PDF")
    assert len((tmp_path / "c.csv").read_text().splitlines()) == 1 + 2 * levels
    curves = as_json("curve", runs, *out)["curves"]
    assert [curve["method"] for curve in curves] == ["frozen", "multisimilarity?dim=8"]
    assert curves[0]["ags"] is not None


def test_scores_need_no_training(vectors: Path, splits: Path, runs: Path, tmp_path: Path) -> None:
    cards = as_json("score", "--embeddings", vectors, "--splits", splits)["cards"]
    assert "recall@1" in ok("score", "--embeddings", vectors, "--splits", splits)
    curves = as_json("curve", runs, "-o", tmp_path / "c.svg")["curves"]
    assert [card["values"]["recall@1"] for card in cards] == pytest.approx(curves[0]["mean"])
    whole = as_json("score", "--embeddings", vectors, "--metric", "map@r")
    assert list(whole["values"]) == ["map@r"]
    assert "recall@8" in ok("score", "--embeddings", vectors)


def test_scores_on_splits_of_unknown_shift(vectors: Path, splits: Path, tmp_path: Path) -> None:
    sequence = oodml.read_sequence(splits)
    unknown = tuple(replace(split, shift=None) for split in sequence.splits)
    oodml.write_sequence(tmp_path / "s.json", replace(sequence, splits=unknown))
    assert "–" in ok("score", "--embeddings", vectors, "--splits", tmp_path / "s.json")


def test_lists_name_everything() -> None:
    names = as_json("list")
    assert {"glyphs", "digits", "folder"} <= set(names["datasets"])
    methods = as_json("list", "methods")["methods"]
    assert methods == sorted(methods)
    assert {"frozen", "margin", "multisimilarity", "protonet", "triplet"} <= set(methods)
    assert "tv:resnet50" in ok("list", "encoders")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("demo",),
        ("list",),
        ("embed",),
        ("splits",),
        ("splits", "build"),
        ("splits", "show"),
        ("splits", "verify"),
        ("splits", "import"),
        ("splits", "export"),
        ("run",),
        ("score",),
        ("curve",),
    ],
)
def test_every_command_has_help_with_an_example(words: tuple[str, ...]) -> None:
    shown = ok(*words, "--help")
    assert "Usage:" in shown
    if words not in ((), ("splits",)):
        assert f"Example:  oodml {' '.join(words)}" in shown
        assert "--json" in shown


# What goes wrong ---------------------------------------------------------------------------------


def test_bad_images_are_one_sentence(tmp_path: Path) -> None:
    def embed(root: Path) -> str:
        message = error("embed", f"folder:{root}", "--encoder", "oodml:pixels", "-o", out)
        assert not out.exists()
        return message

    out = tmp_path / "x.emb"
    (tmp_path / "empty").mkdir()
    assert "empty" in embed(tmp_path / "empty")
    assert "does not exist" in embed(tmp_path / "none")
    root = photos(tmp_path / "half")
    (root / "a" / "0.jpg").write_bytes((root / "a" / "0.jpg").read_bytes()[:200])
    assert "a/0.jpg" in embed(root)
    root = photos(tmp_path / "one")
    (root / "c").mkdir()
    (root / "b" / "1.jpg").rename(root / "c" / "1.jpg")
    assert "'c'" in embed(root)


def test_cmyk_and_grey_pictures_are_read(tmp_path: Path) -> None:
    root = photos(tmp_path / "mixed")
    for name, mode in (("a/0.jpg", "CMYK"), ("b/1.jpg", "L")):
        with Image.open(root / name) as image:
            other = image.convert(mode)
        other.save(root / name)
    words = ("embed", f"folder:{root}", "--encoder", "tv:resnet18?init=random&size=32")
    assert "8 images" in ok(*words, "-o", tmp_path / "x.emb")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("embed", "glyph", "--encoder", "oodml:hog", "-o", "x"), "nearest: glyphs"),
        (("embed", "digits", "--encoder", "oodml:hogs", "-o", "x"), "not built in"),
        (
            ("embed", ".", "--encoder", "oodml:hog", "-o", "x"),
            "write folder:. for the images in it",
        ),
        (("splits", "show", "none.json"), "none.json does not exist"),
        (("splits", "import", "none.pkl", "-o", "x"), "none.pkl cannot be read"),
        (("curve", "none"), "There is no run store at none"),
        (("score", "--embeddings", "none.emb"), "none.emb does not exist"),
    ],
)
def test_names_and_files_that_are_not_there(
    words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in error(*words)
    assert not list(tmp_path.iterdir())


def test_splits_that_do_not_fit_the_data(
    splits: Path, vectors: Path, runs: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few.emb"
    write_embeddings(few, toy_embeddings(10))
    words = ("--embeddings", few, "--splits", splits)
    assert "are not in 'toy'" in error("run", *words, "--method", "frozen", "-o", tmp_path / "r")
    assert not (tmp_path / "r").exists()
    broken = tmp_path / "splits.json"
    broken.write_text(splits.read_text().replace("class 001", "class 999"))
    assert "class lists were changed" in error("splits", "show", broken)
    words = ("--embeddings", vectors, "--splits", splits, "-o", tmp_path / "r")
    assert "nearest: multisimilarity" in error("run", *words, "--method", "multisim")
    assert "nearest: recall" in error("score", "--embeddings", vectors, "--metric", "recal@1")
    assert "map@r" in error("curve", runs, "--metric", "recall@3", "-o", tmp_path / "c.svg")


def test_stores_with_several_sequences_are_never_mixed(
    vectors: Path, runs: Path, tmp_path: Path
) -> None:
    other, store = tmp_path / "other.json", tmp_path / "runs"
    ok("splits", "build", "--embeddings", vectors, "--levels", 2, "--seed", 1, "-o", other)
    ok("run", "--embeddings", vectors, "--splits", other, "--method", "frozen", "-o", store)
    digest = oodml.read_sequence(other).digest
    message = error("curve", runs, store)
    assert digest[:12] in message
    assert "2 sequences or sets of images match" in message
    picked = as_json("curve", runs, store, "--sequence", digest[:6], "-o", tmp_path / "c.svg")
    assert {curve["sequence"] for curve in picked["curves"]} == {digest}


def test_options_that_do_not_go_together(vectors: Path, splits: Path, runs: Path) -> None:
    for words in (
        ("score",),
        ("score", "--dataset", "digits"),
        ("score", "--embeddings", vectors, "--dataset", "digits"),
        ("run", "--splits", splits, "--method", "frozen"),
        ("curve", runs, "-o", "c.bmp"),
        ("splits", "build", "--embeddings", vectors, "--levels", 0, "-o", "x"),
    ):
        result = call(*words)
        assert result.exit_code == 2, words
        assert "Error" in result.stderr


def test_data_of_another_content_is_said(tmp_path: Path, splits: Path) -> None:
    other = tmp_path / "other.emb"
    write_embeddings(other, toy_embeddings(20, seed=1))
    words = ("--embeddings", other, "--splits", splits, "--method", "frozen")
    result = call("run", *words, "--executor", "serial", "-o", tmp_path / "runs")
    assert result.exit_code == 0
    assert "Warning: toy holds other images than the splits were made of" in result.stderr


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, splits: Path) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("oodml.split.read_sequence", broken)
    with pytest.raises(ZeroDivisionError):
        call("splits", "show", splits)


def test_the_installed_command_answers() -> None:
    script = Path(sys.executable).parent / "oodml"
    environment = {**os.environ, "COLUMNS": "100"}
    result = subprocess.run(
        [script, "--version"], capture_output=True, text=True, check=True, env=environment
    )
    assert result.stdout.strip().endswith(oodml.__version__)


# Searches and episodes ---------------------------------------------------------------------------


def build(vectors: Path, output: Path, *words: object) -> oodml.SplitSequence:
    ok("splits", "build", "--embeddings", vectors, "--levels", 3, "-o", output, *words)
    return oodml.read_sequence(output)


def test_every_search_is_at_hand_with_its_options(vectors: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.json"
    names = ["class 000", "class 019"]
    pins = ["--train-class", names[0], "--test-class", names[1], "--classes-per-side", 6]
    optimal = build(vectors, out, "--search", "optimal", *pins)
    for split in optimal.splits:
        assert (len(split.train_side), len(split.test)) == (6, 6)
        assert names[0] in split.train_side
        assert names[1] in split.test
    build(vectors, out, "--search", "optimal")
    assert "steps off target" in ok("splits", "show", out)
    ok("splits", "build", "--embeddings", vectors, "--search", "fixed-test", "-o", out)
    fixed = [oodml.read_sequence(tmp_path / f"s-{index}.json") for index in range(3)]
    for sequence in fixed:
        assert len({split.test for split in sequence.splits}) == 1
    assert len({sequence.splits[0].test for sequence in fixed}) == 3
    words = ("--search", "fixed-test", "--levels", 2, "--test-sets", 2, "-o", out)
    printed = as_json("splits", "build", "--embeddings", vectors, *words)
    assert [record["seed"] for record in printed["sequences"]] == [0, 1]
    swaps = build(vectors, out, "--swaps", 2, "--no-remove")
    assert {len(split.test) for split in swaps.splits} == {10}
    low, high = (split.shift for split in (optimal.splits[0], optimal.splits[-1]))
    middle = (low + high) / 2
    target = build(vectors, out, "--search", "optimal", *pins, "--target", middle)
    assert len(target.splits) == 1
    assert abs(target.splits[0].shift - middle) < 0.1 * (high - low)


def test_options_of_another_search_are_refused(vectors: Path, tmp_path: Path) -> None:
    words = ("splits", "build", "--embeddings", vectors, "-o", tmp_path / "s.json")
    assert "'ooDML' has no option 'per_side'" in error(*words, "--classes-per-side", 5)
    message = error(*words, "--search", "optimal", "--target", 1e9)
    assert "distances found go from" in message
    assert not list(tmp_path.iterdir())


def test_episodes_are_recorded_on_request(vectors: Path, tmp_path: Path) -> None:
    sequence = build(vectors, tmp_path / "s.json", "--shots", 5, "--shots", 1, "--episodes", 4)
    assert sequence.episodes is not None
    assert (sequence.episodes.shots, sequence.episodes.count) == ((1, 5), 4)


def test_the_sides_are_drawn(vectors: Path, splits: Path, tmp_path: Path) -> None:
    target = tmp_path / "sides.svg"
    words = ("splits", "show", splits, "--embeddings", vectors, "--partitions", 5, "-o", target)
    assert "excess" in ok(*words)
    assert target.read_text().startswith("<?xml")
    assert call("splits", "show", splits, "-o", target).exit_code == 2
