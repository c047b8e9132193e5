"""A chain over the labels of a row's words: what one label says of the next."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.batch import RowIndex


class Chain(nn.Module):
    """Log-potentials of neighbouring labels: start [C] of the first word, transitions [C, C] (from, to), end [C] of the last.

    All start at 0, where the words are independent. They are parameters of the head, so they are sharded, saved and grouped
    with it.
    """

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(num_labels))
        self.transitions = nn.Parameter(torch.zeros(num_labels, num_labels))
        self.end = nn.Parameter(torch.zeros(num_labels))

    def forward(self, logits: Tensor, rows: RowIndex) -> Tensor:
        """logits [K, C] -> tables [K, C, C] float32: (previous label, own label); a first word's lines are alike."""
        assert rows.positions is not None
        row = rows.row_of_token[rows.positions]  # [K]
        change = row[1:] != row[:-1]
        first, last = F.pad(change, (1, 0), value=True)[: len(row)], F.pad(change, (0, 1), value=True)[: len(row)]
        own = logits.float() + last[:, None] * self.end  # [K, C]
        before = torch.where(first[:, None, None], self.start.expand_as(self.transitions), self.transitions)
        return own[:, None] + before


def best_path(tables: Tensor, place: Tensor, allowed: Tensor | None) -> Tensor:
    """The likeliest labels of every row: [K] int64.

    tables [K, C, C] as `Chain` gives them; place [K]: the word's number within its row; allowed [C + 1, C] bool: which label may
    follow which, the last line for a row's first word. Source: Viterbi, IEEE Trans. Information Theory 13 (1967), from the back.
    """
    if not len(place):
        return place.long()
    place = place.long()
    if allowed is not None:
        may = torch.where((place == 0)[:, None, None], allowed[-1].expand_as(allowed[:-1]), allowed[:-1])
        tables = tables.masked_fill(~may, float("-inf"))
    # Word by word, long rows first, so that the rows still going on are a prefix.
    row = (place == 0).cumsum(0) - 1
    rank = torch.bincount(row).argsort(descending=True, stable=True).argsort()
    order = (place * len(rank) + rank[row]).argsort()
    ahead = tables.new_zeros(0, tables.shape[-1])  # best score of what follows [rows that go on, C]
    choices = []
    for table in reversed(tables[order].split(torch.bincount(place).tolist())):
        ended = tables.new_zeros(len(table) - len(ahead), tables.shape[-1])
        ahead, choice = (table + torch.cat([ahead, ended])[:, None]).max(-1)  # [rows, C]
        choices.append(choice)
    label = torch.zeros(len(rank), dtype=torch.long, device=place.device)
    path = []
    for choice in reversed(choices):
        label = choice.gather(1, label[: len(choice), None]).squeeze(1)
        path.append(label)
    return torch.cat(path)[order.argsort()]
