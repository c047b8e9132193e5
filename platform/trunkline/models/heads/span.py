"""Where in a text the answer stands."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trunkline.batch import RowIndex
from trunkline.errors import ConfigError
from trunkline.models.heads.base import Head
from trunkline.registry import HEADS, Count, Dropout


@HEADS.register("span")
class Span(Head):
    """An affine map to two logits at every place an answer may start or end: [K, 2].

    A drawn row is a question's windows, each a trunk row. Its places are "no answer" (the first window's first token) and every
    token of the context, window by window; `place` [K] in the targets numbers them within the row, from 0.
    max_answer_tokens: the longest answer that is predicted. Source: Devlin et al., arXiv:1810.04805, section 4.2.
    """

    def __init__(self, width: int, *, dropout: Dropout = 0.0, max_answer_tokens: Count = 30) -> None:
        super().__init__()
        if isinstance(max_answer_tokens, bool) or not isinstance(max_answer_tokens, int) or max_answer_tokens < 1:
            raise ConfigError(f"max_answer_tokens: a whole number from 1 up is needed, found {max_answer_tokens!r}.")
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, 2)
        self.max_answer_tokens = max_answer_tokens

    def forward(self, hidden: Tensor, rows: RowIndex) -> Tensor:
        return self.out(self.dropout(hidden[rows.positions]))  # [K, 2]

    def answer(self, hidden: Tensor, rows: RowIndex) -> Tensor:
        """[n, 4] float32: start and end place of the likeliest answer within one window, its log-probability, that of none.

        A log-probability is that of the start plus that of the end, each normalised over all of the row's places. Both places
        are 0 where the context has no token.
        """
        assert rows.positions is not None
        place = rows.targets["place"].long()
        row = (place == 0).cumsum(0) - 1
        table = torch.full((int(row[-1]) + 1, int(place.max()) + 1, 2), float("-inf"), device=place.device)
        table[row, place] = self(hidden, rows).detach().float()
        table = table.log_softmax(1)  # [n, places, 2]
        start, end = table[row, place].unbind(-1)
        window = torch.where(place == 0, -1 - row, rows.row_of_token[rows.positions])
        best, last = torch.full_like(end, float("-inf")), place.clone()
        for ahead in range(min(self.max_answer_tokens, len(place))):
            begin = len(place) - ahead
            reached = torch.where((window[ahead:] == window[:begin]) & (place[:begin] > 0), end[ahead:], float("-inf"))
            better = reached > best[:begin]
            best[:begin] = torch.where(better, reached, best[:begin])
            last[:begin] = torch.where(better, place[ahead:], last[:begin])
        scores = torch.full_like(table[..., 0], float("-inf"))
        scores[row, place] = start + best
        score, first = scores.max(1)
        ends = torch.zeros_like(scores, dtype=torch.long)
        ends[row, place] = last
        final = ends.gather(1, first[:, None]).squeeze(1)
        return torch.stack([first.float(), final.float(), score, table[:, 0].sum(-1)], -1)
