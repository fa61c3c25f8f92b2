"""Many tests at once: p values adjusted so that a whole family keeps its error rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, Any]
Correction = Literal["holm", "benjamini-hochberg"]


def holm(p: Sequence[float] | Array) -> Array:
    """P values (m,) adjusted by Holm's step-down rule: the chance of any false finding.

    Sorted, p_(i) becomes max_{j <= i} (m - j + 1) p_(j), at most 1 (Holm 1979). Holds whatever the
    dependence between the tests.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values, order = _sorted(p)
    stepped = np.maximum.accumulate(values * np.arange(len(values), 0, -1))
    return _placed(stepped, order)


def benjamini_hochberg(p: Sequence[float] | Array) -> Array:
    """P values (m,) adjusted for the false discovery rate: the expected share of false findings.

    Sorted, p_(i) becomes min_{j >= i} m p_(j) / j, at most 1 (Benjamini & Hochberg 1995). Holds for
    tests that are independent, or positively dependent as comparisons on shared classes are.

    >>> benjamini_hochberg([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.04, 0.04]
    """
    values, order = _sorted(p)
    scaled = values * len(values) / np.arange(1, len(values) + 1)
    return _placed(np.minimum.accumulate(scaled[::-1])[::-1], order)


def adjusted(p: Sequence[float] | Array, correction: Correction) -> Array:
    """P values (m,) under one of the corrections."""
    return holm(p) if correction == "holm" else benjamini_hochberg(p)


def _sorted(p: Sequence[float] | Array) -> tuple[Array, Array]:
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"Expected p values from 0 to 1 in one row; got {values}.")
    order = np.argsort(values, kind="stable")
    return values[order], order


def _placed(values: Array, order: Array) -> Array:
    placed = np.empty_like(values)
    placed[order] = np.minimum(values, 1.0)
    return placed
