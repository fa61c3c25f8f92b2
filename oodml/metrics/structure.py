"""Metrics of a whole set of vectors, which no query has a share in: clustering and geometry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from oodml.errors import UnknownNameError

T = TypeVar("T")
Vectors = NDArray[np.float32]  # (n, d)
Groups = NDArray[np.int64]  # (n,), class numbers 0..c-1, each of them present


@dataclass(frozen=True, slots=True)
class SetMetric(Generic[T]):
    """A score of a whole set of vectors.

    `observe(vectors, groups)` is the work, the same object for metrics that share it, and `value`
    makes (s,) numbers of what it gives: one for each seed of a start that is drawn, else just one.
    The metric is their mean, and their standard deviation is its spread over seeds. `laws` names
    the laws that hold, which the test suite checks. `higher_is_better` says which way a tighter
    or more even embedding moves it; a metric of which neither way is better has False.
    """

    name: str
    observe: Callable[[Vectors, Groups], T]
    value: Callable[[T], NDArray[np.float64]]
    laws: frozenset[str]
    low: float
    high: float
    higher_is_better: bool
    decomposable: bool = False


def parameters_of(factory: Callable[..., Any]) -> dict[str, Any]:
    """The parameters that a metric's name may carry: the factory's keywords and their defaults.

    `factory(name.argument, **name.resolve(parameters_of(factory)))` is the metric of a `Name`.
    """
    keywords = [at for at in signature(factory).parameters.values() if at.kind is at.KEYWORD_ONLY]
    return {at.name: at.default for at in keywords}


def spelling(key: str, argument: str, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """The one name of a metric that takes parameters only: those that differ from the defaults."""
    if argument:
        raise UnknownNameError(f"'{key}@{argument}' is no metric; expected {key}.")
    pairs = [f"{at}={given[at]}" for at in defaults if given[at] != defaults[at]]
    return key + ("?" + "&".join(pairs) if pairs else "")
