"""Figures from values; nothing here shows or saves by itself."""

from oodml.plot.agreement import plot_agreement
from oodml.plot.curves import AXES, metric_label, plot_curves
from oodml.plot.sides import plot_sides
from oodml.plot.style import figure_bytes

__all__ = ["AXES", "figure_bytes", "metric_label", "plot_agreement", "plot_curves", "plot_sides"]
