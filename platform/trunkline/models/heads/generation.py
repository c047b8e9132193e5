"""A text written for each row."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from trunkline.batch import RowIndex
from trunkline.errors import ConfigError
from trunkline.models.decoder import Decoder
from trunkline.models.heads.base import Head
from trunkline.models.search import Search
from trunkline.registry import HEADS, Count, Dropout


@HEADS.register("generation")
class Generation(Head):
    """A small Transformer decoder over the trunk's states of a row. Rows (one text or a pair) carry the text to be written.

    Learns by teacher forcing: logits [K, V] of each target token, told those before it. size: the decoder's width, by default
    the trunk's; heads must divide it. beams, length_penalty: how texts are searched for when it answers; see `Search`.
    targets: labels [K], rows end to end, one or more a row; place [K], a target's number within its row.
    """

    def __init__(
        self,
        width: int,
        num_outputs: int,
        max_target: int,
        *,
        layers: Count = 2,
        heads: Count = 4,
        size: Count | None = None,
        dropout: Dropout = 0.0,
        beams: int = 1,
        length_penalty: float = 0.6,
    ) -> None:
        super().__init__()
        size = width if size is None else size
        for name, value in (("layers", layers), ("heads", heads), ("size", size), ("beams", beams)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name}: a whole number from 1 up is needed, found {value!r}.")
        if size % heads:
            raise ConfigError(f"heads: {heads} do not divide the decoder's width {size}. Set size or heads so that they do.")
        if isinstance(length_penalty, bool) or not isinstance(length_penalty, int | float) or length_penalty < 0:
            raise ConfigError(f"length_penalty: a number from 0 up is needed, found {length_penalty!r}.")
        self.decoder = Decoder(width, num_outputs, size=size, layers=layers, heads=heads, dropout=dropout)
        self.search = Search(beams, length_penalty, max_target + 1)

    def forward(self, hidden: Tensor, rows: RowIndex) -> Tensor:
        return self.decoder(hidden, rows)  # [K, V]

    def answer(self, hidden: Tensor, rows: RowIndex) -> Tensor:
        """[R, 1 + 2 T], T = max_target + 1: the score, the ids written (-1 after the end), the loss of each target token in nats
        (0 after the last, and where there are no targets)."""
        written = self.decoder(hidden, rows, self.search)
        losses = torch.zeros_like(written[:, 1:])
        if "labels" in rows.targets:
            place = rows.targets["place"].long()
            values = F.cross_entropy(self(hidden, rows).float(), rows.targets["labels"].long(), reduction="none")
            losses[(place == 0).cumsum(0) - 1, place] = values
        return torch.cat([written, losses], 1)
