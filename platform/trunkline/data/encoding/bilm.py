"""Text of which every token says the next, and the one before."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from trunkline.data.encoding.causal_language import CausalLanguage
from trunkline.data.encoding.language import perplexity
from trunkline.data.rows import Rows
from trunkline.registry import ENCODINGS


@ENCODINGS.register("bilm")
class Bilm(CausalLanguage):
    """One text, read twice: looking back only, each token guesses the next; looking ahead only, each guesses the one before.

        sum over k of  log p(t[k] | t[1], .., t[k-1]) + log p(t[k] | t[k+1], .., t[N])

    Source: ELMo's bidirectional language model, Peters et al., arXiv:1802.05365, section 3.1. Departures: both directions
    share the trunk's parameters, where ELMo's share the token layer and the softmax only; the trunk is the run's own, not two
    LSTMs over characters. A drawn row is two trunk rows of the same tokens, so it takes twice its length of a pack. Counts and
    perplexity are over the targets of both directions. Cuts and special tokens as in causal_language.
    """

    sight: ClassVar[tuple[int, ...]] = (-1, 1)

    def decode(self, outputs: np.ndarray, rows: Rows) -> list[dict[str, Any]]:
        """perplexity over both directions, and of each: next, previous."""
        decoded = []
        for part in np.split(outputs[:, 0], np.cumsum(rows.counts)[:-1]):
            after, before = np.split(part, 2)
            decoded.append({"perplexity": perplexity(part), "next": perplexity(after), "previous": perplexity(before)})
        return decoded
