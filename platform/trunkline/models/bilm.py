"""The biLM trunk: ELMo's two language models, one forth and one back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from trunkline.batch import Batch
from trunkline.errors import ConfigError
from trunkline.models.own import Own, check_share, check_size
from trunkline.models.steps import Steps
from trunkline.registry import TRUNKS, Count, Dropout


@TRUNKS.register("bilm")
class BiLM(Own):
    """A stack of LSTMs that reads forth and one that reads back, of one token layer: hidden [N, D], a half of each.

    A row that looks back only has the forth half and 0 in the other, one that looks ahead only the reverse: no state of a token
    that the task is to guess. So tasks of kind `bilm` train the two language models, and any other reads both, with
    `layer_mix: true` in its head as ELMo does. hidden_size: D. cell_size: of the memory cells, projected to D / 2; None: D / 2.
    dropout: of the embeddings and of every layer's output. From the second layer on, a layer adds to what it reads.
    Source: Peters et al., arXiv:1802.05365, section 3.1 and 3.3. Departures: a table of tokens in place of the convolution over
    characters; all layers have the residual connection from the second on.
    """

    kind: ClassVar[str] = "bilm"
    sights = frozenset({-1, 0, 1})

    def __init__(
        self,
        vocab_size: int,
        pad_id: int,
        max_length: int,
        *,
        hidden_size: Count = 256,
        layers: Count = 2,
        cell_size: Count | None = None,
        dropout: Dropout = 0.1,
        embeddings: Mapping[str, Any] | None = None,
        pretrained: str | None = None,
    ) -> None:
        super().__init__()
        del pad_id, max_length
        sizes = self.begin(vocab_size, pretrained, embeddings, hidden_size=hidden_size, layers=layers, cell_size=cell_size)
        self.width = check_size("hidden_size", sizes["hidden_size"])
        if self.width % 2:
            raise ConfigError(f"trunk.hidden_size: two directions have half of it each, found {self.width}. Make it even.")
        half, cell = self.width // 2, sizes["cell_size"]
        if cell is not None and check_size("cell_size", cell) <= half:
            raise ConfigError(
                f"trunk.cell_size: {cell} are projected to {half}, half of hidden_size. Take more, or leave it out."
            )
        count = check_size("layers", sizes["layers"])
        self.dropout = nn.Dropout(check_share("dropout", dropout))
        self.embed = self.table(half)
        self.forth, self.back = (
            nn.ModuleList(nn.LSTM(half, cell or half, proj_size=half if cell else 0) for _ in range(count)) for _ in range(2)
        )
        self.num_layers = 1 + count
        self.open()

    @property
    def blocks(self) -> list[nn.Module]:
        return [nn.ModuleList(both) for both in zip(self.forth, self.back, strict=True)]

    def forward(self, batch: Batch) -> Tensor:
        return self.layers(batch)[-1]

    def layers(self, batch: Batch) -> list[Tensor]:
        tokens = self.dropout(self.embed(batch))  # [N, D / 2]
        sight = np.zeros(len(batch.row_lengths), np.int8) if batch.sight is None else batch.sight
        forth = self._direction(self.forth, tokens, batch, sight <= 0, ahead=False)
        back = self._direction(self.back, tokens, batch, sight >= 0, ahead=True)
        return [torch.cat(both, 1) for both in zip(forth, back, strict=True)]

    def _direction(self, stack: nn.ModuleList, tokens: Tensor, batch: Batch, reads: np.ndarray, *, ahead: bool) -> list[Tensor]:
        """The states of the rows that this direction reads, layer by layer; 0 elsewhere."""
        device, lengths = batch.tokens.device, batch.row_lengths
        read = torch.from_numpy(np.repeat(reads, lengths)).to(device).unsqueeze(1)
        # A direction that no row reads runs all the same, on the first row alone, so that every parameter has a gradient of 0.
        rows = np.flatnonzero(reads) if reads.any() else np.zeros(1, np.int64)
        steps = Steps.of(lengths, device, rows=rows, ahead=np.full(len(lengths), ahead))
        states = [torch.where(read, tokens, 0)]
        for number, layer in enumerate(stack):
            assert isinstance(layer, nn.LSTM)
            out = self.dropout(steps.run(layer, states[-1] if reads.any() else tokens))
            states.append(torch.where(read, out + states[-1] if number else out, 0))
        return states
