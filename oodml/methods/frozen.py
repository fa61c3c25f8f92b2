"""`frozen`: the encoder as it is, the line that every trained one is drawn beside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from oodml.methods.heads import Identity, vectors_spec
from oodml.methods.method import FitContext, Needs, Trained


@dataclass(frozen=True, slots=True)
class Frozen:
    """Trains nothing; deterministic, so it runs once and has no seed."""

    name: ClassVar[str] = "frozen"
    version: ClassVar[int] = 1
    needs: ClassVar[Needs] = "features"
    seeded: ClassVar[bool] = False

    def fit(self, context: FitContext) -> Trained:
        return Trained(Identity(vectors_spec(context.train.vectors.shape[1])))
