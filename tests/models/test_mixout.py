"""Mixout by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trunkline.models.mixout import START, mix_out


def moved(share: float) -> tuple[nn.Linear, torch.Tensor, torch.Tensor]:
    """A layer that has moved on since mixout took hold of it, its start, and something to read."""
    torch.manual_seed(0)
    layer = nn.Linear(6, 5)
    start = layer.weight.detach().clone()
    mix_out([layer], share)
    nn.init.normal_(layer.weight)
    return layer, start, torch.randn(7, 6)


def by_hand(layer: nn.Linear, start: torch.Tensor, x: torch.Tensor, share: float) -> torch.Tensor:
    """The paper's (M * u + (I - M) * w - p u) / (1 - p), weight by weight."""
    torch.manual_seed(3)
    back = 1 - torch.bernoulli(torch.full_like(start, 1 - share))
    weight = (back * start + (1 - back) * layer.weight - share * start) / (1 - share)
    return F.linear(x, weight, layer.bias)


def trained(layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(3)
    return layer(x)


def test_a_pass_and_its_gradient_are_the_paper_s() -> None:
    layer, start, x = moved(0.4)
    expected = by_hand(layer, start, x, 0.4)
    (slope,) = torch.autograd.grad(expected.square().sum(), layer.weight)
    found = trained(layer, x)
    (mine,) = torch.autograd.grad(found.square().sum(), layer.weight)
    assert torch.allclose(found, expected, atol=1e-5) and torch.allclose(mine, slope, atol=1e-4)


@pytest.mark.parametrize("fault", ["put back to zero", "not scaled", "in evaluation too"])
def test_dropout_of_weights_is_not_mixout(fault: str) -> None:
    layer, start, x = moved(0.4)
    expected = by_hand(layer, start, x, 0.4)
    if fault == "put back to zero":
        layer.get_buffer(START).zero_()
        assert not torch.allclose(trained(layer, x), expected, atol=1e-3)
    elif fault == "not scaled":
        assert not torch.allclose(by_hand(layer, start, x, 0.39999) * 0.6, trained(layer, x), atol=1e-3)
    else:
        assert not torch.allclose(trained(layer.eval(), x), expected, atol=1e-3)


def test_evaluation_share_0_and_a_layer_that_has_not_moved_are_plain() -> None:
    layer, start, x = moved(0.4)
    plain = F.linear(x, layer.weight, layer.bias)
    assert torch.equal(layer.eval()(x), plain)
    layer.train().weight.data.copy_(start)
    assert torch.allclose(layer(x), F.linear(x, start, layer.bias), atol=1e-6)
    layer, _, x = moved(0.0)
    assert torch.allclose(layer(x), F.linear(x, layer.weight, layer.bias), atol=1e-6)
    assert START not in layer.state_dict()
