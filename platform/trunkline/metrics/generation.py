"""Metrics of written texts."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from trunkline.errors import ConfigError, nearest
from trunkline.metrics.base import Metric
from trunkline.registry import METRICS

# What sacrebleu has without another package or a download.
TOKENIZERS = ("13a", "intl", "zh", "char", "none")


class OfTexts(Metric):
    """text, reference [n] object, each row's at its first target; place [n] int64, a target's number within its row."""

    needs = frozenset({"text", "reference", "place"})
    most_draws = 100

    def value(self, *, text: np.ndarray, reference: np.ndarray, place: np.ndarray) -> float:
        first = place == 0
        return self.score(text[first].tolist(), reference[first].tolist())

    @abstractmethod
    def score(self, texts: list[str], references: list[str]) -> float:
        """The figure of one text a row beside its one reference."""


@METRICS.register("bleu")
class Bleu(OfTexts):
    """BLEU over all rows together, 0 to 100: how many 1- to 4-grams of the texts stand in their references, and brevity.

    tokenize: how sacrebleu cuts words: 13a (of the WMT evaluations), intl, zh (each Chinese character a word), char or none.
    Source: Papineni et al., ACL 2002; Post, WMT 2018 (sacrebleu), with its exponential smoothing.
    """

    best = 100.0

    def __init__(self, *, tokenize: str = "13a", lowercase: bool = False) -> None:
        super().__init__()
        if tokenize not in TOKENIZERS:
            raise ConfigError(f"tokenize: BLEU does not know {tokenize!r}. {nearest(str(tokenize), TOKENIZERS)}")
        self.tokenize, self.lowercase = tokenize, lowercase

    def score(self, texts: list[str], references: list[str]) -> float:
        from sacrebleu.metrics import BLEU

        return float(BLEU(tokenize=self.tokenize, lowercase=self.lowercase).corpus_score(texts, [references]).score)


@METRICS.register("chrf")
class ChrF(OfTexts):
    """chrF over all rows together, 0 to 100: F-score of character n-grams up to 6, recall counted twice.

    word_order: word n-grams up to this length count beside them; 2 is chrF++.
    Source: Popovic, WMT 2015 and 2017, as sacrebleu computes it.
    """

    best = 100.0

    def __init__(self, *, word_order: int = 0, lowercase: bool = False) -> None:
        super().__init__()
        if isinstance(word_order, bool) or not isinstance(word_order, int) or word_order < 0:
            raise ConfigError(f"word_order: 0 or more is needed, found {word_order!r}.")
        self.word_order, self.lowercase = word_order, lowercase

    def score(self, texts: list[str], references: list[str]) -> float:
        from sacrebleu.metrics import CHRF

        return float(CHRF(word_order=self.word_order, lowercase=self.lowercase).corpus_score(texts, [references]).score)


@METRICS.register("text_match")
class TextMatch(OfTexts):
    """Share of rows whose text is its reference, letter by letter but for space at the ends."""

    def score(self, texts: list[str], references: list[str]) -> float:
        return float(np.mean([text.strip() == reference.strip() for text, reference in zip(texts, references, strict=True)]))
