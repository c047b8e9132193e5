"""Text of which every token says the next."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from trunkline.data.encoded import Encoded
from trunkline.data.encoding.base import Columns, Where, noted
from trunkline.data.encoding.language import Language, perplexity
from trunkline.data.rows import Ragged, Rows, beside
from trunkline.registry import ENCODINGS


@ENCODINGS.register("causal_language")
class CausalLanguage(Language):
    """One text; its tokens look back only, and each guesses the one after it: log p(t[1], ..) = sum of log p(t[k+1] | t[..k]).

    Targets are all tokens that have one before them, unknown ones and the closing special token too (the text ends here), but no
    special token at the side where a text was cut: it did not end there. A text longer than max_length is cut, its rest is not
    read. Empty texts have nothing to learn. Source: Radford et al., "Improving language understanding by generative
    pre-training" (2018), equation 1; whole texts as rows instead of windows over a joined corpus, so that perplexity is
    comparable between runs of one tokenizer and max_length only.
    """

    num_inputs: ClassVar[tuple[int, ...]] = (1,)
    sight: ClassVar[tuple[int, ...]] = (-1,)

    def rows(self, columns: Columns, where: Where, with_targets: bool) -> Rows:
        del with_targets  # a text is its own target
        return self._read(self.encode_inputs(columns, where))

    def dummy(self) -> Rows:
        return self._read(self.dummy_tokens())

    def _read(self, encoded: Encoded) -> Rows:
        """Each text once for every direction, a trunk row each."""
        times, lengths = len(self.sight), encoded.tokens.lengths.astype(np.int32)
        before, after = self.tokenizer.edges
        unknown = np.where(encoded.cut, before if self.tokenizer.truncate == "left" else after, 0)
        counts = np.where(lengths > before + after, lengths - 1 - unknown, 0)
        each = Ragged(np.repeat(lengths, times), np.arange(len(lengths) + 1, dtype=np.int64) * times)
        tokens = beside([encoded.tokens] * times)
        return Rows(tokens, each, each, (counts * times).astype(np.int32), {}, noted(encoded, self.tokenizer))

    def collate(self, rows: Rows, keys: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The tokens as they are; positions [K] of those that guess, and their neighbours as labels [K]."""
        del keys  # nothing here is random
        tokens, times = rows.tokens.values, len(self.sight)
        lengths, counts = rows.lengths.values.astype(np.int64), np.repeat(rows.counts // times, times)
        first = np.cumsum(lengths) - lengths
        if self.tokenizer.truncate == "left":
            first += lengths - 1 - counts
        # Pairs of neighbours: `left` of one, `left + 1` of the other; who looks ahead guesses the left one.
        left = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        ahead = np.repeat(np.tile(np.array(self.sight) > 0, len(rows)), counts)
        return tokens, {"positions": left + ahead, "labels": tokens[left + ~ahead].astype(np.int64)}

    def baseline(self, train: Rows, evaluated: Rows, keys: np.ndarray) -> dict[str, np.ndarray]:
        """Every token at its frequency among the training rows' targets, add-one over the vocabulary."""
        seen = self.collate(train, keys)[1]["labels"]
        counts = np.bincount(seen, minlength=self.tokenizer.vocab_size) + 1.0
        return self.unigram(counts, self.collate(evaluated, keys)[1])

    def decode(self, outputs: np.ndarray, rows: Rows) -> list[dict[str, Any]]:
        """perplexity of the row's tokens, each from those before it."""
        return [{"perplexity": perplexity(part[:, 0])} for part in np.split(outputs, np.cumsum(rows.counts)[:-1])]
