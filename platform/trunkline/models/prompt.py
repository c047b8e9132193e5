"""A learned prompt: vectors that a task's tokens attend to in every layer, beside those of their row."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Site:
    """A module that attends: how many heads it has, and the width of one."""

    module: nn.Module
    heads: int
    width: int


class Prompt(nn.Module):
    """P keys and values of each head that every token of the task reads: for its query q [n, H, d], added to what it attends to,

        softmax over p of (scale * q . k_p), weighing v_p

    v is zero at first, so that the model starts as it was.

    Source: prefix tuning, Li & Liang, arXiv:2101.00190, section 4, which He et al., arXiv:2110.04366, section 3.1, take apart
    into (1 - g) * own + g * prefix. Departures: the prefix has a softmax of its own and both parts count whole, as in the
    zero-initialised attention of Zhang et al., arXiv:2303.16199, section 3.2, whose gate is in v here; keys and values are
    learned as they are, not made by a network that is thrown away. Nothing is put into the row, so lengths, positions and what
    heads pool are as they were. Not prompt tuning (Lester et al., arXiv:2104.08691), whose vectors stand before the words.
    """

    def __init__(self, site: Site, count: int) -> None:
        super().__init__()
        self.prompt_K = nn.Parameter(torch.randn(site.heads, count, site.width))
        self.prompt_V = nn.Parameter(torch.zeros(site.heads, count, site.width))

    def forward(self, query: Tensor, scale: float) -> Tensor:
        said = torch.einsum("nhd,hpd->nhp", query, self.prompt_K) * scale
        return torch.einsum("nhp,hpd->nhd", said.softmax(-1), self.prompt_V)
