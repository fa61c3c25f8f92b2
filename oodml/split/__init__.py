"""Splitting classes into train and test sides of graded distance."""

from oodml.split.build import SEARCHES, build_splits, make_problem, solve_problem
from oodml.split.episodes import EpisodeRecipe, PublishedEpisode, require_images
from oodml.split.inspect import (
    SplitRow,
    describe,
    measure_shifts,
    problems,
    require_classes,
    shifts_comparable,
)
from oodml.split.official import import_official
from oodml.split.sequence import Split, SplitSequence, read_sequence, write_sequence

__all__ = [
    "SEARCHES",
    "EpisodeRecipe",
    "PublishedEpisode",
    "Split",
    "SplitRow",
    "SplitSequence",
    "build_splits",
    "describe",
    "import_official",
    "make_problem",
    "measure_shifts",
    "problems",
    "read_sequence",
    "require_classes",
    "require_images",
    "shifts_comparable",
    "solve_problem",
    "write_sequence",
]
