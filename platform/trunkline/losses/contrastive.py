"""Losses that rank candidates; their rows come in groups."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from trunkline.losses.base import Loss
from trunkline.registry import LOSSES


@LOSSES.register("infonce")
class InfoNCE(Loss):
    """Softmax over the candidates of the row's own group: -log softmax(q . c / temperature)[own candidate].

    outputs [n, 2, D]: query and candidate of each row, unit length; rows lie group by group. targets `key` [n]: a hash of
    the candidate's text; another row's candidate with the same key is no negative. Returns [n] in nats.
    Source: Henderson et al., arXiv:1705.00652, section 4.4. Departure: negatives come from the group (law 1), never
    from the rank's whole batch, so the loss does not depend on how rows are dealt.
    """

    unit = "row"
    reads = frozenset({"key"})

    def __init__(self, *, group: int = 16, temperature: float = 0.05) -> None:
        super().__init__()
        self.group, self.temperature = group, temperature

    def forward(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        size = min(self.group, outputs.shape[0])  # the dummy is a group of one
        grouped = outputs.float().unflatten(0, (-1, size))  # [groups, G, 2, D]
        scores = grouped[:, :, 0] @ grouped[:, :, 1].transpose(1, 2) / self.temperature  # [groups, G, G]
        key = targets["key"].unflatten(0, (-1, size))
        own = torch.eye(size, dtype=torch.bool, device=key.device)
        twin = (key[:, :, None] == key[:, None, :]) & ~own
        scores = scores.masked_fill(twin, float("-inf"))
        wanted = torch.arange(size, device=key.device).expand(scores.shape[0], size)
        return F.cross_entropy(scores.flatten(0, 1), wanted.flatten(), reduction="none")
