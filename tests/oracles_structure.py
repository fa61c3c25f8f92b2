"""Slow and literal: clustering scores and geometry as loops over their definitions, in float64."""

from __future__ import annotations

import math
from itertools import combinations, permutations

FLOAT32_ROUNDING = 2.0**-23


def unit(vector):
    length = math.sqrt(sum(float(a) * float(a) for a in vector))
    return [float(a) / length for a in vector]


def dot(x, y):
    return sum(a * b for a, b in zip(x, y, strict=True))


def squared_distance(x, y):
    return sum((a - b) ** 2 for a, b in zip(x, y, strict=True))


def mean(values):
    values = list(values)
    return math.fsum(values) / len(values)


def members(groups):
    """The images of each class, in the order of class names."""
    return [[i for i, g in enumerate(groups) if g == name] for name in sorted({*groups})]


# Partitions --------------------------------------------------------------------------------------


def entropy(labels):
    shares = [labels.count(name) / len(labels) for name in {*labels}]
    return -sum(share * math.log(share) for share in shares)


def information(first, second):
    """I = H(first) + H(second) - H(both)."""
    return entropy(first) + entropy(second) - entropy(list(zip(first, second, strict=True)))


def nmi(first, second):
    both = entropy(first) + entropy(second)
    return 2 * information(first, second) / both if both else 1.0


def ami(first, second):
    """Its expectation is a mean over all orders of one of the partitions."""
    expected = mean(information(first, list(order)) for order in permutations(second))
    most = (entropy(first) + entropy(second)) / 2
    if abs(most - expected) < 1e-12:
        return 1.0
    return (information(first, second) - expected) / (most - expected)


def pairwise_f1(groups, clusters):
    both = same_class = same_cluster = 0
    for i, j in combinations(range(len(groups)), 2):
        same_class += groups[i] == groups[j]
        same_cluster += clusters[i] == clusters[j]
        both += groups[i] == groups[j] and clusters[i] == clusters[j]
    if same_class == same_cluster == 0:
        return 1.0
    if both == 0:
        return 0.0
    precision, recall = both / same_cluster, both / same_class
    return 2 * precision * recall / (precision + recall)


def centres_of(rows, clusters):
    return {
        name: [
            mean(column)
            for column in zip(
                *[row for row, c in zip(rows, clusters, strict=True) if c == name], strict=True
            )
        ]
        for name in {*clusters}
    }


def inertia(rows, clusters):
    """The summed squared distance of the rows to the means of their clusters."""
    centres = centres_of(rows, clusters)
    return math.fsum(
        squared_distance(row, centres[name]) for row, name in zip(rows, clusters, strict=True)
    )


# Geometry ----------------------------------------------------------------------------------------


def intra(vectors, groups):
    rows = [unit(v) for v in vectors]
    return mean(
        mean(1 - dot(rows[i], rows[j]) for i, j in combinations(images, 2))
        for images in members(groups)
        if len(images) > 1
    )


def inter(vectors, groups):
    rows = [unit(v) for v in vectors]
    directions = [
        unit([mean(column) for column in zip(*[rows[i] for i in images], strict=True)])
        for images in members(groups)
    ]
    return mean(1 - dot(x, y) for x, y in combinations(directions, 2))


def intra_over_inter(vectors, groups):
    return intra(vectors, groups) / max(inter(vectors, groups), 1e-8)


def alignment(vectors, groups):
    rows = [unit(v) for v in vectors]
    pairs = [(i, j) for i, j in combinations(range(len(rows)), 2) if groups[i] == groups[j]]
    return mean(squared_distance(rows[i], rows[j]) for i, j in pairs)


def uniformity(vectors, _groups=None):
    rows = [unit(v) for v in vectors]
    return math.log(mean(math.exp(-2 * squared_distance(x, y)) for x, y in combinations(rows, 2)))


def singular_values(rows):
    """By turning pairs of columns until all are orthogonal (Jacobi, Hestenes): their lengths."""
    if len(rows) < len(rows[0]):
        rows = list(zip(*rows, strict=True))
    columns = [list(column) for column in zip(*rows, strict=True)]
    for _ in range(60):
        for i, j in combinations(range(len(columns)), 2):
            x, y = columns[i], columns[j]
            off = dot(x, y)
            if abs(off) > 1e-17 * math.sqrt(dot(x, x) * dot(y, y)):
                angle = math.atan2(2 * off, dot(x, x) - dot(y, y)) / 2
                c, s = math.cos(angle), math.sin(angle)
                columns[i] = [c * a + s * b for a, b in zip(x, y, strict=True)]
                columns[j] = [c * b - s * a for a, b in zip(x, y, strict=True)]
    return sorted((math.sqrt(dot(x, x)) for x in columns), reverse=True)


def spectral_decay(vectors, k):
    values = singular_values([unit(v) for v in vectors])
    values = [max(s, FLOAT32_ROUNDING * values[0]) for s in values][abs(k) - 1 :]
    shares = [s / sum(values) for s in values]
    even = 1 / len(shares)
    if k > 0:
        return sum(even * math.log(even / p) for p in shares)
    return sum(p * math.log(p / even) for p in shares)


def lengths(vectors):
    return [math.sqrt(sum(float(a) ** 2 for a in v)) for v in vectors]


def norm_mean(vectors, _groups=None):
    return mean(lengths(vectors))


def norm_cv(vectors, _groups=None):
    centre = norm_mean(vectors)
    return math.sqrt(mean((length - centre) ** 2 for length in lengths(vectors))) / centre
