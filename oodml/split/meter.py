"""`Meter`: measures splits for a search, many at once where it can, and counts what that costs."""

from __future__ import annotations

import hashlib
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

    For `frechet` the `field` of class means measures many splits at once, at no limit, where it is
    `exact`: up to some thousand classes, above which a search goes by slopes instead. Any other
    measure is asked split by split, about `limit` times in all, and a search stops there with what
    it has. For those the field, the Fréchet distance of class means, only *proposes*.
    """

    def __init__(self, problem: Problem, limit: int | None) -> None:
        self.field = FrechetField.of(problem.means)
        self.frechet = problem.measure == "frechet"
        self.exact = self.frechet and self.field.exact
        self._distance = problem.distance
        classes, dimensions = problem.means.shape
        if self.frechet and self.field.scatters is not None and classes > dimensions:
            # The same distance, which then remembers what the slopes were asked for.
            self._distance = self.field.scatters.distance
        self._known: dict[bytes, float] = {}
        self._progress = problem.progress
        self._steps = (0, 1)
        self._limit = limit or default_limit(len(problem.means))
        self._share = self._limit
        self._start = time.perf_counter()
        self.spent = 0

    def plan(self, steps: int) -> None:
        """From now on, progress is counted towards so many steps."""
        self._steps = (0, steps)
        self._progress(*self._steps)

    def advance(self, steps: int = 1) -> None:
        """Some steps were done, or turned out not to be needed."""
        done, total = self._steps
        self._steps = (min(done + steps, total), total)
        self._progress(*self._steps)

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
        key = hashlib.sha256(train.tobytes() + b"|" + test.tobytes()).digest()
        if key not in self._known:
            self._known[key] = float(self._distance(train, test))
            self.spent += 1
        return self._known[key]

    def report(self, what: str) -> None:
        """Log what the search has cost; nothing more is to come."""
        self.advance(self._steps[1])
        seconds = time.perf_counter() - self._start
        log.info("%s: %d distances measured in %.1f s", what, self.spent, seconds)
