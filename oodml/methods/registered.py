"""The methods that have a name."""

from oodml.methods.frozen import Frozen
from oodml.methods.margins import Margin, RMargin
from oodml.methods.method import Method
from oodml.methods.multisimilarity import MultiSimilarity
from oodml.methods.pairs import Contrastive, Histogram, NPair, Semihard, Triplet
from oodml.methods.proxies import ArcFace, ProtoNet, ProxyAnchor, Softmax
from oodml.registry import Registry

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
