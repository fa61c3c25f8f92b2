"""What a curve comes to in one number: its mean height, its slope, what is left at its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Numbers = Sequence[float] | Array


def ags(shift: Numbers, recall: Numbers) -> float:
    """AGS, the aggregated generalisation score: the mean of `recall` (K,) over the shift (K,).

    x = (shift - min) / (max - min);  AGS = sum_k (x_{k+1} - x_k) (recall_k + recall_{k+1}) / 2.
    The recall is not normalised: AGS of a constant is that constant. A split weighs as much as
    it is far from its neighbours, and only the observed range counts: AGS compares methods on one
    sequence, nothing else. (Milbich et al. 2021, figure 4.) Raises `ValueError` where a number is
    missing: there is no AGS of a part of a curve.

    >>> ags([10, 20, 50], [0.8, 0.6, 0.4])
    0.55
    """
    return float(areas(*_checked(shift, recall)))


def slope(shift: Numbers, recall: Numbers) -> float:
    """The slope of the least-squares line of `recall` (K,) over x in [0, 1], scaled as for `ags`.

    That is the change from the nearest split to the farthest along that line, in units of recall.

    >>> round(slope([10, 20, 50], [0.8, 0.6, 0.4]), 3)
    -0.369
    """
    return float(slopes(*_checked(shift, recall)))


def retention(recall: Numbers, chance: Numbers) -> float:
    """What is left of the first split's `recall` (K,) at the last one, both above chance (K,).

    (recall_K - chance_K) / (recall_1 - chance_1). 1 is no loss at all. Raises `ValueError` where
    the first split is not above chance, as then there is nothing to retain.

    >>> round(retention([0.8, 0.6, 0.4], [0.0, 0.05, 0.1]), 3)
    0.375
    """
    y, floor = (np.asarray(row, dtype=np.float64) for row in (recall, chance))
    if y.shape != floor.shape or y.ndim != 1 or len(y) < 2:
        raise ValueError(f"Expected one chance for each recall; shapes {floor.shape}, {y.shape}.")
    if not y[0] > floor[0]:
        raise ValueError(f"The first recall, {y[0]}, is not above chance, {floor[0]}.")
    return float(retentions(y, floor))


def areas(shift: Array, values: Array) -> Array:
    """AGS of every row of `values` (..., K) over one growing `shift` (K,); shape (...)."""
    return np.asarray(np.trapezoid(values, scaled(shift), axis=-1))


def slopes(shift: Array, values: Array) -> Array:
    """`slope` of every row of `values` (..., K) over one growing `shift` (K,); shape (...)."""
    x = scaled(shift)
    x = x - x.mean()
    return np.asarray(values @ (x / (x @ x)))


def retentions(values: Array, chance: Array) -> Array:
    """`retention` of every row of `values` (..., K); NaN where the first is not above chance."""
    first, last = (values[..., at] - chance[at] for at in (0, -1))
    nothing = np.full_like(first, np.nan)
    return np.asarray(np.divide(last, first, out=nothing, where=first > 0))


def scaled(shift: Array) -> Array:
    """A growing shift (K,) from 0 to 1."""
    return np.asarray((shift - shift[0]) / (shift[-1] - shift[0]))


def _checked(shift: Numbers, recall: Numbers) -> tuple[Array, Array]:
    x, y = np.asarray(shift, dtype=np.float64), np.asarray(recall, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"Expected one recall for each shift; shapes are {y.shape} and {x.shape}.")
    if len(x) < 2:
        raise ValueError(f"An area needs at least 2 points; there are {len(x)}.")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError(f"Expected finite numbers; shift is {x}, recall is {y}.")
    if (np.diff(x) <= 0).any():
        raise ValueError(f"Expected a shift that grows from split to split; it is {x}.")
    return x, y
