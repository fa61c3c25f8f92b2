"""Slow and literal: what the fast code must equal. Plain loops over definitions, float64."""

from __future__ import annotations

import math
from itertools import combinations

TIE = 1e-6


# Retrieval ---------------------------------------------------------------------------------------


def cosine(x, y):
    dot = sum(a * b for a, b in zip(x, y, strict=True))
    return dot / math.sqrt(sum(a * a for a in x) * sum(b * b for b in y))


def similarities_of(vectors, labels, query):
    """The similarities of the other images: of the same class, then of all other classes."""
    positives, negatives = [], []
    for other, vector in enumerate(vectors):
        if other != query:
            side = positives if labels[other] == labels[query] else negatives
            side.append(cosine(vectors[query], vector))
    return sorted(positives, reverse=True), negatives


def ranks_of(vectors, labels, query):
    """The ranks of the query's positives, ascending: negatives win ties, positives count once."""
    positives, negatives = similarities_of(vectors, labels, query)
    ranks = []
    for ahead, mine in enumerate(positives):
        rank = 1 + ahead
        for negative in negatives:
            if negative >= mine - TIE:
                rank += 1
        ranks.append(rank)
    return ranks


def is_tied(vectors, labels, query):
    positives, negatives = similarities_of(vectors, labels, query)
    return any(abs(negative - positives[0]) <= TIE for negative in negatives)


def recall_at(ranks, k):
    for rank in ranks:
        if rank <= k:
            return 1.0
    return 0.0


def map_at_r(ranks):
    """Over the list of the R nearest: the precision at each place that holds a positive, over R."""
    total = 0.0
    for place in range(1, len(ranks) + 1):
        if place in ranks:
            total += sum(rank <= place for rank in ranks) / place
    return total / len(ranks)


def expected(score, positives, gallery):
    """The mean of `score(ranks)` over all equally likely places of the positives."""
    scores = [score(list(ranks)) for ranks in combinations(range(1, gallery + 1), positives)]
    return sum(scores) / len(scores)
