"""`Meter`: measures splits for a search, many at once where it can, and counts what that costs."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from oodml.shift.frechet import FrechetField
from oodml.split.problem import Problem

Array = np.ndarray[Any, Any]
log = logging.getLogger(__name__)


MANY_CLASSES = 1000


def blas_threads(classes: int) -> threadpool_limits:
    """One thread up to 1,000 classes, all above, for the matrices of so many classes.

    A second thread on small ones costs more than it gives, and would change last bits.
    """
    return threadpool_limits(1 if classes <= MANY_CLASSES else None, "blas")


def default_limit(classes: int) -> int:
    """10,000 splits; fewer above 1,000 classes, where each takes longer."""
    return 10_000 if classes <= MANY_CLASSES else 10_000_000 // classes


class Meter:
    """The distances of splits, and a count of them.

    For `frechet` the `field` of class means measures many splits at once, at no limit (it is
    `exact` up to some thousand classes); any other measure is asked split by split, about `limit`
    times in all, and a search stops there with what it has. For those the field, the Fréchet
    distance of class means, only *proposes*.
    """

    def __init__(self, problem: Problem, limit: int | None) -> None:
        self.field = FrechetField.of(problem.means)
        self.frechet = problem.measure == "frechet"
        self.exact = self.frechet and self.field.exact
        self._distance = problem.distance
        self._known: dict[bytes, float] = {}
        self._limit = limit or default_limit(len(problem.means))
        self._share = self._limit
        self._start = time.perf_counter()
        self.spent = 0

    def allow(self, share: float) -> None:
        """From now on, up to this share of the limit may have been spent."""
        self._share = round(share * self._limit)

    @property
    def exhausted(self) -> bool:
        return not self.exact and self.spent >= self._share

    @property
    def left(self) -> int:
        """How many splits may still be measured now; for `frechet` there is no limit."""
        return 1 << 62 if self.exact else max(0, self._share - self.spent)

    def distances(self, train: Array, test: Array) -> Array:
        """The distances `(b,)` of b splits of the same sizes: class rows `(b, n)` and `(b, m)`."""
        if not self.exact:
            return np.array([self._try(x, y) for x, y in zip(train, test, strict=True)])
        self.spent += len(train)
        return self.field.distances(train, test)

    def _try(self, train: Array, test: Array) -> float:
        key = train.tobytes() + b"|" + test.tobytes()
        if key not in self._known:
            self._known[key] = float(self._distance(train, test))
            self.spent += 1
        return self._known[key]

    def report(self, what: str) -> None:
        """Log what the search has cost so far."""
        seconds = time.perf_counter() - self._start
        log.info("%s: %d distances measured in %.1f s", what, self.spent, seconds)
