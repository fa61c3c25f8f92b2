"""What trains an encoder on the train side of a split."""

from oodml.methods.heads import read_head, write_head
from oodml.methods.lossmethod import LossMethod
from oodml.methods.method import (
    TRAINING,
    Budget,
    Course,
    FeatureEncoder,
    FitContext,
    Method,
    Tracker,
    Trained,
    parameters,
)
from oodml.methods.named import (
    base_of,
    defaults_of,
    find_method,
    method_kind,
    preset_in,
    with_preset,
)
from oodml.methods.presets import budget_of, find_preset, preset_names, preset_of
from oodml.methods.registered import METHODS

__all__ = [
    "METHODS",
    "TRAINING",
    "Budget",
    "Course",
    "FeatureEncoder",
    "FitContext",
    "LossMethod",
    "Method",
    "Tracker",
    "Trained",
    "base_of",
    "budget_of",
    "defaults_of",
    "find_method",
    "find_preset",
    "method_kind",
    "parameters",
    "preset_in",
    "preset_names",
    "preset_of",
    "read_head",
    "with_preset",
    "write_head",
]
