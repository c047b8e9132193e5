"""From token states to one vector per row, and from the trunk's layers to one state per token."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trunkline.batch import RowIndex
from trunkline.registry import POOLINGS


class Pooling(nn.Module):
    """hidden [n, D] of a task's slice -> [R, D]. Made with D."""

    def __init__(self, width: int) -> None:
        super().__init__()
        del width

    @abstractmethod
    def forward(self, hidden: Tensor, rows: RowIndex) -> Tensor: ...


@POOLINGS.register("first")
class First(Pooling):
    """The state of each row's first token. hidden [n, D] -> [R, D]."""

    def forward(self, hidden: Tensor, rows: RowIndex) -> Tensor:
        return hidden[rows.starts]


@POOLINGS.register("last")
class Last(Pooling):
    """The state of each row's last token, a special one where the tokenizer ends rows so. hidden [n, D] -> [R, D]."""

    def forward(self, hidden: Tensor, rows: RowIndex) -> Tensor:
        return hidden[rows.starts + rows.lengths - 1]


@POOLINGS.register("mean")
class Mean(Pooling):
    """The mean of each row's token states, special tokens included. hidden [n, D] -> [R, D]."""

    def forward(self, hidden: Tensor, rows: RowIndex) -> Tensor:
        total = hidden.new_zeros(len(rows), hidden.shape[1]).index_add(0, rows.row_of_token, hidden)
        return total / rows.lengths.unsqueeze(1).to(hidden.dtype)


@POOLINGS.register("max")
class Max(Pooling):
    """The largest value of each feature over the row's tokens. hidden [n, D] -> [R, D]."""

    def forward(self, hidden: Tensor, rows: RowIndex) -> Tensor:
        index = rows.row_of_token.unsqueeze(1).expand_as(hidden)
        empty = hidden.new_full((len(rows), hidden.shape[1]), float("-inf"))
        return empty.scatter_reduce(0, index, hidden, "amax")


@POOLINGS.register("attention")
class Attention(Pooling):
    """A learned weighted mean of each row's token states. hidden [n, D] -> [R, D].

        u[i] = tanh(W h[i] + b),  a = softmax over the row of u . q,  sum over i of a[i] h[i]

    Source: Yang et al., NAACL 2016, equations 5 to 7. q starts at 0, where this is the mean.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.map = nn.Linear(width, width)
        self.query = nn.Parameter(torch.zeros(width))

    def forward(self, hidden: Tensor, rows: RowIndex) -> Tensor:
        score = (self.map(hidden).tanh() @ self.query.to(hidden.dtype)).float()  # [n]
        highest = score.new_full((len(rows),), float("-inf")).scatter_reduce(0, rows.row_of_token, score.detach(), "amax")
        weight = (score - highest[rows.row_of_token]).exp()
        total = weight.new_zeros(len(rows)).index_add(0, rows.row_of_token, weight)
        share = (weight / total[rows.row_of_token]).unsqueeze(1).to(hidden.dtype)
        return hidden.new_zeros(len(rows), hidden.shape[1]).index_add(0, rows.row_of_token, share * hidden)


class Mix(nn.Module):
    """One state per token from all of the trunk's layers: gamma * sum over j of softmax(w)[j] * h[j].

    Source: Peters et al., arXiv:1802.05365, equation 1. Starts as their plain mean: w = 0, gamma = 1.
    """

    def __init__(self, num_layers: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(num_layers))
        self.gamma = nn.Parameter(torch.ones(1))

    def forward(self, layers: Sequence[Tensor]) -> Tensor:
        """layers: [n, D] each."""
        share = self.weights.softmax(0)
        return self.gamma * torch.stack([weight * states for weight, states in zip(share, layers, strict=True)]).sum(0)
