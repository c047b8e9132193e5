"""Which token comes next, and which came before."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trunkline.batch import RowIndex
from trunkline.models.heads.masked_language import MaskedLanguage
from trunkline.registry import HEADS


@HEADS.register("bilm")
class Bilm(MaskedLanguage):
    """For each direction an affine map, GELU and layer norm of its own, then one output matrix for both: logits [K, V].

    A drawn row is two trunk rows, the first looking back (it guesses the next token), the second ahead (the one before).
    Source: Peters et al., arXiv:1802.05365, section 3.1, whose directions share the softmax too.
    """

    def __init__(self, width: int, vocab_size: int) -> None:
        super().__init__(width, vocab_size)
        self.ahead = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))

    def forward(self, hidden: Tensor, rows: RowIndex) -> Tensor:
        assert rows.positions is not None
        states = hidden[rows.positions]
        looks_ahead = (rows.row_of_token[rows.positions] % 2 == 1).unsqueeze(-1)
        return self.out(torch.where(looks_ahead, self.ahead(states), self.transform(states)))  # [K, V]
