"""The methods that have a name."""

from oodml.methods.frozen import Frozen
from oodml.methods.method import Method
from oodml.methods.multisimilarity import MultiSimilarity
from oodml.registry import Registry

METHODS: Registry[type[Method]] = Registry(
    "methods", {"frozen": Frozen, "multisimilarity": MultiSimilarity}
)
