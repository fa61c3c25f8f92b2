"""How far apart two sets of classes are."""

from oodml.errors import UnknownNameError
from oodml.registry import Name, Registry
from oodml.shift.correlation import (
    Concordance,
    Correlation,
    concordance,
    kendall,
    pearson,
    rank_correlation,
    spearman,
)
from oodml.shift.energy import ENERGY
from oodml.shift.frechet import FRECHET
from oodml.shift.frechet_pca import FRECHET_PCA
from oodml.shift.frechet_samples import FRECHET_SAMPLES
from oodml.shift.measure import Distance, Laws, Measure
from oodml.shift.mmd import MMD
from oodml.shift.moments import ClassMoments, class_moments
from oodml.shift.sample_moments import SampleMoments
from oodml.shift.sliced_wasserstein import SLICED_WASSERSTEIN
from oodml.shift.transport import TRANSPORT

MEASURES: Registry[Measure] = Registry(
    "measures",
    {
        "frechet": FRECHET,
        "frechet-samples": FRECHET_SAMPLES,
        "frechet-pca": FRECHET_PCA,
        "transport": TRANSPORT,
        "sliced-wasserstein": SLICED_WASSERSTEIN,
        "mmd": MMD,
        "energy": ENERGY,
    },
)


def find_measure(name: str) -> Measure:
    """The measure of a name: `frechet`, `mmd?kernel=polynomial`, `frechet-pca?components=16`.

    Its own name keeps only the parameters that differ from the defaults.
    """
    parsed = Name.parse(name)
    if parsed.argument:
        raise UnknownNameError(f"{name!r} is no measure; expected KEY[?PARAM=VALUE&...].")
    measure = MEASURES[parsed.key]
    values = parsed.resolve(measure.parameters)
    return measure.variant(**values) if measure.variant else measure


__all__ = [
    "MEASURES",
    "ClassMoments",
    "Concordance",
    "Correlation",
    "Distance",
    "Laws",
    "Measure",
    "SampleMoments",
    "class_moments",
    "concordance",
    "find_measure",
    "kendall",
    "pearson",
    "rank_correlation",
    "spearman",
]
