"""Queries and gallery: where a data set keeps them apart, and where that can be kept to."""

from __future__ import annotations

from typing import Any

import numpy as np

from oodml.embed import EmbeddingSet
from oodml.split import SplitSequence


def uses_roles(embeddings: EmbeddingSet, sequence: SplitSequence | None = None) -> bool:
    """Whether queries are looked for in the gallery alone.

    Without splits wherever there are queries and a gallery: the published protocol, which leaves
    train images out. With splits only where no test class of any of them, or of their controls,
    holds a train image: otherwise some splits would be scored in one way and some in the other, and
    their curve would show the difference.
    """
    roles = np.array(embeddings.roles or ())
    if not {"query", "gallery"} <= {*roles.tolist()}:
        return False
    if sequence is None:
        return True
    trained = {embeddings.classes[at] for at in np.unique(embeddings.labels[roles == "train"])}
    return trained.isdisjoint(_test_classes(sequence))


def _test_classes(sequence: SplitSequence) -> set[str]:
    names = {name for split in sequence.splits for name in split.test}
    controls = (control for split in sequence.splits for control in split.controls)
    return names.union(*(control.test for control in controls))


def role_masks(embeddings: EmbeddingSet) -> dict[str, np.ndarray[Any, Any]]:
    """Which images ask and which are found, `(n,)` each; train images do neither."""
    roles = np.array(embeddings.roles)
    return {"queries": roles == "query", "gallery": roles == "gallery"}


def describe_roles(*, used: bool) -> str:
    """One sentence for people on what was compared with what."""
    if used:
        return "Queries are looked for in the gallery; images to train on are left out."
    return "The roles of images are not used: every image is query and gallery."
