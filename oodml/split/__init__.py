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
from oodml.split.calibration import Calibration
from oodml.split.chance import calibrate
from oodml.split.episodes import EpisodeRecipe, PublishedEpisode, require_images
from oodml.split.inspect import (
    SplitRow,
    describe,
    measure_shifts,
    problems,
)
from oodml.split.official import import_official
from oodml.split.parts import Part
from oodml.split.sequence import (
    Control,
    Split,
    SplitSequence,
    read_sequence,
    require_classes,
    shifts_comparable,
    write_sequence,
)

__all__ = [
    "SEARCHES",
    "Agreement",
    "Calibration",
    "Control",
    "EpisodeRecipe",
    "Pair",
    "Part",
    "PublishedEpisode",
    "Reading",
    "Span",
    "Split",
    "SplitRow",
    "SplitSequence",
    "build_splits",
    "calibrate",
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
