"""Laws of all losses: order, scale, slope, odd batches, half precision, seeds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_losses_values import batch, loss_of
from torch import Tensor

from oodml.errors import UnknownNameError
from oodml.methods import METHODS, find_method
from oodml.methods.lossmethod import LossMethod

NAMES = [name for name in METHODS if isinstance(find_method(name), LossMethod)]
FORMS = [
    *NAMES,
    "arcface?clamped=0",
    "contrastive?pairs=all",
    "multisimilarity?form=ooDML",
    "softmax?scale=20",
]
DRAWN = {"contrastive", "margin", "rmargin"}  # positives and negatives are drawn
IN_ORDER = {"npair", "protonet"}  # the first images of a class are treated otherwise
UNSCALED = {"protonet", "softmax"}  # lengths count


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def own_parameters(loss: Any) -> list[Tensor]:
    return list(loss.parameters())


@pytest.mark.parametrize("name", [name for name in FORMS if name not in DRAWN | IN_ORDER])
def test_the_order_of_the_batch_does_not_matter(name: str) -> None:
    loss = loss_of(name)
    x, y = batch(0, (4, 3, 5))
    order = torch.randperm(len(y), generator=draws())
    torch.testing.assert_close(loss(x[order], y[order], draws()), loss(x, y, draws()))


@pytest.mark.parametrize("name", [name for name in FORMS if name in IN_ORDER])
def test_the_order_of_the_classes_does_not_matter(name: str) -> None:
    loss = loss_of(name)
    x, y = batch(0, (4, 3, 5))
    order = y.argsort(stable=True)
    torch.testing.assert_close(loss(x[order], y[order], draws()), loss(x, y, draws()))


@pytest.mark.parametrize("name", FORMS)
def test_only_losses_on_unit_vectors_are_blind_to_length(name: str) -> None:
    loss = loss_of(name)
    x, y = batch(0)
    scaled = loss(1000 * x, y, draws())
    assert torch.allclose(scaled, loss(x, y, draws())) == (name not in UNSCALED)


@pytest.mark.parametrize("name", [name for name in FORMS if name not in UNSCALED])
def test_a_rotation_does_not_matter(name: str) -> None:
    loss = loss_of(name)
    x, y = batch(0)
    rotation = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=draws()))[0]
    expected = loss(x, y, draws())
    with torch.no_grad():
        for parameter in own_parameters(loss):
            if parameter.ndim == 2:
                parameter.copy_(parameter @ rotation)
    torch.testing.assert_close(loss(x @ rotation, y, draws()), expected)


@pytest.mark.parametrize("name", FORMS)
def test_the_gradient_is_the_slope_of_the_value(name: str) -> None:
    loss = loss_of(name)
    x, y = batch(2, (3, 3, 3))
    inputs = [x, *own_parameters(loss)]
    assert torch.autograd.gradcheck(lambda *_: loss(x, y, draws()), inputs, eps=1e-7, atol=1e-4)


@pytest.mark.parametrize("name", FORMS)
def test_a_step_down_the_gradient_lowers_the_loss(name: str) -> None:
    loss = loss_of(name)
    x, y = batch(1, (4, 4, 4))
    value = loss(x, y, draws())
    (slope,) = torch.autograd.grad(value, x)
    assert loss(x - 1e-3 * slope, y, draws()) < value


@pytest.mark.parametrize("name", FORMS)
def test_a_loss_is_a_function_of_its_seeds(name: str) -> None:
    x, y = batch(0, (6, 6, 6))
    first, same, other = (loss_of(name, seed=seed) for seed in (0, 0, 1))
    pairs = zip(own_parameters(first), own_parameters(same), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    random = any(p.ndim == 2 for p in own_parameters(first))  # proxies, not boundaries
    pairs = zip(own_parameters(first), own_parameters(other), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs) == random
    assert torch.equal(first(x, y, draws(3)), same(x, y, draws(3)))
    drawn = {float(first(x, y, draws(seed)).detach()) for seed in range(5)}
    assert (len(drawn) > 1) == (name in DRAWN)


@pytest.mark.parametrize("name", FORMS)
def test_no_global_generator_is_used(name: str) -> None:
    x, y = batch(0)
    before = torch.random.get_rng_state()
    loss_of(name)(x, y, draws()).backward()
    assert torch.equal(torch.random.get_rng_state(), before)


ODD = {
    "collapsed": (torch.ones(6, 5), [0, 0, 1, 1, 2, 2]),
    "zeros": (torch.zeros(6, 5), [0, 0, 1, 1, 2, 2]),
    "duplicates": (torch.eye(5)[[0, 0, 1, 1, 0, 0]], [0, 0, 1, 1, 2, 2]),
    "opposite": (torch.eye(5)[[0, 0, 0, 0]] * torch.tensor([[1.0], [1], [-1], [-1]]), [0, 0, 1, 1]),
    "one class": (torch.randn(6, 5, generator=draws()), [3, 3, 3, 3, 3, 3]),
    "no positives": (torch.randn(6, 5, generator=draws()), [0, 1, 2, 3, 4, 5]),
    "one positive pair": (torch.randn(4, 5, generator=draws()), [0, 1, 2, 2]),
    "one image": (torch.randn(1, 5, generator=draws()), [2]),
    "short": (torch.randn(6, 5, generator=draws()) * 1e-12, [0, 0, 1, 1, 2, 2]),
    "long": (torch.randn(6, 5, generator=draws()) * 1e12, [0, 0, 1, 1, 2, 2]),
}


@pytest.mark.parametrize("case", ODD)
@pytest.mark.parametrize("name", FORMS)
def test_odd_batches_have_a_finite_value_and_gradient(name: str, case: str) -> None:
    x, labels = ODD[case]
    loss = loss_of(name).float()
    x = x.clone().requires_grad_()
    value = loss(x, torch.tensor(labels), draws())
    assert value.shape == ()
    assert value.isfinite()
    value.backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    for parameter in own_parameters(loss):
        assert parameter.grad is None or parameter.grad.isfinite().all()


@pytest.mark.parametrize(
    "name", ["histogram", "margin", "multisimilarity", "protonet", "semihard", "triplet"]
)
def test_one_class_alone_has_nothing_to_be_told_from(name: str) -> None:
    x, y = batch(0)
    value = loss_of(name)(x, torch.full_like(y, 3), draws())
    assert value == 0
    assert value.requires_grad


@pytest.mark.parametrize("name", FORMS)
def test_half_precision_is_only_that_of_the_embeddings(name: str) -> None:
    """In bfloat16 and under autocast the value is that of the rounded embeddings in float32."""
    loss = loss_of(name, dim=64).float()
    x, y = batch(0, (6, 6, 6), dim=64)
    half = x.detach().bfloat16().requires_grad_()
    expected = loss(half.detach().float(), y, draws())
    torch.testing.assert_close(loss(half, y, draws()), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(half, y, draws())
        torch.testing.assert_close(loss(half.float(), y, draws()), expected)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)
    found.backward()
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16
    assert half.grad.isfinite().all()


def test_a_large_class_needs_no_more_memory_than_its_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Triplets are taken a block of pairs at a time, with the same result."""
    from oodml.methods.losses import pairs

    x, y = batch(0, (9, 5, 2))
    for name in ("triplet", "semihard"):
        whole = loss_of(name)(x, y, draws())
        (slope,) = torch.autograd.grad(whole, x)
        monkeypatch.setattr(pairs, "AT_ONCE", 3 * len(y))
        blocks = loss_of(name)(x, y, draws())
        torch.testing.assert_close(blocks, whole)
        torch.testing.assert_close(torch.autograd.grad(blocks, x)[0], slope)
        monkeypatch.undo()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "multisimilarity?form=mine",
            "form of 'multisimilarity' is 'mine'; expected one of: paper",
        ),
        ("contrastive?pairs=some", "pairs of 'contrastive' is 'some'; expected one of: drawn, all"),
        ("rmargin?rho=1.5", "rho of 'rmargin' is 1.5; expected at least 0 and less than 1"),
        (
            "arcface?margin=28.6",
            "margin of 'arcface' is 28.6; expected at least 0 and less than 1.57",
        ),
        ("margin?beta_lr=-1", "beta_lr of 'margin' is -1.0; expected at least 0"),
        ("triplet?dim=0", "dim of 'triplet' is 0; expected more than 0"),
        ("histogram?bins=0", "bins of 'histogram' is 0; expected more than 0"),
        ("protonet?support=1", "support of 'protonet' is 1.0; expected at least 0 and less than 1"),
    ],
)
def test_parameters_that_cannot_be_are_refused(name: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        find_method(name)


def test_learning_rates_of_the_losses_own_parameters() -> None:
    rates = {name: find_method(f"{name}?lr=0.25").loss_lr for name in NAMES}  # type: ignore[attr-defined]
    own = {"arcface": 5e-4, "margin": 5e-4, "proxyanchor": 2e-2, "rmargin": 5e-4}
    assert rates == {name: own.get(name, 0.25) for name in NAMES}
    with_parameters = {name for name in NAMES if own_parameters(loss_of(name))}
    assert with_parameters == {*own, "softmax"}
