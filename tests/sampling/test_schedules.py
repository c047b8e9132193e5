"""Schedules that move or look ahead: hand-worked values, what they promise of a run, what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trunkline.data.stream import Stream
from trunkline.errors import ConfigError
from trunkline.registry import SAMPLERS
from trunkline.sampling.base import Horizon, Sampler

SIZES = {"small": 100, "large": 10_000}
HORIZON = Horizon(steps=101, tokens_per_step=400, row_tokens={"small": 4.0, "large": 4.0})


def make(kind: str, **settings: Any) -> Any:
    sampler = SAMPLERS.get(kind)(SIZES, HORIZON, **settings)
    sampler.check()
    return sampler


def ratio(sampler: Any, step: int) -> float:
    rates = sampler.rates(step)
    return float(rates["large"] / rates["small"])


def drawn(kind: str, sizes: dict[str, int], steps: int, **settings: Any) -> list[set[str]]:
    return [{unit.task for unit in units} for units in _steps(kind, sizes, steps, **settings)[1]]


def _steps(kind: str, sizes: dict[str, int], steps: int, **settings: Any) -> tuple[Stream, list[Any]]:
    tokens = {name: np.random.default_rng(len(name)).integers(2, 7, size) for name, size in sizes.items()}
    horizon = Horizon(steps, 60, {name: float(size.mean()) for name, size in tokens.items()})
    sampler = SAMPLERS.get(kind)(sizes, horizon, **settings)
    stream = Stream(tokens, sampler, seed=1, tokens_per_step=60, unit_limit=60)
    return stream, [stream.next_step(step) for step in range(1, steps + 1)]


def test_annealed_starts_and_ends_at_its_temperatures_and_its_exponent_is_halfway_between() -> None:
    sampler = make("annealed", start=1.0, end=5.0)
    assert ratio(sampler, 1) == pytest.approx(100.0)
    assert ratio(sampler, 101) == pytest.approx(100**0.2)
    assert ratio(sampler, 51) == pytest.approx(100**0.6)  # (1 + 0.2) / 2


def test_annealed_between_equal_temperatures_is_temperature() -> None:
    fixed = make("temperature", temperature=3.0)
    assert {round(ratio(make("annealed", start=3.0, end=3.0), step), 9) for step in (1, 50, 101)} == {round(ratio(fixed, 1), 9)}


def test_an_extreme_temperature_does_not_overflow() -> None:
    assert make("annealed", start=1e-4, end=1.0).rates(1) == {"small": 0.0, "large": 1.0}


def test_unimax_fills_the_small_tasks_and_shares_the_rest_evenly() -> None:
    # 100 rows are left for three tasks. One pass over a is 10; b and c share 90 evenly.
    sizes = {"c": 500, "a": 10, "b": 50}
    sampler = SAMPLERS.get("unimax")(sizes, Horizon(25, 8, dict.fromkeys(sizes, 2.0)), passes=1)
    assert sampler.rates(1) == {"a": 10.0, "b": 45.0, "c": 45.0}


def test_unimax_counts_what_a_row_costs() -> None:
    # 120 tokens: a is full with 10 rows of 2 tokens; 100 tokens are left for rows of 1 and of 4: 20 rows each.
    sizes = {"a": 10, "b": 100, "c": 100}
    sampler = SAMPLERS.get("unimax")(sizes, Horizon(12, 10, {"a": 2.0, "b": 1.0, "c": 4.0}), passes=1)
    assert sampler.rates(1) == pytest.approx({"a": 10.0, "b": 20.0, "c": 20.0})


def test_no_task_is_passed_over_more_often_than_unimax_allows_and_uniform_breaks_the_bound() -> None:
    sizes = {"tiny": 50, "small": 400, "large": 5000}
    bound = 2.0
    assert max(_steps("unimax", sizes, 200, passes=bound)[0].passes().values()) < 1.15 * bound
    assert max(_steps("uniform", sizes, 200)[0].passes().values()) > 5 * bound


def test_unimax_with_room_for_all_is_uniform() -> None:
    assert len({round(rate, 6) for rate in make("unimax", passes=1e6).rates(1).values()}) == 1


def test_a_run_longer_than_all_passes_is_refused_with_the_number_that_would_do() -> None:
    with pytest.raises(ConfigError, match=r"passes to 1\.0"):
        make("unimax", passes=0.5)


def test_a_formula_is_its_value_by_hand() -> None:
    sampler = make(
        "expression", rates={"small": "size ** 0.5 * (1 - progress) + 1", "large": "max(2, step / 4) if step > 50 else 3"}
    )
    assert sampler.rates(1) == {"small": 11.0, "large": 3.0}
    assert sampler.rates(51) == {"small": 6.0, "large": 12.75}
    assert sampler.rates(101) == {"small": 1.0, "large": 25.25}


def test_formulas_can_say_what_temperature_says() -> None:
    sampler = make("expression", rates=dict.fromkeys(SIZES, "sqrt(size)"))
    assert sampler.rates(7) == make("temperature", temperature=2.0).rates(7)


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("progess", "Did you mean 'progress'"),
        ("sqr(size)", "Did you mean 'sqrt'"),
        ("1 - 2 * progress", r"-\d.* at step"),
        ("log(progress)", "undefined at step 1"),
        ("1 / progress", "undefined at step 1"),
        ("(0 - step) ** 0.5", "undefined at step 1"),
        ("9 ** 9 ** 9", "undefined at step 1"),
        ("1e999", "inf at step 1"),
        ("size +", "is no formula"),
        ("size\0", "is no formula"),
        ("__import__('os').system('true')", "can not stand in a formula"),
        ("size.__class__", "can not stand in a formula"),
        ("(lambda: 1)()", "can not stand in a formula"),
        ("[1][0]", "can not stand in a formula"),
        ("True", "can not stand in a formula"),
        ("'a'", "can not stand in a formula"),
        ("sqrt(1, 2)", "takes 1"),
        ("min()", "takes 2"),
        ("max(*size, 1)", "can not stand in a formula"),
        ("-" * 191 + "1", "-1.0 at step 1"),
        ("1+" * 150 + "1", "at most 200 characters"),
    ],
)
def test_a_formula_out_of_bounds_is_refused(formula: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make("expression", rates={"small": formula, "large": 1})


def test_formulas_that_are_all_zero_at_some_step_are_refused() -> None:
    with pytest.raises(ConfigError, match="every task's rate is 0 at step 1"):
        make("expression", rates={"small": "progress", "large": "0"})


PHASES = [{"tasks": ["a"], "share": 1}, {"tasks": ["a", "b"], "share": 2}, {"tasks": ["c"], "share": 1}]


def test_only_the_tasks_of_a_phase_are_drawn_in_it() -> None:
    found = drawn("sequential", {"a": 90, "b": 90, "c": 90}, 8, phases=PHASES)
    assert found == [{"a"}] * 2 + [{"a", "b"}] * 4 + [{"c"}] * 2


def test_each_step_of_a_round_robin_holds_one_task_and_blocks_last_as_long_as_they_say() -> None:
    assert drawn("round_robin", {"a": 90, "b": 90, "c": 90}, 6) == [{"a"}, {"b"}, {"c"}] * 2
    assert drawn("round_robin", {"a": 90, "b": 90}, 6, block=2) == [{"a"}, {"a"}, {"b"}, {"b"}, {"a"}, {"a"}]


def test_a_row_that_waited_for_its_turn_is_neither_lost_nor_trained_twice() -> None:
    stream, steps = _steps("round_robin", {"a": 90, "b": 90}, 8)
    waiting = stream.pending[0] if stream.pending else None
    for task in ("a", "b"):
        rows = [int(row) for units in steps for unit in units if unit.task == task for row in unit.rows]
        assert len(rows) == len(set(rows)) == stream.cursors[task] - (task == waiting)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("annealed", {"start": 0}),
        ("annealed", {"end": float("nan")}),
        ("annealed", {"end": "hot"}),
        ("unimax", {"passes": -1}),
        ("expression", {"rates": {"small": "1"}}),
        ("expression", {"rates": {"small": "1", "large": "1", "lrge": "1"}}),
        ("expression", {"rates": "size"}),
        ("sequential", {"phases": []}),
        ("sequential", {"phases": [{"tasks": ["small", "lrge"], "share": 1}]}),
        ("sequential", {"phases": [{"tasks": ["small"], "share": 1}]}),
        ("sequential", {"phases": [{"tasks": ["small", "large"], "share": 0}]}),
        ("sequential", {"phases": [{"tasks": ["small", "large"]}]}),
        ("sequential", {"phases": [{"tasks": "small", "share": 1}]}),
        ("sequential", {"phases": [{"tasks": ["small"], "share": 1}, {"tasks": ["large"], "share": 1e-9}]}),
        ("round_robin", {"block": 0}),
        ("round_robin", {"block": 1.5}),
    ],
)
def test_settings_out_of_range_are_refused_before_sizes_are_known(kind: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"sampling\."):
        SAMPLERS.get(kind)(dict.fromkeys(SIZES, 1), Horizon(101, 400, dict.fromkeys(SIZES, 1.0)), **settings)


@pytest.mark.parametrize("kind", sorted(SAMPLERS.names()))
def test_a_sampler_that_fits_is_made_before_sizes_are_known_and_checks_its_rates_when_they_are(kind: str) -> None:
    needed: dict[str, dict[str, Any]] = {
        "explicit": {"rates": {"small": 1, "large": 2}},
        "expression": {"rates": {"small": "log(size - 50)", "large": "size"}},
        "sequential": {"phases": [{"tasks": ["small", "large"], "share": 1}]},
        "gap": {"scores": {"small": 0.9, "large": 0.8}},
        "mixture": {"mixtures": {"top": {"of": ["small", "large"]}}},
    }
    SAMPLERS.get(kind)(dict.fromkeys(SIZES, 1), Horizon(101, 400, dict.fromkeys(SIZES, 1.0)), **needed.get(kind, {}))
    make(kind, **needed.get(kind, {}))


def test_rates_of_a_third_party_that_are_no_rates_are_refused_with_the_step() -> None:
    class Broken(Sampler):
        def rates(self, step: int) -> dict[str, float]:
            return {"small": 1.0, "large": 3.0 - step}

    with pytest.raises(ConfigError, match="rates at step 4 must be at least 0"):
        Broken(SIZES, HORIZON).check()
