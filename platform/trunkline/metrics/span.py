"""Metrics of answers that are pieces of text."""

from __future__ import annotations

import difflib
import re
import string
import unicodedata
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence

import numpy as np

from trunkline.errors import ConfigError
from trunkline.metrics.base import Metric
from trunkline.registry import METRICS

ARTICLES = re.compile(r"\b(a|an|the)\b")
# Written without spaces: Chinese characters and Japanese kana.
CHARACTER = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
OVERLAPS = ("bag", "run")


def words(text: str, *, by_character: bool) -> list[str]:
    """What is compared of an answer: lower case, without ASCII punctuation and a, an, the.

    by_character: every Chinese character (and kana) is a word of its own, all of Unicode's punctuation goes, articles stay.
    """
    lower = text.lower()
    if not by_character:
        return ARTICLES.sub(" ", "".join(c for c in lower if c not in string.punctuation)).split()
    plain = (c for c in lower if c not in string.punctuation and not unicodedata.category(c).startswith("P"))
    return "".join(f" {c} " if CHARACTER.match(c) else c for c in plain).split()


class _Answers(Metric):
    """answer [n] text, "" for none; answers [n]: of each row the texts that are all right, none for a question without answer.

    A row gets the best its answer gets against any of the right ones. Where any of these texts has Chinese characters or
    kana, all are compared character by character.
    """

    needs = frozenset({"answer", "answers"})

    def value(self, *, answer: np.ndarray, answers: np.ndarray) -> float:
        return float(np.mean(self._each(answer, answers)))

    def values(self, draws: Sequence[np.ndarray], **records: np.ndarray) -> np.ndarray:
        """Each row is compared once, however often it is drawn."""
        each = self._each(**records)
        return np.array([float(np.mean(each[taken])) for taken in draws])

    def _each(self, answer: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return np.array([self._row(given, right) for given, right in zip(answer.tolist(), answers.tolist(), strict=True)])

    def _row(self, given: str, right: Sequence[str]) -> float:
        by_character = any(map(CHARACTER.search, (given, *right)))
        found = words(given, by_character=by_character)
        wanted = [gold for text in right if (gold := words(text, by_character=by_character))]
        return max(self.score(found, gold) for gold in wanted or [[]])

    @abstractmethod
    def score(self, given: list[str], gold: list[str]) -> float: ...


@METRICS.register("exact_match")
class ExactMatch(_Answers):
    """Share of answers that are, word for word, one of the right ones, 0..1; a question without answer wants none.

    Words are compared in lower case, without punctuation and articles. Source: Rajpurkar et al., arXiv:1606.05250, section 6.1,
    and the released script of arXiv:1806.03822 for questions without answer.
    """

    def score(self, given: list[str], gold: list[str]) -> float:
        return float(given == gold)


@METRICS.register("answer_f1")
class AnswerF1(_Answers):
    """Mean over questions of 2 common / (words given + words of the right answer), the best over the right ones, 0..1.

    Words are compared as in `exact_match`; of two without a word both being so counts 1. Source: Rajpurkar et al.,
    arXiv:1606.05250, section 6.1; by character as Lewis et al., arXiv:1910.07475, for Chinese.
    overlap: which words are common: `bag`, those of either in any order, or `run`, the most that stand side by side in both, as
    CMRC 2018 counts them (Cui et al., arXiv:1810.07366).
    """

    def __init__(self, *, overlap: str = "bag") -> None:
        if overlap not in OVERLAPS:
            raise ConfigError(f"overlap: found {overlap!r}. Known: {', '.join(OVERLAPS)}.")
        super().__init__()
        self.overlap = overlap

    def score(self, given: list[str], gold: list[str]) -> float:
        if not given or not gold:
            return float(given == gold)
        if self.overlap == "run":
            common = difflib.SequenceMatcher(None, given, gold, autojunk=False).find_longest_match().size
        else:
            common = (Counter(given) & Counter(gold)).total()
        return 2 * common / (len(given) + len(gold))
