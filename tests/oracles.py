"""Slow and literal: what the fast code must equal. Plain loops over definitions, float64."""

from __future__ import annotations

import math
import statistics
from itertools import combinations

TIE = 1e-6


# Retrieval ---------------------------------------------------------------------------------------


def dot(x, y):
    return sum(a * b for a, b in zip(x, y, strict=True))


def length(x):
    return math.sqrt(dot(x, x))


def centred(vectors):
    middle = [statistics.median(column) for column in zip(*vectors, strict=True)]
    return [[a - b for a, b in zip(row, middle, strict=True)] for row in vectors]


def similarity(kind, x, y):
    """How alike two rows are, and by how much that may differ and still be a tie."""
    if kind == "cosine":
        return dot(x, y) / math.sqrt(dot(x, x) * dot(y, y)), TIE
    if kind == "dot":
        return dot(x, y), TIE * length(x) * length(y)
    squared = sum((a - b) ** 2 for a, b in zip(x, y, strict=True))
    return -squared / 2, TIE * (dot(x, x) + dot(y, y)) / 2


def others_of(vectors, labels, query, kind="cosine", gallery=None):
    """Of the others in the gallery: (similarity, margin of a tie, label)."""
    rows = centred(vectors) if kind == "euclidean" else vectors
    return [
        (*similarity(kind, rows[query], rows[other]), labels[other])
        for other in range(len(rows))
        if other != query and (gallery is None or gallery[other])
    ]


def ranks_of(vectors, labels, query, kind="cosine", gallery=None):
    """The ranks of the query's positives, ascending: negatives win ties, positives count once."""
    others = others_of(vectors, labels, query, kind, gallery)
    lowest = sorted((s - margin for s, margin, y in others if y == labels[query]), reverse=True)
    negatives = [s for s, _, y in others if y != labels[query]]
    ranks = []
    for ahead, mine in enumerate(lowest):
        rank = 1 + ahead
        for negative in negatives:
            if negative >= mine:
                rank += 1
        ranks.append(rank)
    return ranks


def is_tied(vectors, labels, query, kind="cosine", gallery=None):
    others = others_of(vectors, labels, query, kind, gallery)
    best, margin = max((s, margin) for s, margin, y in others if y == labels[query])
    return any(abs(s - best) <= margin for s, _, y in others if y != labels[query])


def classes_ahead(vectors, labels, query, gallery=None):
    """How many images of each other class are ahead of the best positive, as a dict."""
    others = others_of(vectors, labels, query, "cosine", gallery)
    best = max(s - margin for s, margin, y in others if y == labels[query])
    counts = {y: 0 for _, _, y in others if y != labels[query]}
    for s, _, y in others:
        if y != labels[query] and s >= best:
            counts[y] += 1
    return counts


def recall_at(ranks, k):
    for rank in ranks:
        if rank <= k:
            return 1.0
    return 0.0


def recall_among(ahead, k, m):
    """Over all choices of m - 1 other classes: the share in which fewer than k images are ahead."""
    choices = list(combinations(ahead.values(), m - 1))
    return sum(sum(choice) < k for choice in choices) / len(choices)


def precision_at(ranks, k):
    return sum(rank <= k for rank in ranks) / k


def average_precision(ranks, cutoff, divisor):
    """Over the list of the nearest: the precision at each place that holds a positive."""
    total = 0.0
    for place in range(1, cutoff + 1):
        if place in ranks:
            total += sum(rank <= place for rank in ranks) / place
    return total / divisor


def expected(score, positives, gallery):
    """The mean of `score(ranks)` over all equally likely places of the positives."""
    scores = [score(list(ranks)) for ranks in combinations(range(1, gallery + 1), positives)]
    return sum(scores) / len(scores)
