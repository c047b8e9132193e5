"""Rows that are rehearsed by loss: what a row's loss is, and how likely it is drawn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from trunkline.build.rehearsal import drawn, learned_before

LOSSES = np.array([1.0, 2.0, 3.0, 4.0])
Draw = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


def proportion_law(draw: Draw) -> bool:
    """One row is drawn with a chance in proportion to its loss; of several, each comes once."""
    chance = np.random.default_rng(0)
    counted = np.bincount([int(draw(LOSSES, 1, chance)[0]) for _ in range(4000)], minlength=4) / 4000
    once = all(len(set(draw(LOSSES, 3, chance).tolist())) == 3 for _ in range(50))
    return once and bool(np.allclose(counted, LOSSES / LOSSES.sum(), atol=0.03))


def test_the_chance_of_a_row_is_in_proportion_to_its_loss() -> None:
    assert proportion_law(drawn)


def test_rows_by_chance_alone_or_the_worst_alone_are_caught() -> None:
    assert not proportion_law(lambda losses, rows, chance: chance.permutation(len(losses))[:rows])
    assert not proportion_law(lambda losses, rows, _: np.argsort(-losses)[:rows])


@pytest.mark.parametrize("losses", [np.zeros(5), -np.ones(5), np.array([0.0, 0, 0, 9, 0])])
def test_losses_of_zero_and_below_leave_every_row_in_the_draw(losses: np.ndarray) -> None:
    assert drawn(losses, 4, np.random.default_rng(0)).tolist() == sorted({*drawn(losses, 4, np.random.default_rng(0)).tolist()})
    seen = {row for seed in range(60) for row in drawn(losses, 2, np.random.default_rng(seed)).tolist()}
    assert seen == set(range(5))


def test_what_a_model_learned_beside_its_tasks_was_learned_too() -> None:
    assert learned_before({"tasks": {"a": {}}, "lineage": {"aside": ["a_news_1"]}}) == {"a", "a_news_1"}
    assert learned_before({"tasks": {"a": {}}}) == {"a"}
