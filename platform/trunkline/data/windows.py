"""Questions beside their contexts, a long context in several overlapping windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trunkline.data.encoded import Encoded, Spelled
from trunkline.data.rows import Ragged
from trunkline.data.tokenizer import Tokenizer


@dataclass(frozen=True)
class Windows:
    """Rows `[CLS] question [SEP] piece of context [SEP]`, as many of them for each question as its context needs.

    encoded: all windows of all questions as trunk rows. count [n]: windows of each question; first, length per window: which
    tokens of the context it holds. begin: where they begin in the window. context [n]: the context's number in `spelled`.
    room, step [n]: tokens of the context that fit into a window, and how far on the next one begins. kept [n]: tokens of
    the context that stand in any window.
    question_cut, context_cut [n] bool: tokens of it were left out.
    """

    encoded: Encoded
    count: np.ndarray
    first: np.ndarray
    length: np.ndarray
    begin: np.ndarray
    spelled: Spelled
    context: np.ndarray
    room: np.ndarray
    step: np.ndarray
    kept: np.ndarray
    question_cut: np.ndarray
    context_cut: np.ndarray

    @property
    def starts(self) -> np.ndarray:
        """The first window of each question, and the number of all: [n+1]."""
        return np.concatenate([[0], np.cumsum(self.count)]).astype(np.int64)

    @property
    def owner(self) -> np.ndarray:
        """The question of each window."""
        return np.repeat(np.arange(len(self.count)), self.count)

    def characters(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Of the kept tokens of a question's context: the first character of each, and the one behind its last."""
        begin = int(self.spelled.ids.starts[self.context[row]])
        own = slice(begin, begin + int(self.kept[row]))
        return self.spelled.starts[own], self.spelled.ends[own]

    def hold(self, row: int, start: int, end: int) -> bool:
        """Whether tokens start to end (inclusive) of a question's context stand in one window together."""
        last = min(start // int(self.step[row]), int(self.count[row]) - 1)  # of those with the start the one that goes furthest
        return start <= end < min(last * int(self.step[row]) + int(self.room[row]), int(self.kept[row]))


def windows(
    tokenizer: Tokenizer, questions: Sequence[str], contexts: Sequence[str], *, overlap: int, max_windows: int
) -> Windows:
    """Every token of a context stands in a window, and neighbours share `overlap` tokens (at most half of what fits).

    A question keeps at most half of a window; a context's end is cut where more than `max_windows` would be needed. Each distinct
    context is tokenised once. contexts: well-formed text.
    """
    budget = tokenizer.max_length - tokenizer.num_special(True)
    asked, question_cut = tokenizer.ids(questions, budget // 2)
    index: dict[str, int] = {}
    context = np.fromiter((index.setdefault(text, len(index)) for text in contexts), np.int64, len(contexts))
    spelled = tokenizer.spell(list(index), budget * max_windows)
    total = spelled.ids.lengths[context]
    room = budget - asked.lengths
    step = room - np.minimum(overlap, room // 2)
    count = np.clip(-(-(total - room) // step) + 1, 1, max_windows)
    kept = np.minimum(total, room + (count - 1) * step)
    owner = np.repeat(np.arange(len(count)), count)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    first = number * step[owner]
    length = np.minimum(room[owner], kept[owner] - first)
    at = np.repeat(spelled.ids.starts[context[owner]] + first, length) + places(length)
    pieces = Ragged(spelled.ids.values[at], np.concatenate([[0], np.cumsum(length)]).astype(np.int64))
    encoded, begin = tokenizer.pairs(asked.take(owner), pieces)
    context_cut = (kept < total) | spelled.cut[context]
    return Windows(encoded, count, first, length, begin, spelled, context, room, step, kept, question_cut, context_cut)


def places(lengths: np.ndarray) -> np.ndarray:
    """0, 1, .. for each of these lengths, one after the other."""
    return np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
