"""Splitting classes into train and test sides of graded distance."""

from oodml.split.build import SEARCHES, build_splits
from oodml.split.inspect import SplitRow, describe, measure_shifts, problems, require_classes
from oodml.split.official import import_official
from oodml.split.sequence import Split, SplitSequence, read_sequence, write_sequence

__all__ = [
    "SEARCHES",
    "Split",
    "SplitRow",
    "SplitSequence",
    "build_splits",
    "describe",
    "import_official",
    "measure_shifts",
    "problems",
    "read_sequence",
    "require_classes",
    "write_sequence",
]
