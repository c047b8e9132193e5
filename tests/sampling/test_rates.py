"""Sampling schedules: rates are what their formulas say, and shares of rows follow rates."""

from __future__ import annotations

import numpy as np
import pytest

from trunkline.data.stream import Stream
from trunkline.errors import ConfigError
from trunkline.registry import SAMPLERS
from trunkline.sampling.base import Horizon

SIZES = {"small": 100, "large": 10_000}
HORIZON = Horizon(steps=100, tokens_per_step=400, row_tokens={"small": 4.0, "large": 4.0})


def test_proportional_is_temperature_one_and_uniform_is_its_limit() -> None:
    proportional = SAMPLERS.get("proportional")(SIZES, HORIZON).rates(1)
    assert SAMPLERS.get("temperature")(SIZES, HORIZON, temperature=1.0).rates(1) == pytest.approx(proportional)
    flat = SAMPLERS.get("temperature")(SIZES, HORIZON, temperature=1e9).rates(1)
    assert flat["small"] == pytest.approx(flat["large"], rel=1e-6)
    assert len(set(SAMPLERS.get("uniform")(SIZES, HORIZON).rates(1).values())) == 1


def test_temperature_two_takes_the_square_root_and_a_cap_bounds_the_size() -> None:
    assert SAMPLERS.get("temperature")(SIZES, HORIZON, temperature=2.0).rates(1) == pytest.approx({"small": 10.0, "large": 100.0})
    assert SAMPLERS.get("temperature")(SIZES, HORIZON, temperature=1.0, cap=200).rates(1) == pytest.approx(
        {"small": 100.0, "large": 200.0}
    )


@pytest.mark.parametrize(
    "rates",
    [{"small": 1.0}, {"small": 1.0, "large": 1.0, "lrge": 2.0}, {"small": 0.0, "large": 0.0}, {"small": -1.0, "large": 1.0}],
)
def test_explicit_rates_that_do_not_fit_the_recipe_are_refused(rates: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"sampling\.rates"):
        SAMPLERS.get("explicit")(SIZES, HORIZON, rates=rates)


@pytest.mark.parametrize("settings", [{"temperature": 0.0}, {"temperature": -1.0}, {"temperature": 1e-4}, {"cap": 0}])
def test_a_temperature_or_cap_out_of_range_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"sampling\."):
        SAMPLERS.get("temperature")(SIZES, HORIZON, **settings).check()


def test_a_cap_that_no_task_reaches_is_refused_once_sizes_are_known() -> None:
    largest = max(SIZES.values())
    SAMPLERS.get("temperature")(SIZES, HORIZON, cap=largest).check()
    with pytest.raises(ConfigError, match=rf"sampling\.cap is above every task's size, found {largest + 1}"):
        SAMPLERS.get("temperature")(SIZES, HORIZON, cap=largest + 1).check()


def test_shares_of_rows_follow_the_rates_whatever_the_groups() -> None:
    rates = {"single": 3.0, "grouped": 1.0}
    sampler = SAMPLERS.get("explicit")({"single": 5000, "grouped": 5000}, HORIZON, rates=rates)
    sizes = {name: np.full(5000, 4, np.int64) for name in rates}
    stream = Stream(sizes, sampler, seed=1, tokens_per_step=400, unit_limit=400, groups={"grouped": 8})
    for step in range(1, 400):
        stream.next_step(step)
    drawn = stream.cursors
    assert drawn["grouped"] / sum(drawn.values()) == pytest.approx(0.25, abs=0.02)


def test_a_task_of_rate_zero_is_never_drawn() -> None:
    sampler = SAMPLERS.get("explicit")({"on": 10, "off": 10}, HORIZON, rates={"on": 1.0, "off": 0.0})
    stream = Stream(
        {name: np.full(10, 4, np.int64) for name in ("on", "off")}, sampler, seed=1, tokens_per_step=40, unit_limit=40
    )
    assert {unit.task for step in range(1, 50) for unit in stream.next_step(step)} == {"on"}
