"""`SetMetric`: a score of all embeddings together, which is no mean over queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class SetMetric:
    name: str
    observe: Callable[[Array, Array], Any]
    value: Callable[[Any], Array]
    laws: frozenset[str]
    low: float
    high: float
    higher_is_better: bool = True
    decomposable: ClassVar[bool] = False
