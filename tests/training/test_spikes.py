"""A loss that leaps is one, and nothing else is."""

from __future__ import annotations

import random

import pytest

from trunkline.errors import ConfigError
from trunkline.training.pace import WINDOW, Pace
from trunkline.training.spikes import FEWEST, Spikes


def seen(sigma: float | None, spread: float = 0.1) -> Spikes:
    spikes, chance = Spikes(sigma), random.Random(0)
    for _ in range(100):
        assert spikes.of({"a": 2 + chance.gauss(0, spread)}) == []
    return spikes


def test_a_loss_ten_deviations_up_leaps_and_is_not_remembered() -> None:
    spikes = seen(6)
    assert spikes.of({"a": 3.0, "b": 1.0}) == ["a"] and spikes.of({"a": 3.0}) == ["a"]
    assert "b" not in spikes.seen and len(spikes.seen["a"]) == 100
    assert spikes.of({"a": 2.3}) == []


def test_without_a_sigma_with_few_losses_or_downwards_nothing_leaps() -> None:
    assert seen(None).of({"a": 1e9}) == []
    spikes = Spikes(6)
    assert all(spikes.of({"a": 1.0}) == [] for _ in range(FEWEST - 1)) and spikes.of({"a": 1e9}) == []
    assert seen(6).of({"a": -1e9}) == []


def test_a_loss_that_hardly_moves_does_not_leap_by_a_hundredth() -> None:
    assert seen(6, spread=0.0).of({"a": 2.05}) == [] and seen(6, spread=0.0).of({"a": 2.2}) == ["a"]


def test_the_bound_is_that_worked_by_hand() -> None:
    assert Spikes(6).bound([1.0, 3.0] * 20) == pytest.approx(2 + 6 * 1)


def test_a_state_restored_decides_alike() -> None:
    spikes, other = seen(6), Spikes(6)
    other.load_state(spikes.state())
    assert other.bound(other.seen["a"]) == spikes.bound(spikes.seen["a"])


def test_a_sigma_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="spike_sigma"):
        Spikes(0.0)


def test_the_rank_that_holds_up_the_others_is_told_once_a_window() -> None:
    pace = Pace()
    told = [pace.see((0.1, 0.1, 0.35)) for _ in range(2 * WINDOW)]
    assert [step for step, event in enumerate(told) if event] == [WINDOW - 1, 2 * WINDOW - 1]
    assert told[WINDOW - 1] == {"rank": 2, "times": 3.5, "seconds": 0.35, "others": 0.1}


@pytest.mark.parametrize("seconds", [(0.1, 0.15), (0.001, 0.01), (0.1,)])
def test_ranks_of_like_pace_short_steps_and_one_rank_alone_are_not_told(seconds: tuple[float, ...]) -> None:
    pace = Pace()
    assert not any(pace.see(seconds) for _ in range(3 * WINDOW))


def test_one_slow_step_is_not_told() -> None:
    pace = Pace()
    assert not any(pace.see((0.1, 5.0 if step == 7 else 0.1)) for step in range(2 * WINDOW))
