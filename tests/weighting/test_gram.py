"""Weightings that read gradients: TorchJD's on the stacked gradients, who moves, and that their state is all they are."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
import torchjd.aggregation as jd
from torch import Tensor

from trunkline.errors import ConfigError
from trunkline.registry import WEIGHTINGS
from trunkline.weighting.gram import LEAST

TASKS = ("a", "b", "c", "d")
KINDS: dict[str, dict[str, Any]] = {
    "pcgrad": {"seed": 3},
    "gradvac": {"beta": 0.5},
    "upgrad": {},
    "dualproj": {},
    "mgda": {},
    "imtl_g": {},
    "aligned_mtl": {},
    "cagrad": {"c": 0.4},
    "fairgrad": {"alpha": 2.0},
    "nash_mtl": {},
    "gradnorm": {"lr": 0.1},
}
by_kind = pytest.mark.parametrize("kind", KINDS)
# What TorchJD gives for weights that are 1 on average, or 1 each where nothing conflicts.
THEIRS: dict[str, Any] = {
    "upgrad": lambda gram: 4 * jd.UPGradWeighting()(gram),
    "dualproj": lambda gram: 4 * jd.DualProjWeighting()(gram),
    "mgda": lambda gram: 4 * jd.MGDAWeighting()(gram),
    "aligned_mtl": lambda gram: 4 * jd.AlignedMTLWeighting()(gram),
    "cagrad": lambda gram: 4 * jd.CAGradWeighting(0.4)(gram),
    "imtl_g": lambda gram: 4 * jd.IMTLGWeighting()(gram),
    "fairgrad": lambda gram: _proportional(jd.FairGradWeighting(2.0)(gram)),
}


def _proportional(found: Tensor) -> Tensor:
    return found * len(found) / found.sum()


def gradients(seed: int, size: float = 1.0) -> Tensor:
    """Four tasks [4, 9], some pairs opposed, norms that differ."""
    drawn = torch.randn(4, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return size * drawn * torch.tensor([[1.0], [0.5], [2.0], [1.0]])


def make(kind: str, weights: tuple[float, ...] = (1.0,) * 4, **settings: Any) -> Any:
    return WEIGHTINGS.get(kind)(TASKS[: len(weights)], list(weights), **(settings or KINDS[kind]))


def show(weighting: Any, *steps: Tensor, losses: Tensor | None = None) -> Any:
    """A row of zeros: the task is absent."""
    for stack in steps:
        present = stack.nan_to_num(1.0).abs().sum(1) > 0
        if weighting.needs_gram:
            weighting.see(stack @ stack.T)
        weighting.observe(torch.ones(len(stack)).double() if losses is None else losses, present)
    return weighting


def without(stack: Tensor, number: int) -> Tensor:
    return torch.where(torch.arange(len(stack))[:, None] == number, 0.0, stack)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", THEIRS)
def test_it_is_torchjd_s_on_the_stacked_gradients(kind: str, seed: int) -> None:
    stack = gradients(seed)
    expected = THEIRS[kind](stack @ stack.T)
    if (expected < 0).any():
        expected = _proportional(expected.clamp(min=0))
    assert show(make(kind), stack).coefficients().tolist() == pytest.approx(expected.tolist(), abs=2e-3)


@pytest.mark.parametrize("kind", THEIRS)
def test_gradients_that_carry_a_factor_of_their_own_are_told_from_those_that_do_not(kind: str) -> None:
    # As when they carry w_t, or a mean of means.
    stack = gradients(0)
    wrong = stack * torch.tensor([[1.0], [2.0], [0.5], [3.0]])
    assert show(make(kind), stack).coefficients().tolist() != pytest.approx(THEIRS[kind](wrong @ wrong.T).tolist(), abs=2e-3)


def test_pcgrad_takes_from_each_gradient_what_points_against_the_other() -> None:
    # g1 = (1, 0), g2 = (-1, 1): g1 . g2 = -1. g1 gains 1/2 of g2, g2 gains 1 of g1.
    stack = torch.tensor([[1.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    assert show(make("pcgrad", (1.0, 1.0)), stack).coefficients().tolist() == pytest.approx([2.0, 1.5])


def test_pcgrad_s_order_is_a_function_of_seed_and_step() -> None:
    torch.manual_seed(0)
    one = show(make("pcgrad"), gradients(1))
    torch.manual_seed(7)
    before = torch.get_rng_state()
    other = show(make("pcgrad"), gradients(1))
    assert torch.equal(before, torch.get_rng_state()), "a weighting must leave dropout's generator alone"
    assert torch.equal(one.coefficients(), other.coefficients())
    seeds = {tuple(show(make("pcgrad", seed=seed), gradients(1)).coefficients().tolist()) for seed in range(20)}
    assert len(seeds) > 1


def test_gradvac_pulls_a_pair_up_to_its_mean_cosine() -> None:
    # Right angles at first: nothing to do, and targets stay 0. Then opposed: each becomes orthogonal to the other, as by pcgrad.
    right = torch.eye(2, dtype=torch.float64)
    opposed = torch.tensor([[1.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    weighting = show(make("gradvac", (1.0, 1.0), beta=0.5), right)
    assert weighting.coefficients().tolist() == [1.0, 1.0]
    assert show(weighting, opposed).coefficients().tolist() == pytest.approx([2.0, 1.5], abs=1e-6)
    assert weighting.targets[0, 1] == pytest.approx(-0.5 / 2**0.5)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("kind", "alpha"), [("nash_mtl", 1.0), ("fairgrad", 2.0)])
def test_fair_weights_solve_their_equation(kind: str, alpha: float, seed: int) -> None:
    stack = gradients(seed)
    found = show(make(kind), stack).coefficients()
    left, right = stack @ stack.T @ found, found ** (-1 / alpha)
    assert (left / right / (left[0] / right[0])).tolist() == pytest.approx([1.0] * 4, rel=2e-2)


def test_gradnorm_is_its_paper_s_step() -> None:
    # Norms 3 and 1, weights 1: pulls 3 and 1 about a mean of 2. First ratios are 1, so slopes are 3 and -1, in units of the mean
    # norm 2: w = 1 - 0.1 * 3 / 2 and 1 + 0.1 / 2, scaled to sum 2.
    stack = torch.tensor([[3.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    weighting = show(make("gradnorm", (1.0, 1.0), lr=0.1), stack)
    assert weighting.coefficients().tolist() == pytest.approx([0.85 * 2 / 1.9, 1.05 * 2 / 1.9])


def test_gradnorm_settles_where_norms_are_equal_and_longer_for_the_task_that_lags() -> None:
    stack = torch.tensor([[3.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    even = show(make("gradnorm", (1.0, 1.0), lr=0.01), *[stack] * 400).coefficients()
    assert (even * torch.tensor([3.0, 1.0])).tolist() == pytest.approx([1.5, 1.5], rel=0.05)
    lagging = show(make("gradnorm", (1.0, 1.0), lr=0.01, alpha=1.0), stack)
    show(lagging, *[stack] * 400, losses=torch.tensor([0.5, 1.0]).double())
    pulls = lagging.coefficients() * torch.tensor([3.0, 1.0])
    assert float(pulls[1] / pulls[0]) == pytest.approx(2.0, rel=0.1)  # steps of 0.01 go to and fro about it


@by_kind
def test_no_conflict_and_equal_norms_is_static(kind: str) -> None:
    found = show(make(kind, every=1), torch.eye(4, dtype=torch.float64)).coefficients()
    expected = [1.5] * 4 if kind == "cagrad" else [1.0] * 4  # it goes c beyond the mean
    assert found.tolist() == pytest.approx(expected, abs=1e-3)


@by_kind
def test_gradients_a_million_times_as_long_or_short_change_nothing(kind: str) -> None:
    found = [show(make(kind), gradients(2, size)).coefficients() for size in (1.0, 1e6, 1e-6)]
    for other in found[1:]:
        assert other.tolist() == pytest.approx(found[0].tolist(), rel=1e-5, abs=1e-5)


HARD = {
    "opposed": torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, 1]], dtype=torch.float64),
    "one is all": torch.tensor([[1e4, 0], [1e-4, 1e-4], [0, 1e-4], [1, 1]], dtype=torch.float64),
    "all the same": torch.ones(4, 3, dtype=torch.float64),
    "hardly there": torch.tensor([[1e-30, 0], [1, 0], [0, 1], [1, 1]], dtype=torch.float64),
}


@pytest.mark.parametrize("case", HARD)
@by_kind
def test_coefficients_are_finite_and_above_0_whatever_it_is_shown(kind: str, case: str) -> None:
    weighting = make(kind)
    for _ in range(3):
        found = show(weighting, HARD[case]).coefficients()
        assert torch.isfinite(found).all() and (found >= LEAST).all()
        assert (found <= 1e6).all()


@by_kind
def test_a_task_that_is_absent_or_shows_no_number_stands_still(kind: str) -> None:
    weighting = show(make(kind), gradients(1))
    before = weighting.coefficients()
    stack = gradients(2)
    odd = stack.clone()
    odd[1] = float("nan")
    twin = make(kind)
    twin.load_state(weighting.state())
    show(weighting, without(stack, 1))
    show(twin, odd)
    for each in (weighting, twin):
        assert each.coefficients()[1] == before[1]
        assert each.coefficients()[0] != before[0]
    assert torch.equal(weighting.coefficients(), twin.coefficients())
    alone = stack * torch.tensor([[1.0], [0.0], [0.0], [0.0]])
    now = weighting.coefficients()
    assert torch.equal(show(weighting, alone).coefficients(), now), "one gradient alone has nothing to be weighed against"


@by_kind
def test_it_is_1_until_it_has_seen_gradients_and_reading_changes_nothing(kind: str) -> None:
    weighting = make(kind)
    assert weighting.coefficients().tolist() == [1.0] * 4
    assert weighting.coefficients().dtype == torch.float64
    assert weighting.needs_gram
    show(weighting, gradients(1))
    assert torch.equal(weighting.coefficients(), weighting.coefficients())


@by_kind
def test_weights_of_cards_multiply(kind: str) -> None:
    plain, heavy = (show(make(kind, weights), gradients(3)) for weights in ((1.0,) * 4, (1.0, 0.5, 4.0, 2.0)))
    assert (heavy.coefficients() / plain.coefficients()).tolist() == pytest.approx([1.0, 0.5, 4.0, 2.0])


@by_kind
def test_state_through_json_continues_exactly_and_without_it_does_not(kind: str) -> None:
    straight = show(make(kind), gradients(1), without(gradients(2), 3), gradients(3))
    resumed, fresh = make(kind), make(kind)
    resumed.load_state(json.loads(json.dumps(straight.state())))
    assert torch.equal(straight.coefficients(), resumed.coefficients())
    assert not torch.equal(straight.coefficients(), fresh.coefficients())
    for weighting in (straight, resumed):
        show(weighting, without(gradients(4), 0))
    assert torch.equal(straight.coefficients(), resumed.coefficients())
    assert straight.state() == resumed.state()


def test_every_third_step_is_looked_at_and_the_others_change_nothing() -> None:
    weighting, asked, found = make("mgda", every=3), [], []
    for step in range(7):
        asked.append(weighting.needs_gram)
        found.append(show(weighting, gradients(step)).coefficients())
    assert asked == [True, False, False, True, False, False, True]
    assert torch.equal(found[0], found[2]) and not torch.equal(found[2], found[3])


@by_kind
def test_losses_below_0_are_nothing_to_those_that_read_gradients_alone(kind: str) -> None:
    assert bool(make(kind).unsigned) == (kind == "gradnorm")
    assert not make("gradnorm", alpha=0).unsigned


@by_kind
def test_one_task_is_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match=r"weighting\.kind.*one task, 'a'"):
        make(kind, (1.0,))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("mgda", {"every": 0}),
        ("mgda", {"every": 1.5}),
        ("upgrad", {"exact": "yes"}),
        ("pcgrad", {"seed": "now"}),
        ("gradvac", {"beta": 1.5}),
        ("aligned_mtl", {"scale": "max"}),
        ("cagrad", {"c": 1.0}),
        ("fairgrad", {"alpha": 0}),
        ("gradnorm", {"lr": 0}),
        ("gradnorm", {"alpha": -1}),
    ],
)
def test_settings_out_of_range_are_refused(kind: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"weighting\."):
        make(kind, **settings)
