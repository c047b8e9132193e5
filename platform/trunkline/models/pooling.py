"""From token states to one vector per row."""

from __future__ import annotations

from torch import Tensor

from trunkline.batch import RowIndex
from trunkline.registry import POOLINGS


@POOLINGS.register("first")
def first(hidden: Tensor, rows: RowIndex) -> Tensor:
    """The state of each row's first token. hidden [n, D] -> [R, D]."""
    return hidden[rows.starts]


@POOLINGS.register("mean")
def mean(hidden: Tensor, rows: RowIndex) -> Tensor:
    """The mean of each row's token states, special tokens included. hidden [n, D] -> [R, D]."""
    total = hidden.new_zeros(len(rows), hidden.shape[1]).index_add(0, rows.row_of_token, hidden)
    return total / rows.lengths.unsqueeze(1).to(hidden.dtype)


@POOLINGS.register("max")
def largest(hidden: Tensor, rows: RowIndex) -> Tensor:
    """The largest value of each feature over the row's tokens. hidden [n, D] -> [R, D]."""
    index = rows.row_of_token.unsqueeze(1).expand_as(hidden)
    empty = hidden.new_full((len(rows), hidden.shape[1]), float("-inf"))
    return empty.scatter_reduce(0, index, hidden, "amax")
