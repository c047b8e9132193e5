"""Metrics of graded lists: how high the relevant candidates of a query stand. Each is the mean over lists.

Candidates of one score stand in any order alike: a figure is its expectation over them, in closed form. So a model that
scores all alike gets exactly what chance gets. Source: McSherry & Najork, ECIR 2008, section 2. A score that is no number
stands last, and of several such the worse grade first. scores, grades [n]: an array for each list, of one length both.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trunkline.errors import ConfigError
from trunkline.metrics.base import Metric
from trunkline.registry import METRICS, Count


@dataclass(frozen=True)
class Standing:
    """A list from the best score down. value [m]: what is counted of each place, the mean over those it ties with.

    first, size [m]: where its tie begins and how many stand in it. total: the sum of the values.
    """

    value: np.ndarray
    first: np.ndarray
    size: np.ndarray
    total: float


def standing(scores: np.ndarray, grades: np.ndarray, value: np.ndarray) -> Standing:
    """value [m]: what counts of each candidate, in the order of scores."""
    broken = np.isnan(scores)
    keys = np.stack([np.where(broken, grades, 0), np.where(broken, 0, -scores.astype(np.float64)), broken])
    order = np.lexsort(keys)
    new = np.append(True, (np.diff(keys[:, order], axis=1) != 0).any(axis=0))
    first, tie = np.flatnonzero(new), np.cumsum(new) - 1
    size = np.diff(np.append(first, len(order)))
    mean = np.add.reduceat(value[order].astype(np.float64), first) / size
    return Standing(mean[tie], first[tie], size[tie], float(value.sum()))


class _Lists(Metric):
    """The mean over lists of one figure each; 0 if no list has any."""

    needs = frozenset({"scores", "grades"})

    def value(self, *, scores: np.ndarray, grades: np.ndarray) -> float:
        return _mean(self._each(scores, grades))

    def values(self, draws: Sequence[np.ndarray], **records: np.ndarray) -> np.ndarray:
        """Each list is judged once, however often it is drawn."""
        each = self._each(**records)
        return np.array([_mean(each[taken]) for taken in draws])

    def _each(self, scores: np.ndarray, grades: np.ndarray) -> np.ndarray:
        figures = [self.figure(score, grade) for score, grade in zip(scores, grades, strict=True)]
        return np.array([np.nan if figure is None else figure for figure in figures])

    @abstractmethod
    def figure(self, scores: np.ndarray, grades: np.ndarray) -> float | None:
        """Of one list [m]; None for one that has nothing to find."""


def _mean(figures: np.ndarray) -> float:
    told = figures[~np.isnan(figures)]
    return float(np.mean(told)) if len(told) else 0.0


class _Relevance(_Lists):
    """relevant_from: the least grade that is relevant; None is any above 0. Lists without one are left out."""

    def __init__(self, *, relevant_from: float | None = None) -> None:
        super().__init__()
        wrong = isinstance(relevant_from, bool) or not isinstance(relevant_from, int | float) or not relevant_from > 0
        if relevant_from is not None and wrong:
            raise ConfigError(f"relevant_from: a number above 0 is needed, found {relevant_from!r}.")
        self.relevant_from = relevant_from

    def figure(self, scores: np.ndarray, grades: np.ndarray) -> float | None:
        relevant = grades > 0 if self.relevant_from is None else grades >= self.relevant_from
        return self.found(standing(scores, grades, relevant)) if relevant.any() else None

    @abstractmethod
    def found(self, list_: Standing) -> float:
        """The figure of a list, whose `value` is the chance that a relevant one stands there."""


@METRICS.register("map")
class MeanAverage(_Relevance):
    """Mean average precision: the mean over relevant candidates of the share of relevant ones down to each, then over lists.

    scores, grades [n] of arrays; relevance as `relevant_from` says. Source: Buckley & Voorhees, SIGIR 2000, as trec_eval's `map`.
    """

    def found(self, list_: Standing) -> float:
        chance, size = list_.value, list_.size
        place = np.arange(len(chance))
        tied = chance * size  # relevant ones in the tie
        before = np.concatenate([[0.0], np.cumsum(chance)])[list_.first]
        among = (place - list_.first) * (tied - 1) / np.maximum(size - 1, 1)  # expected in the tie and above, given one here
        return float(np.sum(chance * (before + 1 + among) / (place + 1)) / list_.total)


@METRICS.register("mrr")
class MeanReciprocalRank(_Relevance):
    """Mean over lists of 1 / rank of the first relevant candidate, over the whole list.

    scores, grades [n] of arrays; relevance as `relevant_from` says. Source: Voorhees, TREC-8 (1999), as trec_eval's `recip_rank`.
    """

    def found(self, list_: Standing) -> float:
        start = list_.first[np.flatnonzero(list_.value)[0]]
        size, relevant = int(list_.size[start]), list_.value[start] * list_.size[start]
        place = np.arange(size)
        # Drawn one after the other: the chance that the next is relevant, if none was before.
        chance = np.minimum(np.rint(relevant) / (size - place), 1.0)
        none_yet = np.concatenate([[1.0], np.cumprod(1 - chance)[:-1]])
        return float(np.sum(none_yet * chance / (start + place + 1)))


def _checked(k: int | None) -> int | None:
    if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
        raise ConfigError(f"k: a whole number of at least 1 is needed, or null for whole lists, found {k!r}.")
    return k


@METRICS.register("recall_at_k")
class RecallAtK(_Relevance):
    """Share of the relevant candidates among the first k, then the mean over lists.

    scores, grades [n] of arrays; relevance as `relevant_from` says. As trec_eval's `recall`; a list of more than k relevant
    candidates can not reach 1.
    """

    def __init__(self, *, k: Count = 1, relevant_from: float | None = None) -> None:
        super().__init__(relevant_from=relevant_from)
        self.k = _checked(k)

    def found(self, list_: Standing) -> float:
        return float(list_.value[: self.k].sum() / list_.total)


@METRICS.register("ndcg")
class Ndcg(_Lists):
    """Sum over the first k places of (2 ** grade - 1) / log2(1 + rank), as a share of the best order's; the mean over lists.

    k: null for whole lists. scores, grades [n] of arrays; lists whose grades are all 0 are left out. Source: Jarvelin &
    Kekalainen, TOIS 20 (2002), with the gain of Burges et al., ICML 2005; trec_eval's has the grade itself as the gain, which is
    the same for grades of 0 and 1.
    """

    def __init__(self, *, k: Count | None = 10) -> None:
        super().__init__()
        self.k = _checked(k)

    def figure(self, scores: np.ndarray, grades: np.ndarray) -> float | None:
        best = grades.max()
        if best <= 0:
            return None
        wide = grades.astype(np.float64)
        gain = np.exp2(wide - best) - np.exp2(-float(best))  # relative to 2 ** best: never inf
        discount = 1 / np.log2(np.arange(len(gain)) + 2.0)[: self.k]
        ideal = np.sort(gain)[::-1][: self.k] @ discount
        return float(standing(scores, grades, gain).value[: self.k] @ discount / ideal)
