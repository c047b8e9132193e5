"""The loss of a span in a text: where it starts and where it ends."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from trunkline.losses.base import Loss
from trunkline.registry import LOSSES


@LOSSES.register("span")
class Span(Loss):
    """Cross entropy of the start and of the end, each over all places of a question's windows together.

        value = (-log P(start) - log P(end)) / 2
        P(start) = sum over gold starts of exp(s) / sum over all places of exp(s); the end likewise

    outputs [K, 2]: logits of start and end at every place. targets `place` [K]: the place's number within its row, from 0, which
    is "no answer"; `is_start`, `is_end` [K] of 0 and 1: the gold places, at least one of each in a row (an answer where windows
    overlap has several). Returns one value for each drawn row, in nats.
    Source: Clark & Gardner, arXiv:1710.10723, the shared normalisation of their confidence method and the summed objective they
    take for noisy labels; a place for "no answer" as in Devlin et al., arXiv:1810.04805, section 4.3. Departure: the mean of
    start and end where the sum is usual in papers, as BERT's released code has it.
    """

    unit = "row"
    reads = frozenset({"place", "is_start", "is_end"})

    def forward(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        logits, place = outputs.float(), targets["place"].long()
        row = (place == 0).cumsum(0) - 1
        gold = torch.stack([targets["is_start"], targets["is_end"]], -1).bool()  # [K, 2]
        every = logits.new_full((int(row[-1]) + 1, int(place.max()) + 1, 2), float("-inf"))  # [n, places, 2]
        right = every.index_put((row, place), logits.masked_fill(~gold, float("-inf")))
        every = every.index_put((row, place), logits)
        return (every.logsumexp(1) - right.logsumexp(1)).mean(-1)
