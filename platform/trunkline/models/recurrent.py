"""Recurrent trunks: rnn, lstm and gru, over the pack as it lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from trunkline.batch import Batch
from trunkline.errors import ConfigError
from trunkline.models.own import Own, check_share, check_size
from trunkline.models.steps import Steps
from trunkline.registry import TRUNKS, Count, Dropout


class Recurrent(Own):
    """Layers of one kind of recurrent cell, each row from a state of 0: hidden [N, D], no padding, no row in another's state.

    hidden_size: D; each direction of a bidirectional layer has half of it. dropout: of the embeddings and every layer's output.
    window: a row is read in windows of so many tokens, each from a state of 0; None: whole. One direction reads forth, and
    rows that look ahead only from their end; a bidirectional trunk mixes the directions, so one-way tasks are refused.
    """

    cell: ClassVar[Callable[..., nn.RNNBase]]
    one_way: ClassVar[str] = "Write bidirectional: false, or take bilm or transformer."

    def __init__(
        self,
        vocab_size: int,
        pad_id: int,
        max_length: int,
        *,
        hidden_size: Count = 256,
        layers: Count = 1,
        bidirectional: bool = True,
        window: Count | None = None,
        dropout: Dropout = 0.1,
        embeddings: Mapping[str, Any] | None = None,
        pretrained: str | None = None,
    ) -> None:
        super().__init__()
        del pad_id, max_length
        given = {"hidden_size": hidden_size, "layers": layers, "bidirectional": bidirectional, "window": window}
        sizes = self.begin(vocab_size, pretrained, embeddings, **given)
        self.width, both = check_size("hidden_size", sizes["hidden_size"]), bool(sizes["bidirectional"])
        if both and self.width % 2:
            raise ConfigError(f"trunk.hidden_size: two directions have half of it each, found {self.width}. Make it even.")
        self.window = None if sizes["window"] is None else check_size("window", sizes["window"])
        self.sights = frozenset({0} if both else {-1, 0, 1})
        self.dropout = nn.Dropout(check_share("dropout", dropout))
        self.embed = self.table(self.width)
        size = self.width // 2 if both else self.width
        count = check_size("layers", sizes["layers"])
        self.stack = nn.ModuleList(self.cell(self.width, size, bidirectional=both) for _ in range(count))
        self.num_layers = 1 + count
        self.open()

    def forward(self, batch: Batch) -> Tensor:
        return self.layers(batch)[-1]

    def layers(self, batch: Batch) -> list[Tensor]:
        lengths, ahead = self._pieces(batch)
        steps = Steps.of(lengths, batch.tokens.device, ahead=ahead)
        states = [self.dropout(self.embed(batch))]
        for layer in self.stack:
            assert isinstance(layer, nn.RNNBase)
            states.append(self.dropout(steps.run(layer, states[-1])))
        return states

    def _pieces(self, batch: Batch) -> tuple[np.ndarray, np.ndarray | None]:
        """Lengths of what is read from a state of 0, whole rows or their windows, and which of them are read from their end."""
        lengths, ahead = batch.row_lengths, None if batch.sight is None else batch.sight > 0
        if self.window is None:
            return lengths, ahead
        count = -(-lengths // self.window)
        pieces = np.full(count.sum(), self.window)
        last = np.cumsum(count) - 1
        # What is left over is read last: the end of a row, the beginning of one that is read from its end.
        pieces[last if ahead is None else np.where(ahead, last - count + 1, last)] = lengths - (count - 1) * self.window
        return pieces, None if ahead is None else np.repeat(ahead, count)


@TRUNKS.register("rnn")
class RNN(Recurrent):
    """Layers of Elman's cell, h[t] = tanh(W x[t] + U h[t-1] + b), in one direction or two.

    Source: Elman, Cognitive Science 14 (1990); two directions: Schuster & Paliwal, IEEE Trans. Signal Processing 45 (1997).
    """

    kind = "rnn"
    cell = nn.RNN


@TRUNKS.register("lstm")
class LSTM(Recurrent):
    """Layers of long short-term memory, in one direction or two.

    Source: Hochreiter & Schmidhuber, Neural Computation 9 (1997), with the forget gate of Gers et al. (2000); torch's own.
    """

    kind = "lstm"
    cell = nn.LSTM


@TRUNKS.register("gru")
class GRU(Recurrent):
    """Layers of gated recurrent units, in one direction or two.

    Source: Cho et al., EMNLP 2014 (arXiv:1406.1078); torch's own, whose reset gate stands behind the matrix.
    """

    kind = "gru"
    cell = nn.GRU
