"""The whole path of the data on the built-in glyphs: splits, training, curve, figure, page."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from oodml.curve import (
    Comparison,
    Curve,
    compare_results,
    curves_of,
    gains,
    rank_correlation,
    view_results,
)
from oodml.data import load_data
from oodml.embed import embed_data
from oodml.plot import figure_bytes, plot_curves
from oodml.report import build_page
from oodml.score import ScoreCard
from oodml.split import SplitSequence, build_splits, describe, write_sequence
from oodml.store import write_bytes, write_text
from oodml.sweep import RunStore, Sweep, make_executor, run_sweep

Update = Callable[[int, int], None]
Stage = Callable[[str], AbstractContextManager[Update]]

ENCODER = "oodml:hog"
TRAINED = "multisimilarity?dim=128"
LEVELS = 6
SEEDS = 3


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo found: the sequence, the curves, and how training pays with growing shift."""

    sequence: SplitSequence
    curves: tuple[Curve, ...]
    comparison: Comparison
    gain: tuple[float, ...]
    gain_with_shift: float | None

    def to_json(self) -> dict[str, Any]:
        return {
            "dataset": self.sequence.dataset,
            "encoder": ENCODER,
            "sequence": self.sequence.digest,
            "splits": [asdict(row) for row in describe(self.sequence)],
            "curves": [curve.to_json() for curve in self.curves],
            "comparison": self.comparison.to_json(),
            "gain": list(self.gain),
            "gain_with_shift": self.gain_with_shift,
        }


def run_demo(folder: Path, stage: Stage) -> Demo:
    """Everything on glyphs, written into `folder`; runs that are there already are not repeated.

    `stage(name)` opens a progress display for one part of the work.
    """
    data = load_data("glyphs")
    with stage("Embedding") as update:
        vectors = embed_data(data, ENCODER, progress=update)
    with stage("Building splits"):
        sequence = build_splits(vectors, levels=LEVELS)
    write_sequence(folder / "glyphs.json", sequence)
    sweep = Sweep(("frozen", TRAINED), tuple(range(SEEDS)))
    with stage("Training and scoring") as update:
        cards = run_sweep(
            vectors,
            sequence,
            sweep,
            RunStore(folder / "runs"),
            executor=lambda: make_executor("local"),
            progress=update,
        )
    demo = summarise(sequence, cards)
    _write(folder, demo)
    return demo


def summarise(sequence: SplitSequence, cards: list[ScoreCard]) -> Demo:
    """Curves of all methods, and what training gains at each split over the frozen encoder."""
    results = view_results(cards, "recall@1")
    shift, gain = gains(cards, TRAINED)
    return Demo(
        sequence,
        tuple(curves_of(results)),
        compare_results(results),
        tuple(gain.tolist()),
        rank_correlation(shift, gain),
    )


def _write(folder: Path, demo: Demo) -> None:
    figure = plot_curves(demo.curves, title="glyphs")
    svg = figure_bytes(figure, "svg")
    write_bytes(folder / "curve.svg", svg)
    write_bytes(folder / "curve.png", figure_bytes(figure, "png"))
    rows = [asdict(row) | {"n_train": row.n_train + row.n_val} for row in describe(demo.sequence)]
    page = build_page(
        demo.curves,
        demo.comparison,
        title="Generalisation curve of glyphs",
        summary={
            "Data": f"glyphs: {len(demo.sequence.classes)} characters in 16 typefaces",
            "Encoder": f"{ENCODER}, orientation histograms",
            "Gain of training against shift": _gain_text(demo),
        },
        svg=svg.decode(),
        splits=rows,
        commands=COMMANDS,
    )
    write_text(folder / "report.html", page)
    numbers = json.dumps(demo.to_json(), indent=1, sort_keys=True, allow_nan=False)
    write_text(folder / "demo.json", numbers + "\n")


def _gain_text(demo: Demo) -> str:
    if demo.gain_with_shift is None:
        return "the same at every split"
    first, last = demo.gain[0], demo.gain[-1]
    return (
        f"{first:+.3f} at the first split, {last:+.3f} at the last; "
        f"rank correlation with shift {demo.gain_with_shift:+.2f}"
    )


COMMANDS = (
    f"oodml embed glyphs --encoder {ENCODER} -o glyphs.emb",
    f"oodml splits build --embeddings glyphs.emb --levels {LEVELS} -o glyphs.json",
    (
        "oodml run --embeddings glyphs.emb --splits glyphs.json --method frozen "
        f"--method '{TRAINED}' --seeds {SEEDS} -o runs"
    ),
    "oodml curve runs -o curve.svg -o curve.png",
)
