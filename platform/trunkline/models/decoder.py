"""A Transformer decoder over the trunk's states: taught on flat tokens, or asked token by token."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trunkline.batch import RowIndex


@dataclass(frozen=True)
class Grid:
    """Where flat items lie in a padded grid of rows: row [n], place [n] within it; shape: rows, longest row."""

    row: Tensor
    place: Tensor
    shape: tuple[int, int]

    def spread(self, flat: Tensor, heads: int) -> Tensor:
        """[n, H d] -> [rows, H, longest, d], 0 where nothing lies."""
        padded = flat.new_zeros(*self.shape, flat.shape[-1]).index_put((self.row, self.place), flat)
        return padded.unflatten(-1, (heads, -1)).transpose(1, 2)

    def flatten(self, padded: Tensor) -> Tensor:
        """The way back."""
        return padded.transpose(1, 2).flatten(2)[self.row, self.place]


@dataclass
class State:
    """What is known while texts are written. own: each layer's keys and values of the M texts so far, [M, H, t, d]; memory: those
    of the R rows, [R, H, S, d]; mask [R, 1, 1, S]. M is R times the texts per row.
    """

    own: list[tuple[Tensor, Tensor]]
    memory: list[tuple[Tensor, Tensor]]
    mask: Tensor

    def take(self, texts: Tensor, rows: Tensor | None = None) -> State:
        """The same of these texts, in that order, and of these rows (by default all)."""
        own = [(keys[texts], values[texts]) for keys, values in self.own]
        if rows is None:
            return State(own, self.memory, self.mask)
        return State(own, [(keys[rows], values[rows]) for keys, values in self.memory], self.mask[rows])


class Layer(nn.Module):
    """Attention to what is written, attention to the row's states, a feed-forward net; normed before each, added after.

    Where keys lie is the caller's affair: own(queries, keys, values) and memory(queries) attend, flat [n, size] to the same.
    """

    def __init__(self, size: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(size) for _ in range(3)])
        self.own_in = nn.Linear(size, 3 * size, bias=False)
        self.own_out = nn.Linear(size, size)
        self.ask = nn.Linear(size, size, bias=False)
        self.ask_out = nn.Linear(size, size)
        self.feed = nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(), nn.Linear(4 * size, size))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, own: Callable[[Tensor, Tensor, Tensor], Tensor], memory: Callable[[Tensor], Tensor]) -> Tensor:
        queries, keys, values = self.own_in(self.norms[0](x)).chunk(3, -1)
        x = x + self.dropout(self.own_out(own(queries, keys, values)))
        x = x + self.dropout(self.ask_out(memory(self.ask(self.norms[1](x)))))
        return x + self.dropout(self.feed(self.norms[2](x)))


class Decoder(nn.Module):
    """Layers over embeddings and sinusoids; the output matrix is the embeddings'. The end token, the last id, also begins.

    Source: Vaswani et al., arXiv:1706.03762, sections 3.1, 3.4 and 3.5; norms stand before each part (Xiong et al.,
    arXiv:2002.04745) and after the last, and attention has neither dropout nor biases before it. Letters: R rows, S their
    longest, K target tokens, V outputs, M texts being written. runs_whole: under ZeRO-3 its parameters are gathered once a
    call, for `ask` takes as many steps as the texts of THIS rank need, and other ranks take others.
    """

    runs_whole: ClassVar[bool] = True

    def __init__(self, width: int, num_outputs: int, *, size: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.size, self.end = heads, size, num_outputs - 1
        self.embeddings = nn.Parameter(torch.randn(num_outputs, size) / math.sqrt(size))
        self.layers = nn.ModuleList([Layer(size, dropout) for _ in range(layers)])
        self.tell = nn.ModuleList([nn.Linear(width, 2 * size, bias=False) for _ in range(layers)])
        self.norm = nn.LayerNorm(size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, rows: RowIndex, ask: Callable[[Decoder, State], Tensor] | None = None) -> Tensor:
        """Logits of the rows' labels, each told all before it: [K, V]; or what `ask` makes of this decoder and a fresh state."""
        longest = int(rows.lengths.max())
        place = torch.arange(len(hidden), device=hidden.device) - rows.starts[rows.row_of_token]
        grid = Grid(rows.row_of_token, place, (len(rows), longest))
        mask = torch.arange(longest, device=hidden.device) < rows.lengths[:, None]
        told = [tell(hidden).chunk(2, -1) for tell in self.tell]
        memory = [(grid.spread(keys, self.heads), grid.spread(values, self.heads)) for keys, values in told]
        state = State([], memory, mask[:, None, None])
        return self._taught(state, rows) if ask is None else ask(self, state)

    def _taught(self, state: State, rows: RowIndex) -> Tensor:
        labels, place = rows.targets["labels"].long(), rows.targets["place"].long()
        grid = Grid((place == 0).cumsum(0) - 1, place, (len(rows), int(place.max()) + 1))
        x = self._embedded(torch.where(place == 0, self.end, labels.roll(1)), place)

        def own(*parts: Tensor) -> Tensor:
            # What lies behind a row's end is behind its every token too, so the causal mask hides it.
            queries, keys, values = (grid.spread(part, self.heads) for part in parts)
            return grid.flatten(F.scaled_dot_product_attention(queries, keys, values, is_causal=True))

        for layer, (keys, values) in zip(self.layers, state.memory, strict=True):

            def memory(queries: Tensor, keys: Tensor = keys, values: Tensor = values) -> Tensor:
                asked = grid.spread(queries, self.heads)
                return grid.flatten(F.scaled_dot_product_attention(asked, keys, values, attn_mask=state.mask))

            x = layer(x, own, memory)
        return self._logits(x)

    def step(self, state: State, tokens: Tensor) -> Tensor:
        """Log-probabilities [M, V] of what follows these tokens [M], the newest of each text; the state then knows them."""
        first = not state.own
        written = 0 if first else state.own[0][0].shape[2]
        x = self._embedded(tokens, torch.full_like(tokens, written))
        for number, (layer, (keys, values)) in enumerate(zip(self.layers, state.memory, strict=True)):

            def own(*parts: Tensor, number: int = number) -> Tensor:
                queries, new_keys, new_values = (part.unflatten(-1, (self.heads, 1, -1)) for part in parts)
                if first:
                    state.own.append((new_keys, new_values))
                else:
                    old_keys, old_values = state.own[number]
                    state.own[number] = (torch.cat([old_keys, new_keys], 2), torch.cat([old_values, new_values], 2))
                return F.scaled_dot_product_attention(queries, *state.own[number]).flatten(1)

            def memory(queries: Tensor, keys: Tensor = keys, values: Tensor = values) -> Tensor:
                # The texts of one row ask the same states: they stand where a sequence would.
                asked = queries.unflatten(-1, (self.heads, -1)).unflatten(0, (len(keys), -1)).transpose(1, 2)
                told = F.scaled_dot_product_attention(asked, keys, values, attn_mask=state.mask)
                return told.transpose(1, 2).flatten(2).flatten(0, 1)

            x = layer(x, own, memory)
        return self._logits(x).float().log_softmax(-1)

    def _embedded(self, tokens: Tensor, place: Tensor) -> Tensor:
        return self.dropout(F.embedding(tokens, self.embeddings) * math.sqrt(self.size) + sinusoids(place, self.size))

    def _logits(self, x: Tensor) -> Tensor:
        return F.linear(self.norm(x), self.embeddings)


def sinusoids(place: Tensor, size: int) -> Tensor:
    """[n, size]: sines, then cosines, of place over wavelengths from 2 pi to 20000 pi. Source: Vaswani et al., section 3.5."""
    rates = torch.exp(torch.arange(0, size, 2, device=place.device) * (-math.log(10000.0) / size))
    angles = place[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], -1)[:, :size]
