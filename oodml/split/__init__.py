"""Splitting classes into train and test sides of graded distance."""

from oodml.split.agreement import (
    Agreement,
    Pair,
    Reading,
    Span,
    compare_readings,
    short_encoders,
    spans,
)
from oodml.split.build import SEARCHES, build_splits
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
    "Agreement",
    "EpisodeRecipe",
    "Pair",
    "PublishedEpisode",
    "Reading",
    "Span",
    "Split",
    "SplitRow",
    "SplitSequence",
    "build_splits",
    "compare_readings",
    "describe",
    "import_official",
    "measure_shifts",
    "problems",
    "read_sequence",
    "require_classes",
    "require_images",
    "shifts_comparable",
    "short_encoders",
    "spans",
    "write_sequence",
]
