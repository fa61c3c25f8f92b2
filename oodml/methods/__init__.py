"""What trains an encoder on the train side of a split."""

from oodml.methods.frozen import Frozen
from oodml.methods.heads import read_head, write_head
from oodml.methods.method import (
    Budget,
    FeatureEncoder,
    FitContext,
    Method,
    Trained,
    make_method,
    parameters,
)
from oodml.methods.multisimilarity import MultiSimilarity
from oodml.registry import Name, Registry

METHODS: Registry[type[Method]] = Registry(
    "methods", {"frozen": Frozen, "multisimilarity": MultiSimilarity}
)


def find_method(name: str) -> Method:
    """The method of a name such as `frozen` or `multisimilarity?dim=128&lr=0.003`."""
    parsed = Name.parse(name)
    return make_method(METHODS[parsed.key], parsed)


__all__ = [
    "METHODS",
    "Budget",
    "FeatureEncoder",
    "FitContext",
    "Method",
    "Trained",
    "find_method",
    "make_method",
    "parameters",
    "read_head",
    "write_head",
]
