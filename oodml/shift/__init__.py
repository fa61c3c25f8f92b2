"""How far apart two sets of classes are."""

from oodml.registry import Registry
from oodml.shift.frechet import FRECHET
from oodml.shift.measure import Distance, Laws, Measure
from oodml.shift.moments import ClassMoments, class_moments

MEASURES: Registry[Measure] = Registry("measures", {"frechet": FRECHET})

__all__ = ["MEASURES", "ClassMoments", "Distance", "Laws", "Measure", "class_moments"]
