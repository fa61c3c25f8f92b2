"""Score cards -> curves: recall against shift, with intervals and one aggregated score."""

from oodml.curve.area import ags
from oodml.curve.build import build_curve, build_curves
from oodml.curve.compare import gains
from oodml.curve.curves import REFERENCE, Axis, Curve, against, labels
from oodml.shift import rank_correlation

__all__ = [
    "REFERENCE",
    "Axis",
    "Curve",
    "against",
    "ags",
    "build_curve",
    "build_curves",
    "gains",
    "labels",
    "rank_correlation",
]
