"""The published search for splits, step by step: slow, on lists, with a plain Fréchet distance.

It follows `create_dataset_splits.py` and `split_helpers.py`: lists of names and of vectors, swapped
place by place; scores once an iteration; a memory of list places. Two defects are taken out, as in
`oodml.split.paper`: the state that is returned is the one that was measured (it was an alias of
lists that one more iteration had swapped), and places in the memory stay right (they were used
again within an iteration once they had left the memory, and went stale when classes were deleted).
"""

from __future__ import annotations

import numpy as np
import scipy.linalg

HARDER_MEMORY, EASIER_MEMORY = 5, 30


def fid(train, test):
    """|mu - mu'|^2 + tr S + tr S' - 2 tr (S S')^(1/2), by the eigenvalues of S S'."""
    x, y = np.array(train), np.array(test)
    s, t = np.atleast_2d(np.cov(x, rowvar=False)), np.atleast_2d(np.cov(y, rowvar=False))
    values = scipy.linalg.eigvals(s @ t)
    gap = x.mean(axis=0) - y.mean(axis=0)
    roots = np.sqrt(np.maximum(values.real, 0.0)).sum()
    return float(gap @ gap + np.trace(s) + np.trace(t) - 2 * roots)


def norm(vector):
    return float(np.sqrt((vector**2).sum()))


def scores(train, test):
    """How much nearer each vector is to its own side's mean than to the other's."""
    m_train, m_test = np.mean(train, axis=0), np.mean(test, axis=0)
    return (
        [norm(x - m_test) - norm(x - m_train) for x in train],
        [norm(x - m_train) - norm(x - m_test) for x in test],
    )


def order_of(score, names, *, inverse):
    """List places by score, smallest first (largest for `inverse`); equal ones by name."""
    scale = 1e-9 * (max(abs(s) for s in score) or 1.0)
    rounded = [round(s / scale) for s in score]
    return sorted(
        range(len(score)), key=lambda i: (-rounded[i] if inverse else rounded[i], names[i])
    )


def swap_once(state, memory, swaps, length, *, inverse):
    """One iteration on copies of the lists; the pairs of places that were swapped."""
    (train, train_names), (test, test_names) = state
    train, train_names = list(train), list(train_names)
    test, test_names = list(test), list(test_names)
    train_memory, test_memory = list(memory[0]), list(memory[1])
    train_score, test_score = scores(train, test)
    train_order = order_of(train_score, train_names, inverse=inverse)
    test_order = order_of(test_score, test_names, inverse=inverse)
    used = []
    for k in range(swaps):
        for i, j in list(zip(train_order, test_order, strict=False))[k:]:
            if i in train_memory or j in test_memory or (i, j) in used:
                continue
            train[i], test[j] = test[j], train[i]
            train_names[i], test_names[j] = test_names[j], train_names[i]
            train_memory, test_memory = [*train_memory, i][-length:], [*test_memory, j][-length:]
            used.append((i, j))
            break
    return ((train, train_names), (test, test_names)), (train_memory, test_memory), used


def split_maker(state, swaps, iterations, *, inverse=False):
    """The states before each iteration's swap, with their distances."""
    length = EASIER_MEMORY if inverse else HARDER_MEMORY
    memory = ([], [])
    found = []
    for _ in range(iterations):
        found.append((state, fid(state[0][0], state[1][0])))
        state, memory, used = swap_once(state, memory, swaps, length, inverse=inverse)
        if not used:
            break
    return found


def split_maker_with_class_removal(state, swaps, iterations, smallest):
    """The states before each iteration, from a state of `split_maker` on."""
    memory = ([], [])
    found = []
    for _ in range(iterations):
        now = fid(state[0][0], state[1][0])
        found.append((state, now))
        new, later, used = swap_once(state, memory, swaps, HARDER_MEMORY, inverse=False)
        if not used:
            break
        if fid(new[0][0], new[1][0]) >= now:
            gone = ({i for i, _ in used}, {j for _, j in used})
            if min(len(side[0]) for side in state) - len(used) < smallest:
                break
            state = tuple(without(side, places) for side, places in zip(state, gone, strict=True))
            memory = tuple(moved(m, g) for m, g in zip(memory, gone, strict=True))
        else:
            state, memory = new, later
    return found


def without(side, places):
    vectors, names = side
    kept = [i for i in range(len(names)) if i not in places]
    return [vectors[i] for i in kept], [names[i] for i in kept]


def moved(memory, gone):
    """Where the remembered places are once `gone` were deleted; these still count as swaps."""
    return [None if i is None or i in gone else i - sum(g < i for g in gone) for i in memory]
