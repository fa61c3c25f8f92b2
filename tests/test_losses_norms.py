"""Penalties on lengths: against their formulas and pytorch-metric-learning, and their state."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_losses_values import agree, batch, loss_of
from torch import Tensor

from oodml.methods import METHODS, find_method
from oodml.methods.losses.norms import L2, Sec, WithNorms


def test_l2_is_its_formula() -> None:
    x, y = batch(0)
    agree(L2(0.5)(x), 0.5 * sum(row @ row for row in x) / len(y), [x])
    pytest.importorskip("pytorch_metric_learning")
    from pytorch_metric_learning.regularizers import LpRegularizer

    agree(L2(1.0)(x), LpRegularizer(p=2, power=2)(x), [x], rel=1e-5)


def test_sec_is_its_formula_and_the_variance_of_the_lengths() -> None:
    x, _ = batch(0)
    lengths = torch.stack([(row @ row).sqrt() for row in x])
    mu = lengths.detach().mean()
    agree(Sec(2.0)(x), 2 * sum((n - mu) ** 2 for n in lengths) / len(x), [x])
    # The mean is detached, which changes nothing here.
    agree(Sec(2.0)(x), 2 * x.norm(dim=1).var(unbiased=False), [x])


def test_the_gradient_of_sec_is_radial() -> None:
    x, _ = batch(0)
    (slope,) = torch.autograd.grad(Sec(1.0)(x), x)
    lengths = x.detach().norm(dim=1, keepdim=True)
    radial = 2 / len(x) * (lengths - lengths.mean()) * x.detach() / lengths
    torch.testing.assert_close(slope, radial)


def test_the_moving_mean_of_sec() -> None:
    """From the mean of the first batch; rho weights the new one; no gradient goes through it."""
    sec, mu = Sec(1.0, rho=0.25).double(), None
    for seed in range(4):
        x, _ = batch(seed)
        lengths = x.norm(dim=1)
        new = lengths.detach().mean()
        mu = new if mu is None else 0.75 * mu + 0.25 * new
        agree(sec(x), ((lengths - mu) ** 2).mean(), [x])
        assert sec.mu.item() == pytest.approx(mu.item())
    kept = sec.mu.clone()
    sec.eval()(batch(5)[0])
    assert torch.equal(sec.mu, kept)


def test_a_checkpoint_holds_the_moving_mean() -> None:
    one, two = Sec(1.0, rho=0.25), Sec(1.0, rho=0.25)
    assert list(one.state_dict()) == ["mu"]  # before the first batch too
    one(batch(0)[0])
    two.load_state_dict(one.state_dict())
    assert torch.equal(one(batch(1)[0]), two(batch(1)[0]))
    assert torch.equal(one.mu, two.mu)


@pytest.mark.parametrize("kind", [L2, Sec])
def test_a_ramp_grows_from_nothing_to_the_weight(kind: Any) -> None:
    x, _ = batch(0)
    ramped, plain = kind(0.3, ramp=True), kind(0.3, ramp=False)
    full = plain(x)
    assert torch.equal(ramped(x), full)  # where nobody says how far the run is
    for fraction in (0.0, 0.25, 1.0):
        for penalty in (ramped, plain):
            penalty.at(fraction)
        torch.testing.assert_close(ramped(x), fraction * full)
        assert torch.equal(plain(x), full)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "frozen"])
def test_penalties_are_added_to_any_loss(name: str) -> None:
    assert find_method(name).raw  # type: ignore[attr-defined]
    loss = loss_of(name)
    x, y = batch(0)
    wrapped = WithNorms(loss, l2=L2(0.1, ramp=True), sec=Sec(0.2)).double()
    wrapped.at(0.5)
    found = wrapped(x, y, torch.Generator().manual_seed(0))
    expected = loss(x, y, torch.Generator().manual_seed(0)) + L2(0.05)(x) + Sec(0.2)(x)
    torch.testing.assert_close(found, expected)
    assert len(list(wrapped.parameters())) == len(list(loss.parameters()))
    alone = WithNorms(loss)(x, y, torch.Generator().manual_seed(0))
    assert torch.equal(alone, loss(x, y, torch.Generator().manual_seed(0)))


def test_a_loss_that_asks_is_told_how_far_the_run_is() -> None:
    class Asks(torch.nn.Module):
        def at(self, fraction: float) -> None:
            self.told = fraction

        def forward(self, embeddings: Tensor, *_: Any) -> Tensor:
            return embeddings.sum()

    inner = Asks()
    WithNorms(inner).at(0.25)
    assert inner.told == 0.25


@pytest.mark.parametrize("x", [torch.zeros(4, 3), torch.ones(4, 3), torch.ones(1, 3)])
def test_penalties_are_finite_on_odd_batches(x: Tensor) -> None:
    x = x.clone().requires_grad_()
    value = L2(1.0)(x) + Sec(1.0, rho=0.5)(x)
    value.backward()
    assert value.isfinite()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_lengths_in_half_precision_are_those_of_the_rounded_embeddings() -> None:
    half = batch(0, dim=64)[0].detach().bfloat16().requires_grad_()
    for penalty in (L2(1.0), Sec(1.0)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = penalty(half)
        torch.testing.assert_close(found, penalty(half.detach().float()))
        assert found.dtype == torch.float32
