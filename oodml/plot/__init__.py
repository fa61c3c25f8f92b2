"""Figures from values; nothing here shows or saves by itself."""

from oodml.plot.agreement import plot_agreement
from oodml.plot.curves import AXES, metric_label, plot_curves, value_label
from oodml.plot.ranking import plot_ranking
from oodml.plot.sequences import plot_sequences
from oodml.plot.sheet import both_sides, plot_sheet, some_classes, whole_classes
from oodml.plot.sides import plot_sides
from oodml.plot.style import figure_bytes

__all__ = [
    "AXES",
    "both_sides",
    "figure_bytes",
    "metric_label",
    "plot_agreement",
    "plot_curves",
    "plot_ranking",
    "plot_sequences",
    "plot_sheet",
    "plot_sides",
    "some_classes",
    "value_label",
    "whole_classes",
]
