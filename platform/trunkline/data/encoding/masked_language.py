"""Text whose hidden tokens are to be guessed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from trunkline.data.encoding.base import Columns, Records, Where
from trunkline.data.encoding.language import Language, choose, num_ordinary, ordinary, perplexity
from trunkline.data.keys import splitmix64, unit
from trunkline.data.rows import Rows
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import ConfigError
from trunkline.registry import ENCODINGS


@ENCODINGS.register("masked_language")
class MaskedLanguage(Language):
    """One text or a pair; a share of its ordinary tokens is chosen anew each time the row is drawn, and must be guessed.

    Of the chosen, a share `keep` stays as it is, a share `random` becomes any ordinary token, the rest the mask token. How
    many are chosen is known before: max(1, round(mask_share * ordinary tokens)). Which ones is a function of the row's key and
    the place alone, so a row is masked alike in whatever pack it lies. Rows without an ordinary token are dropped.
    Source: Devlin et al., NAACL 2019, section 3.1; a fixed count per row instead of independent draws.
    """

    default_metrics: ClassVar[tuple[str, ...]] = ("perplexity", "masked_accuracy")
    keeps_tokens: ClassVar[bool] = False

    def __init__(
        self,
        tokenizer: Tokenizer,
        inputs: Sequence[str],
        target: str | None,
        *,
        mask_share: float = 0.15,
        keep: float = 0.1,
        random: float = 0.1,
    ) -> None:
        super().__init__(tokenizer, inputs, target)
        if not 0 < mask_share <= 1:
            raise ConfigError(f"mask_share: above 0, at most 1, found {mask_share}.")
        if keep < 0 or random < 0 or keep + random > 1:
            raise ConfigError(f"keep, random: shares that add up to 1 at most, found {keep} and {random}.")
        if tokenizer.mask_id < 0:
            raise ConfigError("masked_language needs a tokenizer with a mask token, this one has none.")
        self.mask_share, self.keep, self.random = mask_share, keep, random
        self._ordinary = ordinary(tokenizer)

    def rows(self, columns: Columns, where: Where, with_targets: bool) -> Rows:
        del with_targets  # what is hidden is decided when a row is drawn
        encoded = self.encode_inputs(columns, where)
        there = num_ordinary(encoded.tokens, self._ordinary)
        counts = np.where(there > 0, np.maximum(1, np.rint(self.mask_share * there)), 0)
        return self.one_text_rows(encoded, counts, {})

    def dummy(self) -> Rows:
        return self.one_text_rows(self.dummy_tokens(), np.ones(1), {})

    def collate(self, rows: Rows, keys: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Masked tokens [n]; positions [K] relative to the slice, in order, and the tokens that stood there as labels [K]."""
        tokens = rows.tokens.values.astype(np.int32)
        picked = choose(rows.tokens, self._ordinary, rows.counts, keys)
        positions = picked.place[picked.chosen]
        labels = tokens[positions].astype(np.int64)
        fate = splitmix64(picked.scores)
        share = unit(fate)
        normal = self.tokenizer.normal_ids
        anything = normal[(splitmix64(fate) % np.uint64(len(normal))).astype(np.int64)]
        hidden = np.where(share < self.random, anything, self.tokenizer.mask_id)
        tokens[positions] = np.where(share >= 1.0 - self.keep, labels, hidden)
        return tokens, {"positions": positions, "labels": labels}

    def baseline(self, train: Rows, evaluated: Rows, keys: np.ndarray) -> Records:
        """Every token at its frequency in the training rows (add-one over the ordinary tokens), at the masks of these keys."""
        counts = np.bincount(train.tokens.values, minlength=len(self._ordinary)) + 1.0
        counts[~self._ordinary] = 0.0
        return self.unigram(counts, self.collate(evaluated, keys)[1])

    def decode(self, outputs: np.ndarray, rows: Rows) -> list[dict[str, Any]]:
        """perplexity over the row's hidden tokens, and the tokens guessed for them."""
        decoded = []
        for part in np.split(outputs, np.cumsum(rows.counts)[:-1]):
            guesses = [self.tokenizer.token(number) for number in part[:, 1].astype(int).tolist()]
            decoded.append({"perplexity": perplexity(part[:, 0]), "guesses": guesses})
        return decoded
