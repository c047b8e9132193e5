"""Losses over the labels of a row's words together."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from trunkline.losses.base import Loss
from trunkline.registry import LOSSES


@LOSSES.register("crf")
class CRF(Loss):
    """A linear-chain conditional random field: -log p(labels of the row), told word by word.

        p(y) = exp(sum over words k of  outputs[k, y[k-1], y[k]]) / Z
        value of word k = -log p(y[k] | y[1..k-1]) = log Z[k, i] - (outputs[k, i, y[k]] + log Z[k+1, y[k]]),  i = y[k-1]
        log Z[k, i] = logsumexp over j of (outputs[k, i, j] + log Z[k+1, j]), 0 after the last word

    outputs [K, C, C]: log-potentials of (previous label, own label) of every word, which the head gives because this loss asks
    for transitions; before a row's first word there is no label, and its table is alike in every row i. targets `labels` [K],
    `place` [K]: the word's number within its row, from 0. Returns [K] in nats; a row's values add up to -log p of its labels.
    Source: Lafferty, McCallum & Pereira, ICML 2001. Departure: the row's value is split by the chain rule, so the unit is the
    word as in `cross_entropy` (to which it is equal when the transitions are 0), and long rows do not outweigh other tasks.
    """

    unit = "target"
    reads = frozenset({"labels", "place"})
    asks = {"transitions": True}

    def forward(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        tables, labels, place = outputs.float(), targets["labels"].long(), targets["place"].long()
        first = torch.nonzero(place == 0).squeeze(-1)  # [R]
        lengths = torch.diff(first, append=first.new_tensor([len(place)]))
        row = torch.arange(len(first), device=place.device)
        before = F.pad(labels[:-1], (1, 0))  # at a row's first word any label will do
        ahead = tables.new_zeros(len(first), tables.shape[-1])  # log Z of the next word [R, C]
        values = []
        for number in reversed(range(int(lengths.max()))):
            word = first + torch.clamp(lengths - 1, max=number)  # [R]; rows that have ended repeat their last word
            scores = tables[word] + ahead[:, None]  # [R, C, C]
            total = scores.logsumexp(-1)  # [R, C]
            values.append(total[row, before[word]] - scores[row, before[word], labels[word]])
            ahead = torch.where((lengths > number)[:, None], total, ahead)
        own_row = torch.repeat_interleave(row, lengths, output_size=len(place))
        return torch.stack(values[::-1])[place, own_row]
