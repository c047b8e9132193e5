"""Groups are the best there are, and curves are found again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from trunkline.plan import Planned
from trunkline.workflows.grouping import _greedy, best_partition, gained
from trunkline.workflows.mix import points, recommend
from trunkline.workflows.power_law import error, fit


def partitions(items: list[int]) -> Iterator[list[list[int]]]:
    if not items:
        yield []
        return
    first, *rest = items
    for part in partitions(rest):
        yield [[first], *part]
        for number in range(len(part)):
            yield [*part[:number], [first, *part[number]], *part[number + 1 :]]


def agreement(size: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(size, size))
    return (drawn + drawn.T) / 2


@pytest.mark.parametrize("seed", range(6))
def test_no_partition_is_better_than_the_one_that_is_found(seed: int) -> None:
    given = agreement(6, seed)
    found = best_partition(given)
    assert sorted(itertools.chain(*found)) == list(range(6))
    assert gained(given, found) == pytest.approx(max(gained(given, groups) for groups in partitions(list(range(6)))))


def test_greedy_groups_can_be_worse_and_never_split_what_agrees() -> None:
    # 0 and 1 agree most, and then 2 and 3 are left to themselves; the best joins 0 with 2 and 3.
    given = np.array([[0, 5, 4, 4], [5, 0, -9, -9], [4, -9, 0, 4], [4, -9, 4, 0]], float)
    assert gained(given, _greedy(given)) < gained(given, best_partition(given)) == 12
    assert best_partition(np.full((20, 20), 0.1)) == [list(range(20))]
    assert best_partition(np.full((4, 4), -0.1)) == [[0], [1], [2], [3]]


def test_an_opposed_task_is_set_apart_and_duplicates_stay_together() -> None:
    cosine = np.array([[1, -1, 1, 0], [-1, 1, -1, 0], [1, -1, 1, 0], [0, 0, 0, 1.0]])
    groups = best_partition(cosine + 0.1)
    assert [group for group in groups if 0 in group] == [group for group in groups if 2 in group]
    assert not any({0, 1} <= set(group) for group in groups)


def test_a_curve_is_found_again_from_eight_points() -> None:
    true = np.array([2.0, 0.5, 0.3, 1.5, 0.05])
    shares = np.linspace(0.05, 0.9, 8)
    found = fit(shares, error(true, shares))
    between = np.linspace(0.1, 0.85, 20)
    assert np.abs(error(found, between) - error(true, between)).max() < 0.03


PLANNED = [Planned(name, rows, 10.0, 0, 0, 0, 0, 0) for name, rows in (("a", 500), ("b", 100), ("c", 300))]
CURVES = [np.array([8.0, 0.6, 0.1, 1.0, 0.0]), np.array([1.5, 0.6, 0.1, 1.0, 0.0]), np.array([6.0, 0.9, 0.1, 1.0, 0.0])]


def skill(points: np.ndarray, weighed: float | None = None) -> np.ndarray:
    """Of each task at shares [.., 2, T]; weighed: how much weight counts beside rows."""
    curves = CURVES if weighed is None else [np.append(curve, weighed) for curve in CURVES]
    both = [(points[..., 0, task], None if weighed is None else points[..., 1, task]) for task in range(3)]
    return np.stack([1 - error(curve, *own) for curve, own in zip(curves, both, strict=True)], -1)


def test_the_rates_that_are_recommended_are_near_the_best_and_beat_even_ones() -> None:
    tried = points(PLANNED, np.ones(3), 12, seed=1, over="rates")
    assert tried[0, 0] == pytest.approx(np.array([500, 100, 300]) / 900, abs=0.02) and tried[1, 0] == pytest.approx([1 / 3] * 3)
    assert tried.sum(2) == pytest.approx(1) and tried[:, 0].min() >= 0.02 and tried[:, 1] == pytest.approx(1 / 3)
    best, score, (low, high), even = recommend(tried, skill(tried), [0, 1, 2], seed=1)
    assert best[1] == pytest.approx([1 / 3] * 3)
    grid = np.stack([np.random.default_rng(0).dirichlet([1, 1, 1], 5000)] * 2, 1)
    assert skill(best).mean() > skill(grid).mean(-1).max() - 0.02
    assert low - 0.02 <= skill(best).mean() <= high + 0.02 and score > even
    assert skill(best).mean() > skill(np.full((2, 3), 1 / 3)).mean()
    shuffled = skill(tried)[np.random.default_rng(3).permutation(12)]
    assert skill(recommend(tried, shuffled, [0, 1, 2], seed=1)[0]).mean() < skill(best).mean()


def test_weights_that_count_are_recommended_and_weights_that_do_not_vary_are_left() -> None:
    stated = np.array([2.0, 1.0, 1.0])
    tried = points(PLANNED, stated, 16, seed=2, over="weights")
    assert np.ptp(tried[:, 0], axis=0) == pytest.approx(0) and tried[:2, 1] == pytest.approx(np.array([[0.5, 0.25, 0.25]] * 2))
    factors = tried[:, 1] / stated
    assert (factors.max(1) / factors.min(1) <= 16).all()
    best, score, _, even = recommend(tried, skill(tried, weighed=0.8), [0, 1, 2], seed=1)
    assert best[0] == pytest.approx(tried[0, 0])
    assert skill(best, 0.8).mean() > skill(tried[0], 0.8).mean() and score > even
    assert skill(best, 0.8).mean() >= np.quantile(skill(tried, 0.8).mean(-1), 0.9)
    both = points(PLANNED, stated, 16, seed=2)
    assert np.ptp(both[:, 0], axis=0).min() > 0.1 and np.ptp(both[:, 1], axis=0).min() > 0.1
