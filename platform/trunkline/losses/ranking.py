"""Losses over graded lists: one value per list, from the scores of its candidates.

A row is a list of a query's candidates. Outputs s [R], one score per candidate; targets `slots` [n, K], where in s the
candidates of each list stand, and their `grades` g [n, K], more is better; lists of less than K are filled with -1. Returns
[n]. No value changes when a constant is added to a list's scores, when its candidates change places, or with K; none of
`pairwise_logistic`, `margin`, `listmle` and `lambdarank` grows with a list's length. K comes from the host, so nothing waits.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from trunkline.errors import ConfigError
from trunkline.losses.base import Loss, check_number
from trunkline.registry import LOSSES


class _Lists(Loss):
    """What losses over lists share."""

    unit = "row"
    reads = frozenset({"slots", "grades"})

    def forward(self, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        slots = targets["slots"]
        return self.value(outputs.float()[slots.clamp(min=0)], targets["grades"].float(), slots >= 0)

    @abstractmethod
    def value(self, scores: Tensor, grades: Tensor, there: Tensor) -> Tensor:
        """scores, grades, there [n, K]: what is not there is filling. Returns [n]."""


def _above(grades: Tensor, there: Tensor) -> Tensor:
    """[n, K, K] bool: candidate i has a higher grade than candidate j."""
    return (grades[:, :, None] > grades[:, None, :]) & there[:, :, None] & there[:, None, :]


def _leads(scores: Tensor) -> Tensor:
    """[n, K, K]: the score of i less that of j."""
    return scores[:, :, None] - scores[:, None, :]


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    """The mean over what is counted of each list, by selection; 0 where that is nothing. [n, ...] -> [n]."""
    number = counted.flatten(1).sum(1).clamp(min=1)
    return torch.where(counted, values, 0.0).flatten(1).sum(1) / number


@LOSSES.register("pairwise_logistic")
class PairwiseLogistic(_Lists):
    """RankNet: every candidate should stand above those of lower grade: the mean over pairs with g[i] > g[j] of

        log(1 + exp(-(s[i] - s[j])))

    s, g as the head of this file says; returns [n] in nats. Source: Burges et al., ICML 2005, equation 3 with target
    probability 1. Departures: the mean over a list's pairs, not the sum; pairs of one grade (target 1/2) are left out.
    """

    def value(self, scores: Tensor, grades: Tensor, there: Tensor) -> Tensor:
        return _mean(F.softplus(-_leads(scores)), _above(grades, there))


@LOSSES.register("margin")
class Margin(_Lists):
    """Every candidate should lead those of lower grade by `margin`: the mean over pairs with g[i] > g[j] of

        max(0, margin - (s[i] - s[j]))

    s, g as the head of this file says; returns [n] in the unit of the scores. Source: Joachims, KDD 2002, section 4.1 (its slack
    variables); Herbrich, Graepel & Obermayer 2000. Departure: the mean over a list's pairs, not the sum.
    """

    def __init__(self, *, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = check_number("margin", margin, 0)

    def value(self, scores: Tensor, grades: Tensor, there: Tensor) -> Tensor:
        return _mean((self.margin - _leads(scores)).clamp(min=0), _above(grades, there))


@LOSSES.register("listnet")
class ListNet(_Lists):
    """Cross entropy between the chances of standing first, by grades and by scores:

        -sum over i of  p[i] log q[i],   p = softmax(g / temperature),  q = softmax(s)

    s, g as the head of this file says; returns [n] in nats, least (the entropy of p, not 0) where s is g / temperature and a
    constant. temperature: above 0; small ones put all weight on the best grade, where 0 and 1 among many candidates would hardly
    differ. Source: Cao et al., ICML 2007, equations 5 and 6 (top-one probability, exp).
    """

    def __init__(self, *, temperature: float = 1.0) -> None:
        super().__init__()
        if not check_number("temperature", temperature, 0):
            raise ConfigError(f"temperature: a number above 0 is needed, found {temperature!r}.")
        self.temperature = temperature

    def value(self, scores: Tensor, grades: Tensor, there: Tensor) -> Tensor:
        wanted = (grades / self.temperature).masked_fill(~there, float("-inf")).softmax(-1)
        log_q = scores.masked_fill(~there, float("-inf")).log_softmax(-1)
        return -torch.where(there, wanted * log_q.masked_fill(~there, 0.0), 0.0).sum(-1)


@LOSSES.register("listmle")
class ListMLE(_Lists):
    """Likelihood of the right order, each next candidate drawn by softmax from those left: the mean over candidates i that have
    one of lower grade of

        log(exp s[i] + sum over j with g[j] < g[i] of exp s[j]) - s[i]

    s, g as the head of this file says; returns [n] in nats. Source: Xia et al., ICML 2008, section 4.3. Departures: candidates
    of one grade do not compete, where the paper asks for a strict order (without ties the two are the same); the mean over the
    draws, not the sum, so that long lists count no more than short ones.
    """

    def value(self, scores: Tensor, grades: Tensor, there: Tensor) -> Tensor:
        above = _above(grades, there)
        own = torch.eye(scores.shape[1], dtype=torch.bool, device=scores.device)
        left = scores[:, None, :].expand_as(above).masked_fill(~(above | own), float("-inf"))
        return _mean(left.logsumexp(-1) - scores, above.any(-1))


@LOSSES.register("lambdarank")
class LambdaRank(_Lists):
    """RankNet with each pair weighted by how much nDCG would change if the two changed places: the sum over pairs g[i] > g[j] of

        |G[i] - G[j]| * |1 / D[i] - 1 / D[j]| / ideal DCG * log(1 + exp(-(s[i] - s[j]))),   G = 2 ** g - 1,  D = log2(1 + rank)

    s, g as the head of this file says; ranks from 1 by the scores of this moment, no gradient through them; returns [n] in nats.
    Source: Burges, MSR-TR-2010-82, section 4; as a loss Wang et al., CIKM 2018, section 5.2. nDCG is that of the whole list.
    Candidates of one score rank the worse grade first, so that scores all alike still learn.
    """

    def value(self, scores: Tensor, grades: Tensor, there: Tensor) -> Tensor:
        above = _above(grades, there)
        with torch.no_grad():
            best = grades.max(-1, keepdim=True).values
            gain = torch.where(there, torch.exp2(grades - best) - torch.exp2(-best), 0.0)  # relative to 2 ** best: never inf
            discount = 1 / torch.log2(torch.arange(scores.shape[1], device=scores.device) + 2.0)  # of ranks from 1
            own = discount[_ranks(scores, grades, there)]
            ideal = (gain.sort(-1, descending=True).values * discount).sum(-1).clamp(min=torch.finfo(gain.dtype).tiny)
            weight = _leads(gain).abs() * _leads(own).abs() / ideal[:, None, None]
        return torch.where(above, weight * F.softplus(-_leads(scores)), 0.0).flatten(1).sum(1)


def _ranks(scores: Tensor, grades: Tensor, there: Tensor) -> Tensor:
    """Ranks [n, K] from 0 by falling score, of one score the lower grade first, then as they stand; filling comes last."""
    order = grades.argsort(dim=-1, stable=True)
    shown = scores.masked_fill(~there, float("-inf")).gather(-1, order)
    order = order.gather(-1, shown.argsort(dim=-1, descending=True, stable=True))
    place = torch.arange(scores.shape[1], device=scores.device).expand_as(order)
    return torch.empty_like(order).scatter_(-1, order, place)
