"""GloVe: what a step changes by hand, where its biases start, and what pairs that never meet teach."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from trunkline.errors import ConfigError
from trunkline.vectors.corpus import Corpus
from trunkline.vectors.glove import Fit, GloVe, Unseen, pairs

FIRST, SECOND = torch.tensor([0, 0, 3]), torch.tensor([1, 2, 1])
GOAL, WEIGHT = torch.tensor([0.5, -1.0, 2.0]), torch.tensor([1.0, 0.3, 0.1])


@pytest.fixture
def fit() -> Fit:
    torch.manual_seed(0)
    return Fit((torch.randn(4, 3), torch.randn(4, 3)), (torch.ones(4, 3), torch.ones(4, 3)), 0.2)


def themes(number: int = 300) -> Corpus:
    """Sentences of 6 words of one of two themes of 8; the themes never meet."""
    rng = np.random.default_rng(0)
    ids = (rng.integers(0, 8, (number, 6)) + 8 * rng.integers(0, 2, (number, 1))).astype(np.int32)
    counts = np.bincount(ids.ravel(), minlength=16)
    return Corpus([str(n) for n in range(16)], counts, ids.ravel(), np.repeat(np.arange(number, dtype=np.int32), 6))


def told(tables: tuple[Tensor, Tensor], first: Tensor, second: Tensor) -> Tensor:
    here, there = tables[0][first], tables[1][second]
    return (here[:, :-1] * there[:, :-1]).sum(1) + here[:, -1] + there[:, -1]


def naive(fit: Fit, weight: Tensor, rate: float) -> list[Tensor]:
    """Each pair's slope by autograd, its squares gathered first, then its share of the step."""
    squares, steps = [torch.ones(4, 3), torch.ones(4, 3)], []
    for pair in range(len(FIRST)):
        tables = [table.clone().requires_grad_() for table in fit.tables]
        off = told((tables[0], tables[1]), FIRST[pair : pair + 1], SECOND[pair : pair + 1]) - GOAL[pair]
        (weight[pair] * off.square() / 2).sum().backward()
        steps.append([rate * table.grad for table in tables if table.grad is not None])
        squares = [square + step.square() for square, step in zip(squares, steps[-1], strict=True)]
    return [fit.tables[side] - sum(step[side] / squares[side].sqrt() for step in steps) for side in (0, 1)]


def agree(found: tuple[Tensor, Tensor], expected: list[Tensor]) -> bool:
    return all(torch.allclose(one, other, atol=1e-6) for one, other in zip(found, expected, strict=True))


def test_a_step_is_adagrad_on_the_gradient_of_the_weighted_squares(fit: Fit) -> None:
    expected, unweighted, faster = naive(fit, WEIGHT, 0.2), naive(fit, torch.ones(3), 0.2), naive(fit, WEIGHT, 0.25)
    cost = float((WEIGHT * (told(fit.tables, FIRST, SECOND) - GOAL).square()).sum())
    assert fit.step(FIRST, SECOND, GOAL, WEIGHT) == pytest.approx(cost)
    assert agree(fit.tables, expected)
    assert not agree(fit.tables, unweighted) and not agree(fit.tables, faster)


def test_biases_start_where_words_meet_by_chance() -> None:
    rows, _, counts = pairs(themes(), 2)
    met = np.bincount(rows, weights=counts, minlength=16)
    first, second = (table[:, -1] for table in Fit.start(met, 5, 0.1, np.random.default_rng(0)).tables)
    chance = torch.from_numpy(np.outer(met, met) / counts.sum()).float()
    assert torch.allclose(torch.exp(first[:, None] + second), chance, rtol=1e-4)
    assert not torch.allclose(torch.exp(2 * first[:, None] + second), chance, rtol=1e-1)


def test_a_word_that_stands_near_no_other_has_finite_vectors_and_is_never_drawn() -> None:
    corpus = Corpus(["a", "b", "alone"], np.array([2, 2, 1]), np.array([0, 1, 0, 1, 2], np.int32), np.array([0, 0, 1, 1, 2]))
    found = GloVe(dim=3, epochs=2, unseen=2).train(corpus, seed=0, say=lambda _: None)
    assert np.isfinite(found.values).all()
    first, second = Unseen(np.array([1, 3]), np.array([2.0, 2.0, 0.0])).draw(100, np.random.default_rng(0))
    assert set(first.tolist()) | set(second.tolist()) == {0, 1}


def test_the_average_is_of_the_vectors_after_each_of_the_last_epochs() -> None:
    def trained(epochs: int, **more: int) -> np.ndarray:
        settings = {"dim": 4, "lr": 0.1, "x_max": 1.0, "unseen": 2.0, "window": 2}
        return GloVe(epochs=epochs, **settings, **more).train(themes(), seed=3, say=lambda _: None).values

    one_by_one = [trained(epochs) for epochs in (2, 3, 4)]
    found = trained(4, average=3)
    assert np.allclose(found, np.mean(one_by_one, 0), atol=1e-6)
    assert not np.allclose(found, one_by_one[-1], atol=1e-3) and not np.allclose(found, np.mean(one_by_one[1:], 0), atol=1e-3)


def test_only_pairs_that_never_meet_are_drawn_and_each_of_them_is() -> None:
    rows, columns, counts = pairs(themes(), 2)
    seen = set(zip(rows.tolist(), columns.tolist(), strict=True))
    unseen = Unseen(rows * 16 + columns, np.bincount(rows, weights=counts, minlength=16))
    drawn = {(int(a), int(b)) for a, b in zip(*unseen.draw(20_000, np.random.default_rng(0)), strict=True)}
    assert drawn == {(a, b) for a in range(16) for b in range(16)} - seen


def test_a_pair_that_never_meets_costs_only_above_the_least_count(fit: Fit) -> None:
    first, second = torch.tensor([0, 1, 2]), torch.tensor([2, 3, 0])
    before = told(fit.tables, first, second)
    least = float(before.exp().median())  # one pair below it, one at it, one above
    above = before > np.log(least) + 1e-6
    kept = [table.clone() for table in fit.tables]
    fit.lower(first, second, least, 0.5)
    after = told(fit.tables, first, second)
    assert int(above.sum()) == 1 and (after[above] < before[above]).all() and torch.equal(after[~above], before[~above])
    both = Fit((kept[0], kept[1]), (torch.ones(4, 3), torch.ones(4, 3)), 0.2)
    both.step(first, second, torch.full((3,), float(np.log(least))), torch.full((3,), 0.5))
    assert not torch.equal(told(both.tables, first, second)[~above], before[~above])  # what a cost on both sides would do


def test_unseen_pairs_push_words_that_never_meet_apart_and_none_is_the_papers_cost() -> None:
    corpus = themes()
    settings = {"dim": 8, "window": 2, "epochs": 8, "x_max": 5.0, "lr": 0.2, "batch": 32}

    def across(unseen: float) -> float:
        values = GloVe(**settings, unseen=unseen).train(corpus, seed=0, say=lambda _: None).values
        unit = values / np.linalg.norm(values, axis=1, keepdims=True)
        return float((unit[:8] @ unit[8:].T).mean())

    assert across(2) < across(0) - 0.2
    with pytest.raises(ConfigError, match="unseen: a number above 0 is needed, found -1"):
        GloVe(unseen=-1)
    with pytest.raises(ConfigError, match="average: the last 5 epochs of 4"):
        GloVe(epochs=4, average=5)
