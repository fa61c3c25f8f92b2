"""Score cards -> curves: recall against shift, with intervals, and methods against each other."""

from oodml.curve.build import build_curve, build_curves
from oodml.curve.compare import Comparison, Difference, Place, compare_methods, gains
from oodml.curve.curves import REFERENCE, Axis, Curve, View, against, labels
from oodml.curve.estimates import Estimate
from oodml.curve.multiple import benjamini_hochberg, holm
from oodml.curve.order import OrderChange
from oodml.curve.sequences import Spread, across_sequences
from oodml.curve.summaries import ags, retention, slope
from oodml.shift import rank_correlation

__all__ = [
    "REFERENCE",
    "Axis",
    "Comparison",
    "Curve",
    "Difference",
    "Estimate",
    "OrderChange",
    "Place",
    "Spread",
    "View",
    "across_sequences",
    "against",
    "ags",
    "benjamini_hochberg",
    "build_curve",
    "build_curves",
    "compare_methods",
    "gains",
    "holm",
    "labels",
    "rank_correlation",
    "retention",
    "slope",
]
