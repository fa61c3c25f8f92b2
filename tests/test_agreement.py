"""One sequence under other encoders and measures: readings, the command, the figure."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from toys import toy_embeddings

import oodml
from oodml.cli import main
from oodml.embed import EmbeddingSet, EncoderSpec, write_embeddings
from oodml.errors import SplitError
from oodml.plot import figure_bytes, plot_agreement
from oodml.shift import find_measure
from oodml.split import (
    Split,
    SplitSequence,
    compare_readings,
    short_encoders,
    spans,
    write_sequence,
)

CLASSES = 20


def other_encoder(vectors: EmbeddingSet, seed: int, noise: float = 6.0) -> EmbeddingSet:
    """The same images as another encoder sees them: noisier, turned, under a name of its own."""
    rng = np.random.default_rng(seed)
    d = vectors.vectors.shape[1]
    turn, _ = np.linalg.qr(rng.standard_normal((d, d)))
    seen = vectors.vectors @ turn + noise * rng.standard_normal(vectors.vectors.shape)
    return replace(vectors, vectors=seen.astype(np.float32), source=f"other-{seed}")


@pytest.fixture(scope="module")
def vectors() -> EmbeddingSet:
    return toy_embeddings(CLASSES)


@pytest.fixture(scope="module")
def sequence(vectors: EmbeddingSet) -> SplitSequence:
    return oodml.build_splits(vectors, search="optimal", levels=5)


# Values ------------------------------------------------------------------------------------------


def test_a_reading_is_the_measure_of_train_side_and_test(
    vectors: EmbeddingSet, sequence: SplitSequence
) -> None:
    other = other_encoder(vectors, 1)
    (found,) = compare_readings([sequence], [vectors, other], ["frechet", "mmd?kernel=rbf"])
    ways = [(v, m) for v in (vectors, other) for m in ("frechet", "mmd")]
    assert [(r.encoder, r.measure) for r in found.readings] == [(v.source, m) for v, m in ways]
    for reading, (embeddings, measure) in zip(found.readings, ways, strict=True):
        distance = find_measure(measure).on(embeddings)
        row = embeddings.classes.index
        for shift, split in zip(reading.shifts, sequence.splits, strict=True):
            sides = (np.array([row(n) for n in side]) for side in (split.train_side, split.test))
            assert shift == pytest.approx(distance(*sides), rel=1e-8)
    assert len(found.pairs) == 6
    assert found.splits == len(sequence.splits)


def test_recorded_shifts_are_a_reading_where_nobody_reads_them_anyway(
    vectors: EmbeddingSet, sequence: SplitSequence
) -> None:
    def recorded(sequence, vectors, measure):
        (found,) = compare_readings([sequence], [vectors], [measure])
        return [r.shifts for r in found.readings if r.recorded]

    shifts = tuple(split.shift for split in sequence.splits)
    assert recorded(sequence, vectors, "frechet") == []
    assert recorded(sequence, vectors, "energy") == [shifts]
    assert recorded(sequence, other_encoder(vectors, 1), "frechet") == [shifts]
    a_little_off = replace(vectors, vectors=vectors.vectors * np.float32(1.001))
    assert recorded(sequence, a_little_off, "frechet") == [shifts]
    unknown = replace(sequence.splits[0], shift=None)
    holes = replace(sequence, splits=(unknown, *sequence.splits[1:]))
    assert recorded(holes, vectors, "energy") == []


def test_the_order_of_encoders_changes_no_correlation(
    vectors: EmbeddingSet, sequence: SplitSequence
) -> None:
    both = [vectors, other_encoder(vectors, 1), other_encoder(vectors, 2)]
    (one,), (other,) = (compare_readings([sequence], v, partitions=20) for v in (both, both[::-1]))
    assert one.concordance.w == pytest.approx(other.concordance.w)

    def facts(found):
        return {
            frozenset((p.one, p.other)): (p.spearman, p.kendall, p.random.value)
            for p in found.pairs
        }

    assert facts(one) == facts(other)


def test_a_turned_and_scaled_encoder_agrees_entirely(
    vectors: EmbeddingSet, sequence: SplitSequence
) -> None:
    twin = replace(other_encoder(vectors, 3, noise=0.0), source="twin")
    twin = replace(twin, vectors=twin.vectors * 7)
    (found,) = compare_readings([sequence], [vectors, twin], ["frechet"], partitions=30)
    (pair,) = found.pairs
    assert pair.spearman.value == pair.kendall.value == 1
    assert pair.pearson == pytest.approx(1)
    assert pair.random.value == pytest.approx(1, abs=0.01)
    assert found.concordance.w == 1
    one, other = (reading.normalised for reading in found.readings)
    assert one == pytest.approx(other, abs=1e-5)
    assert (min(one), max(one)) == (0, 1)


def test_random_partitions_tell_apart_what_a_graded_sequence_does_not(
    vectors: EmbeddingSet, sequence: SplitSequence
) -> None:
    noisy = other_encoder(vectors, 1, noise=5.0)
    (found,) = compare_readings([sequence], [vectors, noisy], partitions=100)
    (pair,) = found.pairs
    assert pair.spearman.value == 1
    assert 0 < pair.random.value < 0.95
    assert pair.random.high < 1
    (without,) = compare_readings([sequence], [vectors, noisy])
    assert without.pairs[0].random.value is None


def few(vectors: EmbeddingSet, count: int) -> SplitSequence:
    c = vectors.classes
    halves = [Split(n + 1, None, c[n : n + 8], (), c[n + 8 : n + 12]) for n in range(count)]
    return SplitSequence("toy", tuple(halves))


def test_one_split_two_splits_and_constant_shifts(vectors: EmbeddingSet) -> None:
    both = [vectors, other_encoder(vectors, 1)]
    (one,) = compare_readings([few(vectors, 1)], both, partitions=5)
    assert (one.pairs, one.concordance) == ((), None)
    assert [r.order for r in one.readings] == [None, None]
    assert one.readings[0].normalised is None
    (two,) = compare_readings([few(vectors, 2)], both)
    assert two.pairs[0].spearman.value in (-1, 1)
    assert two.pairs[0].spearman.high - two.pairs[0].spearman.low > 1.9  # they say nothing
    still = replace(vectors, vectors=np.ones_like(vectors.vectors), source="still")
    (found,) = compare_readings([few(vectors, 4)], [vectors, still])
    assert found.readings[1].normalised is None
    assert found.pairs[0].spearman.value is None
    assert found.pairs[0].pearson is None


def test_spans_are_shares_of_the_range_of_both(
    vectors: EmbeddingSet, sequence: SplitSequence
) -> None:
    other = other_encoder(vectors, 1)
    second = oodml.build_splits(other, search="optimal", levels=4)
    found = compare_readings([sequence, second], [vectors, other])
    for name in (vectors.source, other.source):
        shifts = [next(r.shifts for r in a.readings if r.name == name) for a in found]
        low, high = min(map(min, shifts)), max(map(max, shifts))
        reach = [s for s in spans(found) if s.name == name]
        assert [s.sequence for s in reach] == [sequence.digest, second.digest]
        for span, line in zip(reach, shifts, strict=True):
            assert (span.low, span.high) == (min(line), max(line))
            assert span.share == pytest.approx((max(line) - min(line)) / (high - low))


def test_names_are_as_short_as_they_can_be(vectors: EmbeddingSet, sequence: SplitSequence) -> None:
    def names(embeddings, measures):
        (found,) = compare_readings([sequence], embeddings, measures)
        return [r.name for r in found.readings if not r.recorded]

    other = other_encoder(vectors, 1)
    assert names([vectors], ["energy"]) == [vectors.source]
    assert names([vectors], ["energy", "mmd"]) == ["energy", "mmd"]
    assert names([vectors, other], ["energy"]) == [vectors.source, "other-1"]
    assert names([vectors, other], ["energy", "mmd"])[2] == "other-1, energy"
    same = replace(other_encoder(vectors, 2), source="other-1")
    assert len(set(names([other, same], ["energy"]))) == 2
    long = ["file:a/w.safetensors?size=2", "file:b/w.safetensors?size=2"]
    assert list(short_encoders(long).values()) == long


def test_what_cannot_be_compared_is_one_sentence(
    vectors: EmbeddingSet, sequence: SplitSequence
) -> None:
    with pytest.raises(SplitError, match="not in 'toy', such as"):
        compare_readings([sequence], [toy_embeddings(CLASSES - 1)])
    with pytest.raises(SplitError, match="vectors of 'embeddings' were given twice"):
        compare_readings([sequence], [vectors, vectors])
    spec = EncoderSpec("hog", "hog", 12, 32)
    named = [replace(vectors, encoder=spec, source=name) for name in ("one", "two")]
    with pytest.raises(SplitError, match="given twice"):
        compare_readings([sequence], named)
    with pytest.raises(SplitError, match="'mmd' was given twice"):
        compare_readings([sequence], [vectors], ["mmd", "mmd?kernel=rbf"])
    with pytest.raises(SplitError, match="same splits"):
        compare_readings([sequence, sequence], [vectors])
    c = vectors.classes
    lone = SplitSequence("toy", (Split(1, None, c[:4], (), c[4:5]),))
    with pytest.raises(SplitError, match="4 train and 1 test classes"):
        compare_readings([lone], [vectors])


# The command -------------------------------------------------------------------------------------


def call(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["splits", "compare", *map(str, words)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


@pytest.fixture
def files(tmp_path: Path, vectors: EmbeddingSet, sequence: SplitSequence) -> tuple[Path, ...]:
    write_embeddings(tmp_path / "one.emb", vectors)
    write_embeddings(tmp_path / "two.emb", other_encoder(vectors, 1))
    write_sequence(tmp_path / "a.json", sequence)
    write_sequence(tmp_path / "b.json", oodml.build_splits(vectors, levels=4))
    return tuple(tmp_path / name for name in ("a.json", "b.json", "one.emb", "two.emb"))


def test_the_command_prints_writes_and_answers(files: tuple[Path, ...], tmp_path: Path) -> None:
    a, _, one, two = files
    words = (a, "--embeddings", one, "--embeddings", two, "--measure", "energy")
    words += ("--measure", "frechet", "--partitions", 10)
    shown = call(
        *words, "-o", tmp_path / "f.svg", "-o", tmp_path / "f.png", "--csv", tmp_path / "c"
    )
    assert "recorded" not in shown
    assert "of measuring order the 5 splits" in shown
    assert "Over random partitions" in shown
    assert (tmp_path / "f.svg").read_text().startswith("<?xml")
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads(call(*words, "--json"))
    (found,) = record["agreements"]
    assert record["spans"] == []
    assert found["file"] == str(a)
    assert {"one", "other", "spearman", "kendall", "pearson", "random"} == found["pairs"][0].keys()
    rows = list(csv.DictReader((tmp_path / "c").read_text().splitlines()))
    assert [float(row["shift"]) for row in rows] == [
        shift for reading in found["readings"] for shift in reading["shifts"]
    ]
    first, last = (float(rows[at]["normalised"]) for at in (0, 4))
    assert (first, last) == (0, 1)
    assert "Over random" not in call(*words[:-1], 0)


def test_two_files_are_measured_in_the_same_ways(files: tuple[Path, ...], tmp_path: Path) -> None:
    a, b, one, two = files
    words = (a, b, "--embeddings", one, "--embeddings", two, "--partitions", 0)
    shown = call(*words, "-o", tmp_path / "f.pdf")
    assert "a spans more than b under" in shown
    record = json.loads(call(*words, "--json"))
    assert len(record["agreements"]) == 2
    assert len(record["spans"]) == 4


def test_a_data_set_is_embedded_by_every_encoder(tmp_path: Path) -> None:
    data = ("--dataset", "digits", "--encoder", "oodml:hog", "--encoder", "oodml:pixels")
    built = ["splits", "build", *data[:4], "--levels", "4", "-o", str(tmp_path / "d.json")]
    assert CliRunner().invoke(main, built).exit_code == 0
    record = json.loads(call(tmp_path / "d.json", *data, "--partitions", 10, "--json"))
    (found,) = record["agreements"]
    assert [r["name"] for r in found["readings"]] == ["oodml:hog", "oodml:pixels"]
    assert found["readings"][0]["order"] == 1
    shown = call(tmp_path / "d.json", *data[:4], "--partitions", 0)
    assert "1 of 1 ways of measuring" in shown


def test_bad_words_are_one_sentence_and_nothing_is_written(
    files: tuple[Path, ...], tmp_path: Path
) -> None:
    a, b, one, _ = files
    out = ("-o", tmp_path / "f.svg", "--csv", tmp_path / "c.csv")
    assert "given twice" in call(a, "--embeddings", one, "--embeddings", one, *out, code=1)
    assert "nearest" in call(a, "--embeddings", one, "--measure", "frechett", *out, code=1)
    write_embeddings(tmp_path / "few.emb", toy_embeddings(5))
    assert "are not in" in call(a, "--embeddings", tmp_path / "few.emb", *out, code=1)
    assert "one split file or two" in call(a, b, a, "--embeddings", one, *out, code=2)
    assert "Give --embeddings" in call(a, *out, code=2)
    assert "no figure" in call(a, "--embeddings", one, "-o", tmp_path / "f.txt", code=2)
    assert not (tmp_path / "f.svg").exists()
    assert not (tmp_path / "c.csv").exists()


# The figure --------------------------------------------------------------------------------------


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


@pytest.mark.parametrize("encoders", [1, 2, 5])
def test_the_figure_has_a_line_a_reading_and_a_tile_a_pair(
    vectors: EmbeddingSet, sequence: SplitSequence, encoders: int
) -> None:
    others = [other_encoder(vectors, seed) for seed in range(1, encoders + 1)]
    found = compare_readings([sequence], others, ["frechet", "energy"], partitions=5)
    figure = plot_agreement(found, ["toy"])
    lines, square = figure.axes
    readings = found[0].readings
    assert lines.get_title(loc="left") == "toy"
    assert [line.get_label() for line in lines.lines] == [r.name for r in readings]
    for line, reading in zip(lines.lines, readings, strict=True):
        assert line.get_xdata().tolist() == [1, 2, 3, 4, 5]
        assert line.get_ydata().tolist() == list(reading.normalised)
    assert lines.lines[0].get_linewidth() > 2 * lines.lines[1].get_linewidth()  # recorded
    looks = {(x.get_color(), x.get_marker(), str(x.get_linestyle())) for x in lines.lines}
    assert len(looks) == len(readings)
    n = len(readings)
    # A name a row; below the diagonal all pairs, above it those of two measured readings.
    assert len(texts(square)) == n + n * (n - 1) // 2 + (n - 1) * (n - 2) // 2
    assert {r.name for r in readings} <= set(texts(square))
    assert figure_bytes(figure, "svg") == figure_bytes(plot_agreement(found, ["toy"]), "svg")


def test_all_text_of_the_figure_is_on_the_page(
    vectors: EmbeddingSet, sequence: SplitSequence
) -> None:
    name = "an-encoder-with-a-very-long-name-of-its-own"
    others = [vectors, replace(other_encoder(vectors, 1), source=name)]
    for pair in ([sequence], [sequence, oodml.build_splits(vectors, levels=3)]):
        figure = plot_agreement(compare_readings(pair, others, partitions=5), ["one", "two"])
        figure.draw_without_rendering()
        assert len(figure.axes) == 2 * len(pair)
        page = figure.bbox
        for axes in figure.axes:
            box = axes.get_tightbbox()
            assert page.x0 <= box.x0 < box.x1 <= page.x1
            assert page.y0 <= box.y0 < box.y1 <= page.y1
        lines, square = (axes.get_tightbbox() for axes in figure.axes[:2])
        assert lines.x1 < square.x0


def test_a_constant_reading_has_no_line_but_a_name(vectors: EmbeddingSet) -> None:
    still = replace(vectors, vectors=np.ones_like(vectors.vectors), source="still")
    found = compare_readings([few(vectors, 4)], [vectors, still])
    lines, square = plot_agreement(found).axes
    assert len(lines.lines) == 1
    assert {"still", "–"} <= set(texts(square))


def test_one_split_is_drawn_too(vectors: EmbeddingSet) -> None:
    figure = plot_agreement(compare_readings([few(vectors, 1)], [vectors]))
    assert figure_bytes(figure, "svg").startswith(b"<?xml")
