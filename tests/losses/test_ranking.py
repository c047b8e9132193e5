"""Losses over graded lists: hand-worked values, laws, lists that see no other list."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trunkline.errors import ConfigError
from trunkline.losses.base import Loss
from trunkline.losses.ranking import LambdaRank, ListMLE, ListNet, Margin, PairwiseLogistic

LOSSES: list[Loss] = [PairwiseLogistic(), Margin(), ListNet(), ListMLE(), LambdaRank()]


def targets(*grades: list[float]) -> dict[str, Tensor]:
    """Lists one after the other, filled with -1."""
    width, start = max(map(len, grades)), 0
    slots, filled = [], []
    for own in grades:
        rest = [-1] * (width - len(own))
        slots.append([*range(start, start + len(own)), *rest])
        filled.append([*own, *rest])
        start += len(own)
    return {"slots": torch.tensor(slots), "grades": torch.tensor(filled, dtype=torch.float32)}


def value(loss: Loss, scores: list[float], grades: list[float]) -> float:
    return loss(torch.tensor(scores), targets(grades)).item()


def log1p_exp(x: float) -> float:
    return math.log1p(math.exp(x))


def test_pairwise_logistic_by_hand() -> None:
    # pairs: (0, 1) leads by 1, (0, 2) trails by 2, (2, 1) leads by 3
    found = value(PairwiseLogistic(), [1.0, 0.0, 3.0], [2.0, 0.0, 1.0])
    assert found == pytest.approx((log1p_exp(-1) + log1p_exp(2) + log1p_exp(-3)) / 3)
    assert value(PairwiseLogistic(), [5.0, 1.0, 1.0], [1.0, 1.0, 0.0]) == pytest.approx((log1p_exp(-4) + log1p_exp(0)) / 2)


def test_margin_by_hand() -> None:
    assert value(Margin(), [1.0, 0.0, 3.0], [2.0, 0.0, 1.0]) == pytest.approx((0 + 3 + 0) / 3)
    assert value(Margin(margin=2.5), [1.0, 0.0, 3.0], [2.0, 0.0, 1.0]) == pytest.approx((1.5 + 4.5 + 0) / 3)


def test_listnet_by_hand() -> None:
    # p = (3/4, 1/4) of grades (log 3, 0); q = (1/2, 1/2)
    assert value(ListNet(), [0.0, 0.0], [math.log(3), 0.0]) == pytest.approx(math.log(2))
    found = value(ListNet(temperature=0.5), [math.log(2), 0.0], [math.log(3) / 2, 0.0])
    assert found == pytest.approx(-0.75 * math.log(2 / 3) - 0.25 * math.log(1 / 3))


def test_listmle_by_hand() -> None:
    # drawn in the order 1, 2, 0: 3 of 1 + 2 + 3, then 2 of 1 + 2
    scores = [math.log(1), math.log(3), math.log(2)]
    assert value(ListMLE(), scores, [0.0, 2.0, 1.0]) == pytest.approx((math.log(6 / 3) + math.log(3 / 2)) / 2)
    # of one grade none competes: 3 of 3 + 1, and 2 of 2 + 1
    assert value(ListMLE(), scores, [0.0, 1.0, 1.0]) == pytest.approx((math.log(4 / 3) + math.log(3 / 2)) / 2)


def test_listmle_without_ties_is_the_papers_likelihood() -> None:
    torch.manual_seed(0)
    scores, order = torch.randn(7), torch.randperm(7)
    grades = torch.empty(7)
    grades[order] = torch.arange(7.0).flip(0)
    likelihood = sum(scores[order[i]] - scores[order[i:]].logsumexp(0) for i in range(7))
    assert value(ListMLE(), scores.tolist(), grades.tolist()) * 6 == pytest.approx(-float(likelihood), rel=1e-6)


def test_lambdarank_by_hand() -> None:
    # ranks by score: 0 second, 1 third, 2 first; gains 3, 0, 1
    place = [1 / math.log2(3), 1 / math.log2(4), 1.0]
    ideal = 3 + 1 / math.log2(3)
    pairs = {(0, 1): 3, (0, 2): 2, (2, 1): 1}
    score = [1.0, 0.0, 3.0]
    expected = sum(gain * abs(place[i] - place[j]) * log1p_exp(score[j] - score[i]) for (i, j), gain in pairs.items()) / ideal
    assert value(LambdaRank(), score, [2.0, 0.0, 1.0]) == pytest.approx(expected)


def test_lambdarank_learns_from_scores_all_alike() -> None:
    scores = torch.zeros(3, requires_grad=True)
    LambdaRank()(scores, targets([0.0, 1.0, 0.0])).sum().backward()
    assert scores.grad is not None and scores.grad[1] < 0 and scores.grad.sum().item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_a_constant_added_to_a_lists_scores_changes_nothing(loss: Loss) -> None:
    torch.manual_seed(1)
    scores, given = torch.randn(9), targets([0.0, 2.0, 1.0, 0.0], [1.0, 0.0], [0.0, 3.0, 3.0])
    shifted = scores + torch.tensor([5.0] * 4 + [-3.0] * 2 + [40.0] * 3)
    torch.testing.assert_close(loss(shifted, given), loss(scores, given), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_the_order_of_a_lists_candidates_does_not_matter(loss: Loss) -> None:
    torch.manual_seed(2)
    scores, grades = torch.tensor([0.3, 0.3, -1.0, 2.0, 0.3, 2.0]), torch.tensor([0.0, 1.0, 2.0, 0.0, 1.0, 2.0])
    expected = value(loss, scores.tolist(), grades.tolist())
    for _ in range(10):
        order = torch.randperm(6)
        assert value(loss, scores[order].tolist(), grades[order].tolist()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_each_list_has_a_value_of_its_own_whatever_lies_beside_it(loss: Loss) -> None:
    torch.manual_seed(3)
    lists = [[0.0, 2.0, 1.0, 0.0, 0.0], [1.0, 0.0], [0.0, 3.0, 3.0]]
    scores = torch.randn(10, requires_grad=True)
    together = loss(scores, targets(*lists))
    alone = [loss(own, targets(given)) for own, given in zip(scores.split([5, 2, 3]), lists, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone))
    slopes = [torch.autograd.grad(values.sum(), scores, retain_graph=True)[0] for values in (together, torch.cat(alone))]
    torch.testing.assert_close(*slopes)
    (own,) = torch.autograd.grad(together[1], scores)
    assert own[5:7].abs().min() > 0 and not own[:5].any() and not own[7:].any()


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_following_the_gradient_puts_the_candidates_in_order(loss: Loss) -> None:
    grades = [0.0, 3.0, 1.0, 2.0, 0.0]
    scores = torch.tensor([2.0, 0.0, 1.0, -1.0, 0.5], requires_grad=True)
    before = value(loss, scores.tolist(), grades)
    optimizer = torch.optim.Adam([scores], lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        loss(scores, targets(grades)).sum().backward()
        optimizer.step()
    assert scores.argsort(descending=True)[:3].tolist() == [1, 3, 2]
    assert value(loss, scores.tolist(), grades) < before


@pytest.mark.parametrize("loss", [PairwiseLogistic(), Margin(), ListMLE(), LambdaRank()], ids=lambda loss: type(loss).__name__)
def test_the_right_order_far_apart_costs_nothing(loss: Loss) -> None:
    assert value(loss, [0.0, 90.0, 30.0, 60.0], [0.0, 3.0, 1.0, 2.0]) == pytest.approx(0, abs=1e-6)


def test_listnet_is_least_where_scores_are_the_grades() -> None:
    grades = [0.0, 3.0, 1.0, 2.0]
    scores = torch.tensor(grades, requires_grad=True)
    least = ListNet()(scores, targets(grades))
    least.sum().backward()
    p = torch.tensor(grades).softmax(0)
    assert least.item() == pytest.approx(-float((p * p.log()).sum()))
    assert scores.grad is not None and scores.grad.abs().max() < 1e-6


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_large_scores_and_grades_have_finite_values_and_gradients(loss: Loss) -> None:
    scores = torch.tensor([1e4, -1e4, 0.0, 1e4, 3.0], requires_grad=True)
    found = loss(scores, targets([0.0, 1e6, 5.0], [1.0, 0.0]))
    found.sum().backward()
    assert torch.isfinite(found).all() and scores.grad is not None and torch.isfinite(scores.grad).all()


def test_a_temperature_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="temperature"):
        ListNet(temperature=0)
