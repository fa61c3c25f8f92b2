"""How will an embedding do on classes it never saw, and how does that change with their distance?

    data     = oodml.load_data("glyphs")
    vectors  = oodml.embed_data(data, "oodml:hog")
    sequence = oodml.build_splits(vectors, levels=9)
    cards    = oodml.run_methods(vectors, sequence, methods=["frozen", "multisimilarity"])
    curve    = oodml.build_curve([card for card in cards if card.method == "multisimilarity"])

Everything is loaded when it is first used: importing oodml loads neither torch nor scikit-learn nor
matplotlib.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oodml.curve import Curve, ags, build_curve, build_curves
    from oodml.data import Dataset, load_data
    from oodml.data.fetch import fetch_data
    from oodml.embed import (
        EmbeddingSet,
        embed_data,
        open_encoder,
        read_embeddings,
        write_embeddings,
    )
    from oodml.errors import OodmlError
    from oodml.metrics import evaluate
    from oodml.score import ScoreCard, score_split
    from oodml.split import (
        Split,
        SplitSequence,
        build_splits,
        import_official,
        read_sequence,
        write_sequence,
    )
    from oodml.split.images import subset
    from oodml.sweep import RunSpec, read_cards, run_methods

_HOMES = {
    "curve": ("Curve", "ags", "build_curve", "build_curves"),
    "data": ("Dataset", "load_data"),
    "data.fetch": ("fetch_data",),
    "embed": ("EmbeddingSet", "embed_data", "open_encoder", "read_embeddings", "write_embeddings"),
    "errors": ("OodmlError",),
    "metrics": ("evaluate",),
    "score": ("ScoreCard", "score_split"),
    "split": (
        "Split",
        "SplitSequence",
        "build_splits",
        "import_official",
        "read_sequence",
        "write_sequence",
    ),
    "split.images": ("subset",),
    "sweep": ("RunSpec", "read_cards", "run_methods"),
}
_LAYERS = (
    "curve",
    "data",
    "embed",
    "methods",
    "metrics",
    "plot",
    "registry",
    "report",
    "score",
    "shift",
    "split",
    "sweep",
)

__version__ = "0.1.0"
__all__ = [
    "Curve",
    "Dataset",
    "EmbeddingSet",
    "OodmlError",
    "RunSpec",
    "ScoreCard",
    "Split",
    "SplitSequence",
    "ags",
    "build_curve",
    "build_curves",
    "build_splits",
    "embed_data",
    "evaluate",
    "fetch_data",
    "import_official",
    "load_data",
    "open_encoder",
    "read_cards",
    "read_embeddings",
    "read_sequence",
    "run_methods",
    "score_split",
    "subset",
    "write_embeddings",
    "write_sequence",
]


def __getattr__(name: str) -> Any:
    if name in _LAYERS:
        return importlib.import_module(f"oodml.{name}")
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"oodml.{home}"), name)
    raise AttributeError(f"module 'oodml' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_LAYERS})
