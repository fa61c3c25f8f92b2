"""Score cards -> curves: recall against shift, with intervals, and methods against each other."""

from oodml.curve.build import build_curve, build_curves, curves_of
from oodml.curve.compare import (
    Comparison,
    Difference,
    Place,
    compare_methods,
    compare_results,
    gains,
)
from oodml.curve.curves import REFERENCE, Axis, Curve, View, against, labels, sign_of
from oodml.curve.estimates import Estimate
from oodml.curve.multiple import benjamini_hochberg, holm
from oodml.curve.order import OrderChange
from oodml.curve.results import Results
from oodml.curve.sequences import Spread, across_sequences
from oodml.curve.summaries import ags, retention, slope
from oodml.curve.views import view_results
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
    "Results",
    "Spread",
    "View",
    "across_sequences",
    "against",
    "ags",
    "benjamini_hochberg",
    "build_curve",
    "build_curves",
    "compare_methods",
    "compare_results",
    "curves_of",
    "gains",
    "holm",
    "labels",
    "rank_correlation",
    "retention",
    "sign_of",
    "slope",
    "view_results",
]
