"""A masked-token head that gathers first, beside logits over every token."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.batch import Batch, RowIndex
from trunkline.data.packing import Table, pack, rows_of
from trunkline.data.units import Unit
from trunkline.models.heads.masked_language import MaskedLanguage
from trunkline.models.transformer import Transformer

VOCAB, WIDTH, LAYERS, HEADS = 30_522, 384, 6, 12  # of MiniLM-L6
ROWS, LENGTH, SHARE = 16, 32, 0.15


class Gathered:
    """One pack of masked rows: trunk, head, loss, backward."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.trunk = Transformer(VOCAB, 0, 512, hidden_size=WIDTH, layers=LAYERS, heads=HEADS, dropout=0.0)
        self.head = MaskedLanguage(WIDTH, VOCAB)
        rng = np.random.default_rng(0)
        rows = rows_of(rng.integers(5, VOCAB, (ROWS, LENGTH)).tolist())
        table = Table(rows, lambda given, _: (given.tokens.values, {}), rows.take(np.array([0])))
        units = [Unit("t", np.array([number]), np.array([0]), LENGTH) for number in range(ROWS)]
        self.batch: Batch = pack(units, {"t": table}, seed=0)
        self.places = torch.from_numpy(np.sort(rng.choice(ROWS * LENGTH, round(SHARE * ROWS * LENGTH), replace=False)))
        self.labels = torch.from_numpy(rng.integers(5, VOCAB, len(self.places)))

    def logits(self, hidden: Tensor) -> Tensor:
        none = torch.zeros(0, dtype=torch.long)
        found: Tensor = self.head(hidden, RowIndex(none, none, none, self.places))
        return found

    def step(self) -> float:
        nn.Module.zero_grad(self.trunk)
        nn.Module.zero_grad(self.head)
        loss = F.cross_entropy(self.logits(self.trunk(self.batch)), self.labels)
        loss.backward()
        return float(loss.detach())


class AllTokens(Gathered):
    """The same with the logits of every token, of which the masked ones are kept."""

    def logits(self, hidden: Tensor) -> Tensor:
        found: Tensor = self.head.out(self.head.transform(hidden))
        return found[self.places]
