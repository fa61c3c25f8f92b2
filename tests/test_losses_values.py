"""Values and gradients of the losses against loops of their formulas, and other libraries."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import oracles_losses as slow
import pytest
import torch
from torch import Tensor

from oodml.methods import find_method
from oodml.methods.losses.sampling import draw_triplets
from oodml.methods.lossmethod import LossMethod

CLASSES, DIM = 7, 5
LOOPS: dict[str, Callable[[Any, Tensor, list[int]], Tensor]] = {
    "arcface": slow.arcface,
    "arcface?clamped=0": slow.arcface,
    "contrastive?pairs=all": slow.contrastive,
    "contrastive?pairs=all&pos_margin=0.2&neg_margin=1.5": slow.contrastive,
    "histogram": slow.histogram,
    "histogram?bins=7": slow.histogram,
    "multisimilarity": slow.multisimilarity,
    "multisimilarity?alpha=3&beta=20&base=0.3&epsilon=0.2": slow.multisimilarity,
    "multisimilarity?form=ooDML": slow.multisimilarity_of_active,
    "npair": slow.npair,
    "protonet": slow.protonet,
    "protonet?support=0.75": slow.protonet,
    "proxyanchor": slow.proxyanchor,
    "semihard": slow.semihard,
    "softmax": slow.softmax,
    "softmax?scale=20": slow.softmax,
    "triplet": slow.triplet,
    "triplet?margin=0.2": slow.triplet,
}


def loss_of(name: str, *, dim: int = DIM, classes: int = CLASSES, seed: int = 1) -> Any:
    """The loss of a name, in float64."""
    method = find_method(name + ("&" if "?" in name else "?") + f"dim={dim}")
    assert isinstance(method, LossMethod)
    return method.loss(classes, torch.Generator().manual_seed(seed)).double()  # type: ignore[attr-defined]


def batch(seed: int, counts: tuple[int, ...] = (4, 4, 4), *, dim: int = DIM) -> tuple[Any, Any]:
    """Embeddings of lengths about 3, in no order, and labels that skip a class."""
    draws = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.full((count,), 2 * c) for c, count in enumerate(counts)])
    labels = labels[torch.randperm(len(labels), generator=draws)]
    means = torch.randn(CLASSES, dim, generator=draws, dtype=torch.float64)
    noise = torch.randn(len(labels), dim, generator=draws, dtype=torch.float64)
    return (means[labels] + noise).requires_grad_(), labels


def agree(found: Tensor, expected: Tensor, inputs: list[Tensor], *, rel: float = 1e-6) -> None:
    """The same value, and the same gradient of each input; neither is nothing."""
    torch.testing.assert_close(found, expected, rtol=rel, atol=1e-10)
    for a, b in zip(
        torch.autograd.grad(found, inputs), torch.autograd.grad(expected, inputs), strict=True
    ):
        assert b.abs().max() > 1e-6
        torch.testing.assert_close(a, b, rtol=rel, atol=rel * float(b.abs().max()))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", LOOPS)
def test_a_loss_is_its_formula(name: str, seed: int) -> None:
    loss = loss_of(name)
    x, y = batch(seed, (4, 3, 5) if seed else (4, 4, 4))
    found = loss(x, y, torch.Generator())
    agree(found, LOOPS[name](loss, x, y.tolist()), [x, *loss.parameters()])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "name", ["margin", "margin?beta=0.9&margin=0.4", "rmargin", "rmargin?rho=0.9"]
)
def test_the_margin_loss_is_its_formula_on_the_triplets_that_it_draws(name: str, seed: int) -> None:
    loss = loss_of(name)
    with torch.no_grad():  # every class has a boundary of its own
        loss.beta += 0.1 * torch.arange(CLASSES)
    x, y = batch(seed, (4, 3, 5))
    drawn = loss.triplets(slow.unit(x), y, torch.Generator().manual_seed(seed))
    triplets = list(zip(*(part.tolist() for part in drawn), strict=True))
    found = loss(x, y, torch.Generator().manual_seed(seed))
    agree(found, slow.margin(loss, x, y.tolist(), triplets), [x, loss.beta])


def test_the_contrastive_loss_is_its_formula_on_the_triplets_that_it_draws() -> None:
    loss = loss_of("contrastive?neg_margin=1.5")
    x, y = batch(0, (4, 3, 5))
    p, n, _ = draw_triplets(slow.unit(x), y, torch.Generator().manual_seed(0))
    triplets = [(a, int(p[a]), int(n[a])) for a in range(len(y))]
    found = loss(x, y, torch.Generator().manual_seed(0))
    agree(found, slow.drawn_contrastive(loss, x, y.tolist(), triplets), [x])


def test_a_copy_of_an_image_is_no_positive_in_the_multisimilarity_loss() -> None:
    loss = loss_of("multisimilarity?epsilon=1")
    x, y = batch(0)
    x = x.detach()
    first, second = (y == 0).nonzero().squeeze(1)[:2]
    x[second] = 2 * x[first]
    x.requires_grad_()
    agree(loss(x, y, torch.Generator()), slow.multisimilarity(loss, x, y.tolist()), [x])


def test_oodmls_arcface_gives_no_gradient_to_negative_cosines() -> None:
    x = torch.tensor([[1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    losses = {c: loss_of(f"arcface?clamped={c}&scale=2", dim=2, classes=2) for c in (0, 1)}
    moved = {}
    for clamped, loss in losses.items():
        with torch.no_grad():
            loss.centres.copy_(torch.tensor([[1.0, 1.0], [-1.0, 1.0]]))
        moved[clamped] = torch.autograd.grad(loss(x, torch.tensor([0]), None), loss.centres)[0]
    assert moved[1][1].abs().max() == 0
    assert moved[0][1].abs().max() > 1e-3


# Sampling ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("near", ["", "near"])
def test_negatives_are_drawn_by_the_density_of_their_distance(near: str) -> None:
    """The frequencies of 2000 draws, within 4.5 standard errors of the formula."""
    x, y = batch(3, (3, 4, 5), dim=8)
    x, anchor, n = x.detach(), 2, 2000
    if near:  # one negative is nearer than 0.5, and counts as if it were there
        x[slow.negatives(y.tolist(), anchor)[0]] = 1.1 * x[anchor] + 0.05
    draws = torch.Generator().manual_seed(0)
    units = slow.unit(x)
    drawn = [draw_triplets(units, y, draws) for _ in range(n)]
    counts = torch.bincount(torch.stack([d[1][anchor] for d in drawn]), minlength=len(y)) / n
    expected = torch.tensor(slow.negative_weights(x, y.tolist(), anchor))
    assert expected.max() > 2 * expected[expected > 0].min()  # the law says something here
    error = (expected * (1 - expected) / n).sqrt()
    assert ((counts - expected).abs() <= 4.5 * error).all()
    positives = torch.bincount(torch.stack([d[0][anchor] for d in drawn]), minlength=len(y)) / n
    others = slow.positives(y.tolist(), anchor)
    assert positives[others].sum() == 1
    assert (positives[others] - 1 / len(others)).abs().max() < 4.5 * math.sqrt(0.25 / n)


def test_triplets_are_triplets() -> None:
    x, y = batch(0, (4, 1, 5))
    for seed in range(20):
        draws = torch.Generator().manual_seed(seed)
        a, p, n = loss_of("margin").triplets(slow.unit(x), y, draws)
        assert a.tolist() == list(range(len(y)))  # each image is an anchor, once
        assert (y[p] == y[a]).all()
        assert (y[n] != y[a]).all()
        assert ((p == a) == (y == 2)).all()  # only the one that is alone is its own positive


def test_rmargin_switches_a_share_of_the_triplets() -> None:
    x, y = batch(0, (50, 1, 50))
    loss = loss_of("rmargin?rho=0.4")
    shares = []
    for seed in range(5):
        a, p, n = loss.triplets(slow.unit(x), y, torch.Generator().manual_seed(seed))
        switched = y[n] == y[a]
        shares.append(switched.double().mean().item())
    assert sum(shares) / len(shares) == pytest.approx(0.4, abs=0.08)  # 3.5 standard errors
    assert (p[switched] == a[switched]).all()
    assert (n[switched] != a[switched]).all()
    assert not switched[y == 2].any()  # alone in its class
    assert (p != a)[~switched & (y != 2)].all()


def test_negatives_beyond_the_cutoff_are_not_drawn() -> None:
    x, y = batch(1, (4, 4, 4))
    units = slow.unit(x.detach())
    distances = torch.cdist(units, units)
    other = torch.where(y[:, None] != y[None, :], distances, torch.inf)
    cutoff = other.amin(dim=1).median().item() + 1e-6  # half of the images have no nearer negative
    a, _, n = loss_of(f"margin?cutoff={cutoff}").triplets(units, y, torch.Generator())
    assert (distances[a, n] <= cutoff).all()
    assert a.tolist() == (other <= cutoff).any(dim=1).nonzero().squeeze(1).tolist()
    assert 0 < len(a) < len(y)


def test_an_opposite_negative_is_the_one_drawn() -> None:
    """Its density is 0: the others have no weight beside it, and nothing is infinite."""
    x = torch.zeros(4, 8)
    x[:, 0] = torch.tensor([1.0, 1.0, -1.0, 0.0])
    x[3, 1] = 1.0
    _, n, found = draw_triplets(x, torch.tensor([0, 0, 1, 2]), torch.Generator().manual_seed(0))
    assert found.all()
    assert n[:2].tolist() == [2, 2]


# pytorch-metric-learning -------------------------------------------------------------------------


def library(name: str, loss: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """The same in pytorch-metric-learning, with the settings that make it the same."""
    pytest.importorskip("pytorch_metric_learning")
    from pytorch_metric_learning import distances, losses, miners, reducers

    squared = {"distance": distances.LpDistance(power=2), "reducer": reducers.MeanReducer()}
    if name == "triplet":
        return losses.TripletMarginLoss(margin=1.0, **squared)
    if name == "contrastive?pairs=all":
        return losses.ContrastiveLoss(reducer=reducers.MeanReducer())
    if name == "histogram":
        return losses.HistogramLoss(n_bins=200)
    if name == "multisimilarity":
        mine = miners.MultiSimilarityMiner(epsilon=0.1)
        plain = losses.MultiSimilarityLoss(alpha=2, beta=40, base=0.5)
        return lambda x, y: plain(x, y, mine(x, y))
    if name == "npair":
        return lambda x, y: _pairs(losses.NTXentLoss(temperature=1 / 25), x, y)
    if name == "proxyanchor":
        other = losses.ProxyAnchorLoss(CLASSES, DIM, margin=0.1, alpha=32)
        other.proxies = loss.proxies
        return other
    assert name == "arcface?clamped=0"
    other = losses.ArcFaceLoss(CLASSES, DIM, margin=math.degrees(0.5), scale=16)
    other.W = torch.nn.Parameter(loss.centres.detach().T.clone())
    return other


def _pairs(loss: Any, x: Tensor, y: Tensor) -> Tensor:
    places = [(y == c).nonzero().squeeze(1)[:2] for c in y.unique()]
    first, second = (torch.stack([pair[i] for pair in places]) for i in (0, 1))
    return loss(x[first], y[first], ref_emb=x[second], ref_labels=y[first])  # type: ignore[no-any-return]


# Its histogram loss indexes with a list.
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning")
@pytest.mark.parametrize(
    "name",
    [
        "arcface?clamped=0",
        "contrastive?pairs=all",
        "histogram",
        "multisimilarity",
        "npair",
        "proxyanchor",
        "triplet",
    ],
)
def test_a_loss_is_that_of_pytorch_metric_learning(name: str) -> None:
    loss = loss_of(name)
    x, y = batch(0, (6, 6, 6))
    agree(loss(x, y, torch.Generator()), library(name, loss)(x, y), [x], rel=1e-5)


def test_what_only_looks_the_same_in_pytorch_metric_learning() -> None:
    """The differences that the documentation tells of are there."""
    pytest.importorskip("pytorch_metric_learning")
    from pytorch_metric_learning import losses, miners

    x, y = batch(0, (6, 6, 6))
    draws = torch.Generator()
    assert losses.TripletMarginLoss(margin=1.0)(x, y) != loss_of("triplet")(x, y, draws)
    inside = miners.TripletMarginMiner(margin=0.2, type_of_triplets="semihard")(x, y)
    other = losses.TripletMarginLoss(margin=0.2)(x, y, inside).item()
    assert other != pytest.approx(loss_of("semihard")(x, y, draws).item(), rel=1e-2)
    margin = loss_of("margin")
    triplets = margin.triplets(slow.unit(x), y, torch.Generator().manual_seed(0))
    own = margin(x, y, torch.Generator().manual_seed(0)).item()
    assert own > 1.02 * losses.MarginLoss(beta=1.2, margin=0.2)(x, y, triplets).item()
