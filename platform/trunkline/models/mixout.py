"""Mixout: in training, a part of every linear layer's weights is put back to where fine-tuning started."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

START = "mixout_start"


def mix_out(layers: Iterable[nn.Linear], share: float) -> None:
    """From now on each layer trains under  W <- W0 + (1 - m) / (1 - share) * (W - W0),  m of weights 1 with probability `share`.

    Source: Lee, Cho & Kang, arXiv:1909.11299, equation 5 (mixconnect's dropout with W0 in place of 0), on weights, biases left
    alone. W0: the layer's weight now (or as `start_from` says), kept beside it and in no checkpoint. m is drawn in each forward
    from torch's generator, as dropout is. share: 0 to below 1. Evaluation is that of W.
    """
    assert 0 <= share < 1
    for layer in layers:
        layer.register_buffer(START, layer.weight.detach().clone(), persistent=False)
        layer.register_forward_hook(functools.partial(_mixed, share))


def start_from(layer: nn.Linear, weight: Tensor) -> None:
    """W0 of a layer that trains so is this weight, not the one it had."""
    layer.get_buffer(START).copy_(weight)


def _mixed(share: float, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
    if not layer.training:
        return None
    weight, start = layer.get_parameter("weight"), layer.get_buffer(START)
    kept = torch.bernoulli(torch.full_like(start, 1 - share)) / (1 - share)
    # The layer gave W x; what is added makes it W0 x + kept (W - W0) x.
    return output + F.linear(inputs[0], (kept - 1) * (weight - start)).to(output.dtype)
