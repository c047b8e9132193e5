"""The order in which a recurrent layer reads a pack: the first token of every row, then the second of every row that has one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence


@dataclass(frozen=True)
class Steps:
    """index [n]: the tokens as they are read; sizes [steps]: how many rows are read at each, on the host, never growing."""

    index: Tensor
    sizes: Tensor

    @classmethod
    def of(
        cls, lengths: np.ndarray, device: torch.device, *, rows: np.ndarray | None = None, ahead: np.ndarray | None = None
    ) -> Steps:
        """lengths [R]: tokens of the pack's rows, on the host. rows: only these; ahead [R] bool: read from their end."""
        starts = np.cumsum(lengths) - lengths
        rows = np.arange(len(lengths)) if rows is None else rows
        order = rows[np.argsort(-lengths[rows], kind="stable")]
        own = lengths[order]
        ends = np.cumsum(own)
        step = np.arange(own.sum()) - np.repeat(ends - own, own)
        sizes = np.bincount(step)
        back = np.zeros(len(lengths), bool) if ahead is None else ahead
        place = np.where(np.repeat(back[order], own), np.repeat(own, own) - 1 - step, step)
        index = np.empty(len(step), np.int64)
        # Longest first, so the rows still going on at a step are a prefix: a row's slot is its rank.
        index[(np.cumsum(sizes) - sizes)[step] + np.repeat(np.arange(len(order)), own)] = np.repeat(starts[order], own) + place
        return cls(torch.from_numpy(index).to(device), torch.from_numpy(sizes))

    def run(self, layer: nn.RNNBase, states: Tensor) -> Tensor:
        """states [N, d] through a layer that knows one row from another: [N, d'], 0 for tokens that are not read."""
        read = PackedSequence(states[self.index], self.sizes)
        out: Tensor = layer(read)[0].data
        return out.new_zeros(len(states), out.shape[1]).index_copy(0, self.index, out)
