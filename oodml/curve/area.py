"""AGS, the aggregated generalisation score: the area under a curve of recall against shift."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Numbers = Sequence[float] | np.ndarray[Any, Any]


def ags(shift: Numbers, recall: Numbers) -> float:
    """The mean of `recall` (K,) over the range of `shift` (K,), joined by straight lines.

    x = (shift - min) / (max - min);  AGS = sum_k (x_{k+1} - x_k) (recall_k + recall_{k+1}) / 2.
    The recall is not normalised: AGS of a constant is that constant. A split weighs as much as
    it is far from its neighbours, and only the observed range counts: AGS compares methods on one
    sequence, nothing else. (Milbich et al. 2021, figure 4.)

    >>> ags([10, 20, 50], [0.8, 0.6, 0.4])
    0.55
    """
    x, y = np.asarray(shift, dtype=np.float64), np.asarray(recall, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"Expected one recall for each shift; shapes are {y.shape} and {x.shape}.")
    if len(x) < 2:
        raise ValueError(f"An area needs at least 2 points; there are {len(x)}.")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError(f"Expected finite numbers; shift is {x}, recall is {y}.")
    if (np.diff(x) <= 0).any():
        raise ValueError(f"Expected a shift that grows from split to split; it is {x}.")
    return float(areas(x, y))


def areas(shift: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """AGS of every row of `values` (..., K) over one growing `shift` (K,); shape (...)."""
    x = (shift - shift[0]) / (shift[-1] - shift[0])
    return np.asarray(np.trapezoid(values, x, axis=-1))
