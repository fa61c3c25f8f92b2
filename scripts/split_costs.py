"""Measure what splits cost as classes grow, and print the table of docs/splits.md.

python scripts/split_costs.py [CLASSES ...] [--dimension 2048] [--no-optimal]

Each number of classes (default 200, 2000, 22634) runs in a process of its own, on made-up class
means: one float32 vector a class, in a memory-mapped file in the temporary folder (TMPDIR).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from oodml.embed import EmbeddingSet
from oodml.split import build_splits, calibrate
from oodml.split.build import make_problem
from oodml.split.paper import walk_harder

STEPS, SHARE = 20, 1000 / 22634  # the paper's 1,000 swaps a step for Stanford Online Products
ROWS = 4096
COLUMNS = {
    "classes": "classes",
    "prepare": "set-up",
    "anew": "one distance",
    "again": "after a step of swaps",
    "paper": f"paper's search, {STEPS} steps",
    "optimal": "`optimal`, 9 levels",
    "calibrate": "its calibration and controls",
    "memory": "peak memory",
}


def made_embeddings(classes: int, d: int) -> EmbeddingSet:
    """Vectors around twelve superclasses, of power-law spread, one a class, in a mapped file."""
    rng = np.random.default_rng(0)
    spread = np.arange(1, d + 1, dtype=np.float32) ** -0.6
    centres = rng.standard_normal((12, d), dtype=np.float32) * spread
    with tempfile.TemporaryFile() as file:
        vectors = np.memmap(file, dtype=np.float32, mode="w+", shape=(classes, d))
    for start in range(0, classes, ROWS):
        rows = min(ROWS, classes - start)
        noise = rng.standard_normal((rows, d), dtype=np.float32) * spread
        vectors[start : start + rows] = noise + centres[rng.integers(12, size=rows)]
    names = tuple(f"{row:06}" for row in range(classes))
    return EmbeddingSet("made", names, np.arange(classes), names, vectors, "made")


def measured(call: Callable[[], Any]) -> tuple[float, Any]:
    start, used = time.perf_counter(), time.process_time()
    result = call()
    seconds, used = time.perf_counter() - start, time.process_time() - used
    print(f"{seconds:.2f} s, of all cores together {used:.2f} s:", file=sys.stderr, flush=True)
    return seconds, result


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def costs(classes: int, d: int, *, optimal: bool) -> Iterator[tuple[str, float | str]]:
    """Seconds of each part, as they come, and at last the peak memory beyond the imports."""
    base = peak_bytes()
    embeddings = made_embeddings(classes, d)
    yield "classes", classes
    seconds, problem = measured(lambda: make_problem(embeddings))
    yield "prepare", seconds
    seconds, start = measured(lambda: problem.candidate(problem.start))
    yield "anew", seconds
    swaps = max(1, round(SHARE * classes))
    seconds, states = measured(lambda: walk_harder(problem, swaps, STEPS))
    yield "paper", seconds
    yield "paper shift", f"{start.shift:.4g} to {max(state.shift for state in states):.4g}"
    now = states[-1].sides
    pairs = list(zip(now.train[:swaps].tolist(), now.test[:swaps].tolist(), strict=True))
    yield "again", measured(lambda: problem.candidate(now.swapped(pairs)))[0]
    if optimal:
        del problem, states
        seconds, sequence = measured(
            lambda: build_splits(embeddings, search="optimal", partitions=0, controls=0)
        )
        yield "optimal", seconds
        found = sequence.options["found"]
        worst = max(map(abs, found["error"])) / found["step"]
        shifts = " to ".join(f"{end:.4g}" for end in found["range"])
        yield "optimal shift", f"{shifts}, {found['distances']} distances, {worst:.4f} steps off"
        yield "calibrate", measured(lambda: calibrate(sequence, embeddings))[0]
    yield "memory", (peak_bytes() - base) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("classes", nargs="*", type=int, default=[200, 2000, 22634])
    parser.add_argument("--dimension", type=int, default=2048)
    parser.add_argument("--no-optimal", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        for name, value in costs(given.classes[0], given.dimension, optimal=not given.no_optimal):
            print(json.dumps([name, value]), flush=True)
        return
    table = [list(COLUMNS.values()), ["---:"] * len(COLUMNS)]
    for classes in given.classes:
        record = run(classes, given)
        table.append([_cell(name, record.get(name)) for name in COLUMNS])
    for row in table:
        print("| " + " | ".join(row) + " |")


def run(classes: int, given: argparse.Namespace) -> dict[str, Any]:
    """What a process of its own measures; each number is shown on stderr as it comes."""
    command = [sys.executable, __file__, str(classes), "--child"]
    command += ["--dimension", str(given.dimension)] + ["--no-optimal"] * given.no_optimal
    record: dict[str, Any] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout or ():
            name, value = json.loads(line)
            record[name] = value
            print(f"{classes:,} classes: {name} {value}", file=sys.stderr)
    if child.returncode:
        raise SystemExit(f"Measuring {classes} classes failed; see above.")
    return record


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if name == "classes":
        return f"{value:,}"
    return (
        f"{value:,.0f} MB"
        if name == "memory"
        else f"{value:.2g} s"
        if value < 10
        else f"{value:,.0f} s"
    )


if __name__ == "__main__":
    main()
