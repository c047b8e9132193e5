"""Which text a decoder writes: its likeliest next token each time, or the best of several texts kept side by side."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trunkline.models.decoder import Decoder, State


@dataclass(frozen=True)
class Search:
    """Decoder and state of R rows -> [R, 1 + steps]: each row's score and the ids of its text, the end token last, then -1.

    score = sum of log p(token) / lp(n),  lp(n) = ((5 + n) / 6) ** length_penalty,  n tokens, the end token counted.
    beams: 1 is greedy. With more the greedy text stays a candidate beside those of the beam, so the score is never below
    greedy's; plain beam search does not promise that, for it may drop the greedy text on the way. steps: tokens at most; the
    last can only be the end. Equal scores go to the earlier beam, then the smaller id. length_penalty: 0 or more.
    Source: Wu et al., arXiv:1609.08144, equation 14, without its coverage penalty. Departures: every text of the beam may end
    at every step, even if its end is not among the best continuations, and a row is done once no text of its beam can pass
    the best that ended.
    """

    beams: int
    length_penalty: float
    steps: int

    def __call__(self, decoder: Decoder, state: State) -> Tensor:
        found = self.greedy(decoder, State([], state.memory, state.mask))
        if self.beams == 1:
            return found
        wider = self.beam(decoder, State([], state.memory, state.mask))
        return torch.where(found[:, :1] > wider[:, :1], found, wider)

    def penalty(self, length: int | Tensor) -> float | Tensor:
        return ((5 + length) / 6) ** self.length_penalty

    def greedy(self, decoder: Decoder, state: State) -> Tensor:
        num_rows, device = len(state.mask), state.mask.device
        total = torch.zeros(num_rows, device=device)
        ids = torch.full((num_rows, self.steps), -1, device=device)
        rows = torch.arange(num_rows, device=device)
        token = torch.full_like(rows, decoder.end)
        going = torch.ones_like(rows, dtype=torch.bool)
        for step in range(self.steps):
            log_p = decoder.step(state, token)  # [A, V], A rows still looked at
            last = step == self.steps - 1
            token = torch.full_like(token, decoder.end) if last else log_p.argmax(-1)
            total[rows] += torch.where(going, log_p.gather(1, token[:, None]).squeeze(1), 0.0)
            ids[rows, step] = torch.where(going, token, -1)
            going = going & (token != decoder.end)
            left = int(going.sum())
            if not left:
                break
            if 2 * left <= len(rows):  # copying what is known costs about a step
                kept = going.nonzero().squeeze(1)
                state, rows, token, going = state.take(kept, kept), rows[kept], token[kept], going[kept]
        score = total / self.penalty((ids >= 0).sum(1))
        return torch.cat([score[:, None], ids.float()], 1)

    def beam(self, decoder: Decoder, state: State) -> Tensor:
        num_rows, device = len(state.mask), state.mask.device
        best = torch.full((num_rows, 1 + self.steps), -1.0, device=device)
        best[:, 0] = float("-inf")
        rows = torch.arange(num_rows, device=device)
        token = torch.full((num_rows, self.beams), decoder.end, device=device)
        score = torch.full((num_rows, self.beams), float("-inf"), device=device)
        score[:, 0] = 0.0  # one text to begin with, or all beams would be alike
        ids = torch.full((num_rows, self.beams, self.steps), -1, device=device)
        for step in range(self.steps):
            log_p = decoder.step(state, token.flatten()).unflatten(0, token.shape)  # [A, B, V]
            total = score[..., None] + log_p
            self._end(best, rows, total[..., decoder.end] / self.penalty(step + 1), ids, step, decoder.end)
            if step == self.steps - 1:
                break
            total[..., decoder.end] = float("-inf")
            score, index = largest(total.flatten(1), self.beams)
            origin, token = index // total.shape[-1], index % total.shape[-1]
            ids = ids.gather(1, origin[..., None].expand_as(ids))
            ids[:, :, step] = token
            state = state.take((origin + self.beams * torch.arange(len(rows), device=device)[:, None]).flatten())
            going = best[rows, 0] < score[:, 0] / self.penalty(self.steps)
            left = int(going.sum())
            if not left:
                break
            if 2 * left <= len(rows):
                kept = going.nonzero().squeeze(1)
                texts = (kept[:, None] * self.beams + torch.arange(self.beams, device=device)).flatten()
                state, rows = state.take(texts, kept), rows[kept]
                token, score, ids = token[kept], score[kept], ids[kept]
        return best

    def _end(self, best: Tensor, rows: Tensor, ended: Tensor, ids: Tensor, step: int, end: int) -> None:
        """Ends every text here; the best end of a row is kept if it passes what was kept before."""
        beam = ended.argmax(1)
        found = ended.gather(1, beam[:, None])
        texts = ids[torch.arange(len(ids), device=ids.device), beam]
        texts[:, step] = end
        best[rows] = torch.where(found > best[rows, :1], torch.cat([found, texts.float()], 1), best[rows])


def largest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest of each line [n, m], m above count, and where they stand; of equal ones the earlier, in order."""
    found, index = values.topk(count + 1)
    tied = (found[:, -1] == found[:, -2]).nonzero().squeeze(1)
    if len(tied):  # topk takes any of those that are equal at the edge
        whole = values[tied].sort(descending=True, stable=True)
        found[tied], index[tied] = whole.values[:, : count + 1], whole.indices[:, : count + 1]
    order = index[:, :count].argsort()
    found, index = found[:, :count].gather(1, order), index[:, :count].gather(1, order)
    order = found.argsort(descending=True, stable=True)
    return found.gather(1, order), index.gather(1, order)
