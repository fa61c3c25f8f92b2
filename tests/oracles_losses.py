"""The losses again, straight from their formulas, a loop at a time, in torch for the gradient."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

Labels = list[int]


def unit(x: Tensor) -> Tensor:
    return torch.stack([row / row.norm() for row in x])


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum() / (a.norm() * b.norm())


def squared(a: Tensor, b: Tensor) -> Tensor:
    return ((a / a.norm() - b / b.norm()) ** 2).sum()


def mean(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).sum() / len(terms)


def positives(y: Labels, i: int) -> list[int]:
    return [j for j in range(len(y)) if y[j] == y[i] and j != i]


def negatives(y: Labels, i: int) -> list[int]:
    return [j for j in range(len(y)) if y[j] != y[i]]


def hinge(value: Tensor) -> Tensor:
    return torch.relu(value)


def contrastive(loss: Any, x: Tensor, y: Labels) -> Tensor:
    """All pairs."""
    distance = {(i, j): squared(x[i], x[j]).sqrt() for i in range(len(y)) for j in range(i)}
    near = [hinge(d - loss.pos_margin) for (i, j), d in distance.items() if y[i] == y[j]]
    far = [hinge(loss.neg_margin - d) for (i, j), d in distance.items() if y[i] != y[j]]
    return mean(near) + mean(far)


def triplet(loss: Any, x: Tensor, y: Labels) -> Tensor:
    return mean(
        [
            hinge(squared(x[a], x[p]) - squared(x[a], x[n]) + loss.margin)
            for a in range(len(y))
            for p in positives(y, a)
            for n in negatives(y, a)
        ]
    )


def semihard(loss: Any, x: Tensor, y: Labels) -> Tensor:
    terms = []
    for a in range(len(y)):
        far = [squared(x[a], x[n]) for n in negatives(y, a)]
        for p in positives(y, a):
            near = squared(x[a], x[p])
            beyond = [d for d in far if d > near]
            chosen = min(beyond, key=Tensor.item) if beyond else max(far, key=Tensor.item)
            terms.append(hinge(near - chosen + loss.margin))
    return mean(terms)


def npair(loss: Any, x: Tensor, y: Labels) -> Tensor:
    members = [[i for i in range(len(y)) if y[i] == c] for c in sorted(set(y))]
    pairs = [own[:2] for own in members if len(own) > 1]
    terms = []
    for a, p in pairs:
        logits = torch.stack([loss.scale * cosine(x[a], x[q]) for _, q in pairs])
        terms.append(torch.log(logits.exp().sum()) - loss.scale * cosine(x[a], x[p]))
    return mean(terms)


def multisimilarity(loss: Any, x: Tensor, y: Labels) -> Tensor:
    """Equation 15 after the mining of equations 11 and 12."""
    terms = []
    for i in range(len(y)):
        near = [s for j in positives(y, i) if (s := cosine(x[i], x[j])) < 1 - 1e-5]
        far = [cosine(x[i], x[j]) for j in negatives(y, i)]
        pulled = [s for s in near if s < max(far) + loss.epsilon]
        pushed = [s for s in far if s > min(near) - loss.epsilon] if near else []
        if pulled and pushed:
            pull, push = similar_logs(loss, pulled, pushed)
            terms.append(pull + push)
    return torch.stack(terms).sum() / len(y)


def multisimilarity_of_active(loss: Any, x: Tensor, y: Labels) -> Tensor:
    """As ooDML's code has it: both parts averaged apart, the image itself among its positives."""
    pulls, pushes = [], []
    for i in range(len(y)):
        far = [cosine(x[i], x[j]) for j in negatives(y, i)]
        near = [cosine(x[i], x[j]) for j in positives(y, i)]
        with_itself = [*near, cosine(x[i], x[i])]
        pulled = [s for s in with_itself if s < max(far) + loss.epsilon]
        pushed = [s for s in far if s > min(near) - loss.epsilon]
        pull, push = similar_logs(loss, pulled, pushed)
        pulls += [pull] * bool(pulled)
        pushes += [push] * bool(pushed)
    return mean(pulls) + mean(pushes)


def similar_logs(loss: Any, pulled: list[Tensor], pushed: list[Tensor]) -> tuple[Tensor, Tensor]:
    zero = torch.zeros((), dtype=torch.float64)
    pull = sum((torch.exp(-loss.alpha * (s - loss.base)) for s in pulled), zero)
    push = sum((torch.exp(loss.beta * (s - loss.base)) for s in pushed), zero)
    return torch.log(1 + pull) / loss.alpha, torch.log(1 + push) / loss.beta


def histogram(loss: Any, x: Tensor, y: Labels) -> Tensor:
    """Equations 1 to 5, with the triangle of every node."""
    nodes = [-1 + r * 2 / loss.bins for r in range(loss.bins + 1)]
    shares = []
    for same in (True, False):
        pairs = [
            cosine(x[i], x[j]) for i in range(len(y)) for j in range(i) if (y[i] == y[j]) is same
        ]
        s = torch.stack(pairs)
        shares.append([hinge(1 - (s - t).abs() * loss.bins / 2).mean() for t in nodes])
    near, far = shares
    return torch.stack([far[r] * torch.stack(near[: r + 1]).sum() for r in range(len(nodes))]).sum()


def protonet(loss: Any, x: Tensor, y: Labels) -> Tensor:
    prototypes, queries = {}, []
    for c in sorted(set(y)):
        own = [i for i in range(len(y)) if y[i] == c]
        held = max(1, int(len(own) * loss.support))
        prototypes[c] = torch.stack([x[i] for i in own[:held]]).sum(dim=0) / held
        queries += own[held:]
    terms = []
    for q in queries:
        away = {c: ((x[q] - p) ** 2).sum() for c, p in prototypes.items()}
        all_of_them = torch.stack([torch.exp(-d) for d in away.values()]).sum()
        terms.append(away[y[q]] + torch.log(all_of_them))
    return mean(terms)


def arcface(loss: Any, x: Tensor, y: Labels) -> Tensor:
    terms = []
    for i in range(len(y)):
        logits = []
        for c, centre in enumerate(loss.centres):
            s = cosine(x[i], centre)
            if loss.clamped:
                s = s.clamp(1e-10, 1 - 1e-10)
            if c == y[i]:
                angle = torch.acos(s)
                if angle <= math.pi - loss.margin:
                    s = torch.cos(angle + loss.margin)
                else:
                    s = s - loss.margin * math.sin(loss.margin)
            logits.append(loss.scale * s)
        terms.append(torch.log(torch.stack(logits).exp().sum()) - logits[y[i]])
    return mean(terms)


def proxyanchor(loss: Any, x: Tensor, y: Labels) -> Tensor:
    pulls, pushes = [], []
    for c, proxy in enumerate(loss.proxies):
        s = [cosine(row, proxy) for row in x]
        near = [torch.exp(-loss.alpha * (s[i] - loss.delta)) for i in range(len(y)) if y[i] == c]
        far = [torch.exp(loss.alpha * (s[i] + loss.delta)) for i in range(len(y)) if y[i] != c]
        if near:
            pulls.append(torch.log(1 + torch.stack(near).sum()))
        pushes.append(torch.log(1 + torch.stack(far).sum()) if far else 0 * x.sum())
    return mean(pulls) + mean(pushes)


def softmax(loss: Any, x: Tensor, y: Labels) -> Tensor:
    terms = []
    for i in range(len(y)):
        if loss.scale:
            logits = [loss.scale * cosine(x[i], w) for w in loss.weight]
        else:
            logits = [(x[i] * w).sum() + b for w, b in zip(loss.weight, loss.bias, strict=True)]
        terms.append(torch.log(torch.stack(logits).exp().sum()) - logits[y[i]])
    return mean(terms)


# Over given triplets -----------------------------------------------------------------------------


def margin(loss: Any, x: Tensor, y: Labels, triplets: list[tuple[int, int, int]]) -> Tensor:
    total, active = 0 * x.sum(), 0
    for a, p, n in triplets:
        near, far = ((squared(x[a], x[j]) + 1e-8).sqrt() for j in (p, n))
        pull = hinge(near - loss.beta[y[a]] + loss.margin)
        push = hinge(loss.beta[y[a]] - far + loss.margin)
        total, active = total + pull + push, active + bool(pull > 0 or push > 0)
    return total / max(1, active)


def drawn_contrastive(
    loss: Any, x: Tensor, _y: Labels, triplets: list[tuple[int, int, int]]
) -> Tensor:
    near = [hinge((squared(x[a], x[p]) + 1e-8).sqrt() - loss.pos_margin) for a, p, _ in triplets]
    far = [hinge(loss.neg_margin - (squared(x[a], x[n]) + 1e-8).sqrt()) for a, _, n in triplets]
    return mean(near) + mean(far)


def negative_weights(x: Tensor, y: Labels, anchor: int) -> list[float]:
    """1 / q(d) of each image, in the anchor's row, d at least 0.5; its own class at 0; sum 1."""
    dim = x.shape[1]
    weights = []
    for j in range(len(y)):
        d = max(0.5, squared(x[anchor], x[j]).sqrt().item())
        q = d ** (dim - 2) * (1 - d**2 / 4) ** ((dim - 3) / 2)
        weights.append(0.0 if y[j] == y[anchor] else 1 / q)
    return [w / sum(weights) for w in weights]
