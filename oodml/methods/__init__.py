"""What trains an encoder on the train side of a split."""

from oodml.errors import UnknownNameError
from oodml.methods.frozen import Frozen
from oodml.methods.heads import read_head, write_head
from oodml.methods.margins import Margin, RMargin
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
from oodml.methods.pairs import Contrastive, Histogram, NPair, Semihard, Triplet
from oodml.methods.proxies import ArcFace, ProtoNet, ProxyAnchor, Softmax
from oodml.registry import Name, Registry

METHODS: Registry[type[Method]] = Registry(
    "methods",
    {
        "arcface": ArcFace,
        "contrastive": Contrastive,
        "frozen": Frozen,
        "histogram": Histogram,
        "margin": Margin,
        "multisimilarity": MultiSimilarity,
        "npair": NPair,
        "protonet": ProtoNet,
        "proxyanchor": ProxyAnchor,
        "rmargin": RMargin,
        "semihard": Semihard,
        "softmax": Softmax,
        "triplet": Triplet,
    },
)


def find_method(name: str) -> Method:
    """The method of a name such as `frozen` or `multisimilarity?dim=128&lr=0.003`."""
    parsed = Name.parse(name)
    method = make_method(METHODS[parsed.key], parsed)
    if method.name != parsed.key:  # it is known by its own name in runs and cards
        raise UnknownNameError(
            f"The method {parsed.key!r} of a plug-in has the name {method.name!r}; expected the "
            "name that it is registered by."
        )
    return method


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
