"""The shape of a set of vectors, in numpy's float64 on every device, rows in blocks.

All but the statistics of the norms are of vectors divided by their lengths; a zero vector is a
`DataError` there. Distances of all pairs follow from the sums of the classes' rows, because
sum over i != j of x_i . x_j = |sum x_i|^2 - sum |x_i|^2; only uniformity goes through the pairs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oodml.errors import DataError, UnknownNameError
from oodml.metrics.rows import row_blocks, row_lengths, unit_blocks, unit_lengths
from oodml.metrics.structure import Groups, SetMetric, Vectors, spelling
from oodml.store import frozen

NOISE = float(np.finfo(np.float32).eps)  # what float32 vectors cannot tell from 0, relative to 1
SMALLEST_INTER = 1e-8  # a smaller distance between classes counts as this one, as in the paper


@dataclass(frozen=True, slots=True, eq=False)
class ClassSums:
    """The `sums` (c, d) of the classes' rows of length 1, and the classes' `sizes` (c,)."""

    sums: NDArray[np.float64]
    sizes: NDArray[np.int64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "sums", frozen(self.sums))
        object.__setattr__(self, "sizes", frozen(self.sizes))

    @property
    def scatter(self) -> NDArray[np.float64]:
        """n^2 - |sum|^2 (c,): half the summed squared distance over all ordered pairs of a class.

        Over the n (n - 1) pairs of two images, that is the mean cosine distance 1 - cos.
        """
        squares = np.einsum("ij,ij->i", self.sums, self.sums)
        scatter: NDArray[np.float64] = np.maximum(self.sizes.astype(np.float64) ** 2 - squares, 0)
        return scatter


def sum_classes(vectors: Vectors, groups: Groups) -> ClassSums:
    """The `ClassSums` of vectors (n, d) with class numbers `groups` (n,), in c x d x 8 bytes."""
    sizes = np.bincount(groups)
    sums = np.zeros((len(sizes), vectors.shape[1]))
    for at, rows in unit_blocks(vectors, unit_lengths(vectors)):
        order = np.argsort(groups[at], kind="stable")
        present, firsts = np.unique(groups[at][order], return_index=True)
        sums[present] += np.add.reduceat(rows[order], firsts, axis=0)
    return ClassSums(sums, sizes)


# Distances within and between classes ------------------------------------------------------------


def intra(vectors: Vectors, groups: Groups) -> float:
    """The mean over classes of the mean cosine distance 1 - cos of two images of the class.

    Self pairs do not count; classes of one image are left out; 0 to 2. `vectors` (n, d), `groups`
    (n,). Milbich et al., NeurIPS 2021 ("dists@intra"); Roth et al., ICML 2020.
    """
    return intra_of(sum_classes(vectors, groups))


def inter(vectors: Vectors, groups: Groups) -> float:
    """The mean cosine distance 1 - cos of two classes' mean directions, self pairs not counted.

    A class's mean direction is the mean of its rows of length 1, itself divided by its length. A
    mean shorter than 1.2e-7, which is float32's rounding, has no direction, and is at distance 1
    from every other. 0 to 2. Sources as of `intra` ("dists@inter").
    """
    return inter_of(sum_classes(vectors, groups))


def intra_over_inter(vectors: Vectors, groups: Groups) -> float:
    """`intra` / max(`inter`, 1e-8), sources as of `intra` ("dists@intra_over_inter")."""
    return ratio_of(sum_classes(vectors, groups))


def alignment(vectors: Vectors, groups: Groups) -> float:
    """The mean of |x - y|^2 over all pairs of two images of one class, each pair with weight 1.

    So a class of m images weighs m (m - 1) / 2, unlike in `intra`; x and y are of length 1; 0 to
    4. Wang and Isola, ICML 2020, with alpha = 2.
    """
    return alignment_of(sum_classes(vectors, groups))


def intra_of(classes: ClassSums) -> float:
    several = _several(classes)
    pairs = classes.sizes[several] * (classes.sizes[several] - 1.0)
    return float((classes.scatter[several] / pairs).mean())


def inter_of(classes: ClassSums) -> float:
    count = len(classes.sizes)
    if count < 2:
        raise DataError("All images are of one class; a distance between classes needs two.")
    lengths = np.sqrt(np.einsum("ij,ij->i", classes.sums, classes.sums))
    clear = lengths > NOISE * classes.sizes
    total = classes.sums[clear].T @ (1 / lengths[clear])
    cosines = float(total @ total - clear.sum()) / (count * (count - 1))
    return min(max(1 - cosines, 0.0), 2.0)


def ratio_of(classes: ClassSums) -> float:
    return intra_of(classes) / max(inter_of(classes), SMALLEST_INTER)


def alignment_of(classes: ClassSums) -> float:
    several = _several(classes)
    pairs = classes.sizes[several] * (classes.sizes[several] - 1.0)
    return 2 * float(classes.scatter[several].sum() / pairs.sum())


def _several(classes: ClassSums) -> NDArray[np.bool_]:
    several: NDArray[np.bool_] = classes.sizes > 1
    if not several.any():
        raise DataError(
            f"None of the {len(several)} classes has two images; a distance within classes needs "
            "one that has."
        )
    return several


# Spectral decay ----------------------------------------------------------------------------------


def singular_values(vectors: Vectors) -> NDArray[np.float64]:
    """The singular values (min(n, d),), descending, of the rows of length 1, not centred.

    Blocks of rows go through one QR decomposition after another, which keep small values that the
    Gram matrix would lose; about 3 n d^2 operations and 3 d^2 numbers of memory.
    """
    stack: list[NDArray[np.float64]] = []
    for _, rows in unit_blocks(vectors, unit_lengths(vectors)):
        stack.append(rows)
        if sum(map(len, stack)) >= 3 * vectors.shape[1]:
            triangle: Any = np.linalg.qr(np.vstack(stack), mode="r")
            stack = [triangle]
    values: NDArray[np.float64] = np.linalg.svd(np.vstack(stack), compute_uv=False)
    return values


def spectral_decay(vectors: Vectors, k: int = 1) -> float:
    """How far the spectrum of the vectors (n, d) is from a flat one; 0 is flat.

    Of the min(n, d) singular values (not squared, of rows of length 1, not centred) the |k| - 1
    largest are dropped, p are the shares of the others in their sum, and U is 1 / their number:

        k > 0: KL(U || p);  k < 0: KL(p || U).

    KL(U || p) is infinite where a value is 0, so values below 1.2e-7 of the largest, float32's
    rounding, count as that: it is at most 15.95. Milbich et al., NeurIPS 2021 ("rho_spectrum@k");
    Roth et al., ICML 2020. k = 0 is no number there, and a `ValueError` here; fewer than |k|
    singular values are a `DataError`.
    """
    if k == 0:
        raise ValueError("k is 0; expected a whole number above or below.")
    return decay_of(singular_values(vectors), k)


def decay_of(values: NDArray[np.float64], k: int) -> float:
    if len(values) < abs(k):
        raise DataError(
            f"spectral-decay@{k} drops the {abs(k) - 1} largest of the singular values; there are "
            f"{len(values)}, so give more images or dimensions, or a smaller k."
        )
    kept = np.maximum(values, NOISE * values[0])[abs(k) - 1 :]
    shares = kept / kept.sum()
    logs = np.log(len(shares) * shares)
    return max(float(-logs.mean() if k > 0 else shares @ logs), 0.0)


# Uniformity --------------------------------------------------------------------------------------


def uniformity(vectors: Vectors) -> float:
    """ln of the mean of exp(-2 |x - y|^2) over all pairs of two images; lower is more even.

    x and y are rows of length 1, of any class; every pair counts once; -8 to 0. Wang and Isola,
    ICML 2020, with t = 2. Exact at any size, in tiles of the upper triangle: n^2 d operations and
    n^2 / 2 exponentials in float64, some 40 s for 60,502 x 512 on two cores, in 64 MiB.
    """
    if len(vectors) < 2:
        raise DataError(f"Uniformity needs at least 2 images; there are {len(vectors)}.")
    lengths = unit_lengths(vectors)
    blocks = list(row_blocks(vectors))
    total = 0.0
    for place, at in enumerate(blocks):
        rows = vectors[at] / lengths[at, None]
        own = _potentials(rows, rows)
        np.fill_diagonal(own, 0.0)
        total += float(own.sum()) / 2
        for other in blocks[place + 1 :]:
            total += float(_potentials(rows, vectors[other] / lengths[other, None]).sum())
    return min(math.log(total / (len(vectors) * (len(vectors) - 1) / 2)), 0.0)


def _potentials(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """exp(-2 |x - y|^2) = exp(4 x.y - 4) of every row of x with every row of y."""
    tile: NDArray[np.float64] = x @ y.T
    tile -= 1
    tile *= 4
    np.exp(tile, out=tile)
    return tile


# Norms -------------------------------------------------------------------------------------------


def norm_mean(vectors: Vectors) -> float:
    """The mean length of the vectors as they are given."""
    return float(row_lengths(vectors).mean())


def norm_cv(vectors: Vectors) -> float:
    """The spread of the vectors' lengths: standard deviation (over n) / mean; 0 is all equal.

    This is what SEC acts on: its term is the variance of the lengths. Zhang et al., NeurIPS 2020.
    """
    return variation_of(row_lengths(vectors))


def variation_of(lengths: NDArray[np.float64]) -> float:
    if not lengths.any():
        raise DataError("All vectors are zero; norm-cv divides by their mean length.")
    return float(lengths.std() / lengths.mean())


# Metrics -----------------------------------------------------------------------------------------

_OWED = frozenset({"image-order", "class-names", "rotation"})
_OF_DIRECTIONS = _OWED | {"row-scaling"}
_OF_CLASSES = _OF_DIRECTIONS | {"tighter-is-lower", "perfect-is-low"}


def intra_metric(argument: str) -> SetMetric[ClassSums]:
    """`intra`: see `intra`."""
    return _class_metric("intra", argument, intra_of, _OF_CLASSES, 2.0)


def inter_metric(argument: str) -> SetMetric[ClassSums]:
    """`inter`: see `inter`."""
    laws = _OF_DIRECTIONS | {"orthogonal-is-one", "opposite-is-high"}
    return _class_metric("inter", argument, inter_of, laws, 2.0, higher_is_better=True)


def ratio_metric(argument: str) -> SetMetric[ClassSums]:
    """`intra/inter`: see `intra_over_inter`."""
    high = 2.0 / SMALLEST_INTER
    return _class_metric("intra/inter", argument, ratio_of, _OF_CLASSES, high)


def alignment_metric(argument: str) -> SetMetric[ClassSums]:
    """`alignment`: see `alignment`."""
    return _class_metric("alignment", argument, alignment_of, _OF_CLASSES, 4.0)


def spectral_decay_metric(argument: str) -> SetMetric[NDArray[np.float64]]:
    """`spectral-decay@k` for any whole k but 0; `spectral-decay` is that of k = 1.

    In the paper, a flatter spectrum (lower) goes with better generalisation. KL(U || p) is at most
    -ln of float32's rounding, KL(p || U) at most the logarithm of the number of values.
    """
    if not re.fullmatch(r"(-?[1-9][0-9]{0,8})?", argument):
        raise UnknownNameError(
            f"'spectral-decay@{argument}' is no metric; expected spectral-decay@k with a whole k "
            "other than 0, such as spectral-decay@-1."
        )
    k = int(argument or 1)
    return SetMetric(
        "spectral-decay" if k == 1 else f"spectral-decay@{k}",
        _observe_spectrum,
        lambda values: np.array([decay_of(values, k)]),
        laws=_OF_DIRECTIONS | {"flat-is-low"},
        low=0.0,
        high=-math.log(NOISE) if k > 0 else math.inf,
        higher_is_better=False,
    )


def uniformity_metric(argument: str) -> SetMetric[float]:
    """`uniformity`: see `uniformity`."""
    return SetMetric(
        spelling("uniformity", argument, {}, {}),
        _observe_uniformity,
        lambda value: np.array([value]),
        laws=_OF_DIRECTIONS | {"all-equal-is-high", "opposite-is-low"},
        low=-8.0,
        high=0.0,
        higher_is_better=False,
    )


def norm_mean_metric(argument: str) -> SetMetric[NDArray[np.float64]]:
    """`norm-mean`: see `norm_mean`; neither way is better."""
    laws = _OWED | {"scales-along"}
    return _norm_metric("norm-mean", argument, lambda lengths: float(lengths.mean()), laws)


def norm_cv_metric(argument: str) -> SetMetric[NDArray[np.float64]]:
    """`norm-cv`: see `norm_cv`; SEC lowers it."""
    laws = _OWED | {"scaling", "equal-norms-are-low"}
    return _norm_metric("norm-cv", argument, variation_of, laws)


def _class_metric(
    key: str,
    argument: str,
    value: Callable[[ClassSums], float],
    laws: frozenset[str],
    high: float,
    *,
    higher_is_better: bool = False,
) -> SetMetric[ClassSums]:
    return SetMetric(
        spelling(key, argument, {}, {}),
        sum_classes,
        lambda classes: np.array([value(classes)]),
        laws=laws,
        low=0.0,
        high=high,
        higher_is_better=higher_is_better,
    )


def _norm_metric(
    key: str, argument: str, value: Callable[[NDArray[np.float64]], float], laws: frozenset[str]
) -> SetMetric[NDArray[np.float64]]:
    return SetMetric(
        spelling(key, argument, {}, {}),
        _observe_lengths,
        lambda lengths: np.array([value(lengths)]),
        laws=laws,
        low=0.0,
        high=math.inf,
        higher_is_better=False,
    )


def _observe_spectrum(vectors: Vectors, _groups: Groups) -> NDArray[np.float64]:
    return singular_values(vectors)


def _observe_uniformity(vectors: Vectors, _groups: Groups) -> float:
    return uniformity(vectors)


def _observe_lengths(vectors: Vectors, _groups: Groups) -> NDArray[np.float64]:
    return row_lengths(vectors)


GEOMETRY_METRICS: dict[str, Callable[..., SetMetric[Any]]] = {
    "intra": intra_metric,
    "inter": inter_metric,
    "intra/inter": ratio_metric,
    "spectral-decay": spectral_decay_metric,
    "uniformity": uniformity_metric,
    "alignment": alignment_metric,
    "norm-mean": norm_mean_metric,
    "norm-cv": norm_cv_metric,
}
