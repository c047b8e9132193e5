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
        # Word by word from the back, long rows first, so that the rows still going on are a prefix: no padding, and one gather.
        row = (place == 0).cumsum(0) - 1
        rank = torch.bincount(row).argsort(descending=True, stable=True).argsort()
        order = (place * len(rank) + rank[row]).argsort()
        sizes = torch.bincount(place).tolist()
        before = F.pad(labels[:-1], (1, 0))  # at a row's first word any label will do
        parts = zip(*(value[order].split(sizes) for value in (tables, before, labels)), strict=True)
        ahead = tables.new_zeros(0, tables.shape[-1])  # log Z of the next word [rows that have one, C]
        values = []
        for table, previous, own in reversed(list(parts)):
            ended = tables.new_zeros(len(own) - len(ahead), tables.shape[-1])
            scores = table + torch.cat([ahead, ended])[:, None]  # [rows, C, C]
            ahead = scores.logsumexp(-1)
            here = torch.arange(len(own), device=place.device)
            values.append(ahead[here, previous] - scores[here, previous, own])
        return torch.cat(values[::-1])[order.argsort()]
