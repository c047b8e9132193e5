"""Weightings that only read losses: hand-worked values, who moves, and that their state is all they are."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch

from trunkline.errors import ConfigError
from trunkline.registry import WEIGHTINGS

TASKS = ("a", "b", "c")
KINDS = {"scaled": {}, "dwa": {"window": 2}, "rlw": {"seed": 3}, "famo": {"lr": 0.5}, "dtp": {}}
KINDS |= {"gls": {}, "imtl_l": {"lr": 0.1}, "stch": {"mu": 2.0}}
by_kind = pytest.mark.parametrize("kind", KINDS)


def make(kind: str, weights: tuple[float, ...] = (1.0, 1.0, 1.0), **settings: Any) -> Any:
    return WEIGHTINGS.get(kind)(TASKS[: len(weights)], list(weights), **(settings or KINDS[kind]))


def observe(weighting: Any, *steps: list[float | None]) -> Any:
    """None: the task is absent from the step."""
    for losses in steps:
        present = torch.tensor([loss is not None for loss in losses])
        weighting.observe(torch.tensor([loss or 0.0 for loss in losses], dtype=torch.float64), present)
    return weighting


def test_scaled_losses_start_at_their_weight_whatever_their_size() -> None:
    weighting = make("scaled", (1.0, 2.0, 1.0), chance={"a": math.log(2)})
    assert weighting.coefficients().tolist() == pytest.approx([1 / math.log(2), 2.0, 1.0])
    observe(weighting, [0.6, 10.0, None], [0.5, 9.0, None])
    losses = torch.tensor([math.log(2), 10.0])
    assert (weighting.coefficients()[:2] * losses).tolist() == pytest.approx([1.0, 2.0])
    assert weighting.coefficients()[2] == 1.0


@pytest.mark.parametrize("odd", [0.0, -1.0, float("nan"), float("inf")])
def test_a_first_loss_that_is_no_scale_is_passed_over(odd: float) -> None:
    weighting = observe(make("scaled"), [odd, 1.0, 1.0], [4.0, 1.0, 1.0])
    assert weighting.coefficients().tolist() == [0.25, 1.0, 1.0]


def test_dwa_is_its_paper_s_formula() -> None:
    # ratios 0.5 and 1.0 at temperature 2: 2 exp(0.25) / (exp(0.25) + exp(0.5)) = 2 / (1 + exp(0.25))
    weighting = observe(make("dwa", (1.0, 3.0), window=1), [4.0, 2.0], [2.0, 2.0])
    first = 2 / (1 + math.exp(0.25))
    assert weighting.coefficients().tolist() == pytest.approx([first, 3 * (2 - first)])


def test_dwa_compares_means_of_windows_and_waits_for_two() -> None:
    weighting = observe(make("dwa", (1.0, 1.0), window=2), [8.0, 2.0], [4.0, 2.0], [9.0, 9.0])
    assert weighting.coefficients().tolist() == [1.0, 1.0]
    observe(weighting, [3.0, 9.0])  # (9 + 3) / (8 + 4) = 1, (9 + 9) / (2 + 2) = 4.5
    first = 2 / (1 + math.exp(3.5 / 2))
    assert weighting.coefficients().tolist() == pytest.approx([first, 2 - first])


def test_random_weights_are_one_on_average_and_new_in_every_step() -> None:
    weighting, drawn = make("rlw"), []
    for _ in range(4000):
        drawn.append(weighting.coefficients())
        observe(weighting, [1.0, 1.0, 1.0])
    found = torch.stack(drawn)
    assert found.sum(1).tolist() == pytest.approx([3.0] * 4000)
    assert found.mean(0).tolist() == pytest.approx([1.0] * 3, abs=0.03)
    assert len({round(value, 12) for value in found[:, 0].tolist()}) == 4000
    # softmax undone: differences of two standard normal draws have variance 2
    assert float((found[:, 0].log() - found[:, 1].log()).var()) == pytest.approx(2.0, rel=0.1)


def test_random_weights_are_a_function_of_seed_step_and_task() -> None:
    assert make("rlw").coefficients().tolist() == make("rlw").coefficients().tolist()
    assert make("rlw", seed=4).coefficients().tolist() != make("rlw").coefficients().tolist()
    turned = WEIGHTINGS.get("rlw")(TASKS[::-1], [1.0] * 3, seed=3)
    assert turned.coefficients().tolist()[::-1] == pytest.approx(make("rlw").coefficients().tolist())


def test_famo_is_its_paper_s_step() -> None:
    # z = 1/2 each; falls log 2 and 0; slope z * (fall - mean) = +-log(2) / 4; logits -+ lr * log(2) / 4
    weighting = observe(make("famo", (1.0, 1.0), lr=0.5, decay=1e-9), [2.0, 3.0], [1.0, 3.0])
    z = torch.softmax(torch.tensor([-1.0, 1.0], dtype=torch.float64) * math.log(2) / 8, 0)
    share = z / torch.tensor([1.0, 3.0], dtype=torch.float64)
    assert weighting.coefficients().tolist() == pytest.approx((2 * share / share.sum()).tolist(), rel=1e-6)


def test_famo_s_slope_is_the_gradient_through_the_softmax() -> None:
    weighting = observe(make("famo", lr=0.5, decay=0.1), [2.0, 3.0, 1.0], [1.0, 2.5, 4.0])
    before, fall = weighting.logits.clone(), torch.tensor([1.0, 2.5, 4.0]).double().log() - math.log(2.0)
    logits = before.clone().requires_grad_()
    (torch.softmax(logits, 0) @ fall).backward()
    observe(weighting, [2.0, 2.0, 2.0])
    assert weighting.logits.tolist() == pytest.approx((before - 0.5 * (logits.grad + 0.1 * before)).tolist())


def test_exact_famo_compares_a_step_s_losses_with_those_of_its_rows_after_it() -> None:
    weighting = make("famo", (1.0, 1.0), lr=0.5, decay=1e-9, exact=True)
    assert weighting.exact and weighting.looks_back and not make("famo").exact
    observe(weighting, [5.0, 1.0], [2.0, 3.0])  # two steps' losses are not compared
    assert weighting.logits.tolist() == [0.0, 0.0]
    assert weighting.coefficients().tolist() == pytest.approx([2 * 3 / 5, 2 * 2 / 5])
    weighting.look_back(torch.tensor([1.0, 3.0]), torch.tensor([True, True]))
    assert weighting.logits.tolist() == pytest.approx([-math.log(2) / 8, math.log(2) / 8])


def test_famo_favours_the_task_whose_loss_stands_still() -> None:
    weighting = make("famo", (1.0, 1.0), lr=0.5)
    for step in range(40):
        observe(weighting, [4.0 * 0.9**step, 4.0])
    assert weighting.logits[1] > weighting.logits[0]


def test_dtp_is_the_focal_loss_of_the_mean_probability() -> None:
    weighting = observe(
        make("dtp", (1.0, 2.0, 1.0), focus=2.0, rate=0.5), [math.log(2), math.log(4), None], [math.log(4), 0.0, None]
    )
    # k = (1/2 + 1/4) / 2 = 3/8, and (1/4 + 1) / 2 = 5/8
    expected = [-((5 / 8) ** 2) * math.log(3 / 8), -2 * (3 / 8) ** 2 * math.log(5 / 8), 1.0]
    assert weighting.coefficients().tolist() == pytest.approx(expected)


def test_dtp_leaves_a_task_that_is_learned_and_bounds_one_that_is_hopeless() -> None:
    learned, hopeless, _ = observe(make("dtp"), [0.0, 1e6, 1.0]).coefficients().tolist()
    assert learned == 0.0
    assert 1 < hopeless < 30


def test_gls_makes_every_scaled_loss_the_geometric_mean_and_its_gradient_that_of_the_product() -> None:
    weighting = observe(make("gls"), [8.0, 1.0, None])
    assert weighting.coefficients().tolist() == pytest.approx([8**0.5 / 8, 8**0.5, 1.0])
    losses = torch.tensor([8.0, 1.0, 27.0], dtype=torch.float64, requires_grad=True)
    (3 * losses.prod() ** (1 / 3)).backward()
    assert observe(weighting, losses.tolist()).coefficients().tolist() == pytest.approx(losses.grad.tolist())


def test_stch_is_the_gradient_of_its_paper_s_maximum() -> None:
    losses = torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64, requires_grad=True)
    (3 * 2.0 * torch.logsumexp(losses / 2.0, 0)).backward()
    assert observe(make("stch"), losses.tolist()).coefficients().tolist() == pytest.approx(losses.grad.tolist())
    sharp = observe(make("stch", mu=0.01), [1.0, 3.0, 0.5]).coefficients()
    assert sharp.tolist() == pytest.approx([0.0, 3.0, 0.0])


def test_imtl_l_steps_down_its_slope_and_settles_where_every_scaled_loss_is_1() -> None:
    # s = 0: slopes 0.5 - 1 and min(4 - 1, 1)
    weighting = observe(make("imtl_l", (1.0, 1.0), lr=0.1), [0.5, 4.0])
    assert weighting.coefficients().tolist() == pytest.approx([math.exp(0.05), math.exp(-0.1)])
    settled = observe(make("imtl_l", lr=0.1), *[[4.0, 0.25, 1e6]] * 400)
    assert (settled.coefficients() * torch.tensor([4.0, 0.25, 1e6])).tolist() == pytest.approx([1.0, 1.0, 1.0], rel=0.1)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "rlw"])
def test_only_tasks_present_move(kind: str) -> None:
    weighting = observe(make(kind), [2.0, 3.0, 1.0], [1.0, 2.0, 3.0], [1.5, 1.0, 2.0])
    before = dict(weighting.state().get("chance", weighting.state()))
    observe(weighting, [9.0, None, 0.1], [0.3, None, 8.0])
    after = dict(weighting.state().get("chance", weighting.state()))
    assert after["b"] == before["b"]
    if kind != "scaled":
        assert after["a"] != before["a"]


@by_kind
def test_before_anything_is_seen_it_is_static_or_its_mean_is(kind: str) -> None:
    start = make(kind).coefficients()
    assert start.dtype == torch.float64
    assert float(start.mean()) == pytest.approx(1.0)


@by_kind
def test_reading_coefficients_twice_changes_nothing(kind: str) -> None:
    weighting = observe(make(kind), [2.0, 3.0, 1.0])
    assert weighting.coefficients().tolist() == weighting.coefficients().tolist()


@by_kind
def test_weights_of_cards_multiply(kind: str) -> None:
    plain, heavy = (observe(make(kind, weights), [2.0, 3.0, 1.0]) for weights in ((1.0,) * 3, (1.0, 0.5, 4.0)))
    assert (heavy.coefficients() / plain.coefficients()).tolist() == pytest.approx([1.0, 0.5, 4.0])


@by_kind
def test_state_through_json_continues_exactly_and_without_it_does_not(kind: str) -> None:
    straight = observe(make(kind), [3.0, 0.1, None], [2.0, 0.3, None], [1.0, 0.2, 4.0])
    resumed, fresh = make(kind), make(kind)
    resumed.load_state(json.loads(json.dumps(straight.state())))
    differs = not torch.equal(straight.coefficients(), fresh.coefficients())
    for weighting in (straight, resumed, fresh):
        observe(weighting, [2.0, 0.3, 1.0], [1.0, None, 0.5])
    assert torch.equal(straight.coefficients(), resumed.coefficients())
    assert differs or not torch.equal(straight.coefficients(), fresh.coefficients())


# A loss that begins near 0 and falls through it to -0.5, beside one that stays.
FALLING = [*[[1e-6, 0.7, 0.7]] * 4, *([0.5 - step / 40, 0.7, 0.7] for step in range(41)), *[[-0.5, 0.7, 0.7]] * 1500]


@by_kind
def test_losses_below_0_run_away_with_it_or_starve_a_task_exactly_if_it_says_that_it_needs_them_above(kind: str) -> None:
    weighting = make(kind)
    unsigned = set(weighting.unsigned)
    assert unsigned in (set(), set(TASKS))
    found = torch.stack([observe(weighting, losses).coefficients() for losses in FALLING])
    assert bool(((found > 1e-3) & (found < 1e3)).all()) == (not unsigned)


def test_scaled_takes_losses_below_0_of_tasks_whose_value_at_chance_is_stated() -> None:
    assert list(make("scaled", chance={"a": 2.0}).unsigned) == ["b", "c"]


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("scaled", {"chance": {"aa": 1.0}}),
        ("scaled", {"chance": {"a": 0.0}}),
        ("scaled", {"chance": 0.7}),
        ("dwa", {"temperature": 0}),
        ("dwa", {"window": 0}),
        ("dwa", {"window": 2.5}),
        ("rlw", {"seed": "now"}),
        ("famo", {"lr": -1}),
        ("famo", {"decay": float("inf")}),
        ("dtp", {"focus": True}),
        ("dtp", {"rate": 1.5}),
        ("imtl_l", {"lr": 0}),
        ("stch", {"mu": -1.0}),
        ("gls", {"exact": "yes"}),
        ("famo", {"exact": 1}),
    ],
)
def test_settings_out_of_range_are_refused(kind: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"weighting\."):
        make(kind, **settings)
