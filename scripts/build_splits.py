"""Build the sequences in splits/: glyphs and digits under every search.

python scripts/build_splits.py [NAME ...]      all, or those whose file name contains a NAME
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import oodml
from oodml.embed import EmbeddingSet
from oodml.split import SplitSequence, describe

FOLDER = Path(__file__).resolve().parent.parent / "splits"
ENCODERS = {"glyphs": "oodml:hog", "digits": "oodml:hog"}
TEST_SETS = 3


def build_all(dataset: str, vectors: EmbeddingSet, wanted: list[str]) -> None:
    plans = {f"{dataset}-{search}.json": (search, 0) for search in ("ooDML", "optimal")}
    plans |= {
        f"{dataset}-fixed-test-{seed}.json": ("fixed-test", seed) for seed in range(TEST_SETS)
    }
    for name, (search, seed) in plans.items():
        if wanted and not any(part in name for part in wanted):
            continue
        start = time.perf_counter()
        sequence = oodml.build_splits(vectors, search=search, seed=seed)
        oodml.write_sequence(FOLDER / name, sequence)
        report(name, sequence, time.perf_counter() - start)


def report(name: str, sequence: SplitSequence, seconds: float) -> None:
    rows = describe(sequence)
    shifts = " ".join(f"{row.shift:.4g}" for row in rows)
    print(f"{name}: {len(rows)} splits, {sequence.digest[:12]}, {seconds:.1f} s, shift {shifts}")


if __name__ == "__main__":
    for dataset, encoder in ENCODERS.items():
        vectors = oodml.embed_data(oodml.load_data(dataset), encoder)
        build_all(dataset, vectors, sys.argv[1:])
