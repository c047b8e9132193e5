"""Terms of a step and of a worker's memory: worked by hand, and laws of how they go with workers, tokens and stages."""

from __future__ import annotations

import dataclasses

import pytest

from trunkline.cluster import Prices
from trunkline.planning.footprint import Footprint
from trunkline.planning.hardware import DEVICES, REACHED, Links, processor
from trunkline.planning.scaling import curve
from trunkline.planning.step import Job, calibrated, in_words, memory, seconds

TOKEN = Footprint(saved=1000.0, widest=100.0, flops=6e6, kernels=500, layers=4, counted=2)
JOB = Job(parameters=1_000_000, trained=1_000_000, tokens=65_536, pass_tokens=65_536, steps=3600, stage=0, footprint=TOKEN)
H100 = DEVICES["h100"]


def test_an_all_reduce_is_worked_by_hand() -> None:
    links = Links(per_node=4, nvlink=100e9, network=10e9, inside_s=1e-6, outside_s=1e-5)
    inside = 2 * 3 * (1e9 / 4 / (REACHED * 100e9) + 1e-6)
    assert links.all_reduce(1e9, 4) == pytest.approx(inside)
    assert links.all_reduce(1e9, 8) == pytest.approx(inside + 2 / 2 * 1e9 / (REACHED * 10e9) + 2 * 1e-5)
    assert links.exchange(1e9, 1, 3, 5) == 0


@pytest.mark.parametrize(
    ("stage", "passes", "halves"), [(0, 1, 2), (0, 4, 2), (1, 4, 2), (2, 1, 2), (2, 4, 5), (3, 1, 3), (3, 4, 12)]
)
def test_what_a_stage_exchanges_is_as_many_halves_of_an_all_reduce(stage: int, passes: int, halves: int) -> None:
    links = Links()
    assert links.exchange(1e8, 16, stage, passes) == pytest.approx(halves / 2 * links.all_reduce(1e8, 16))


def test_memory_is_worked_by_hand() -> None:
    one = memory(JOB, 1)
    assert (one.weights, one.gradients, one.moments) == (4e6, 4e6, 8e6)
    assert one.activations == 65_536_000 and one.working == 2 * 100 * 65_536
    # Gradients come while activations go.
    assert one.peak == 4e6 + 8e6 + 65_536_000 + 13_107_200
    accumulated = memory(dataclasses.replace(JOB, pass_tokens=16_384), 1)
    assert accumulated.peak == 4e6 + 8e6 + 4e6 + (65_536_000 + 13_107_200) / 4
    frozen = memory(dataclasses.replace(JOB, trained=10_000), 1)
    assert frozen.weights == 4e6 and frozen.gradients == 40_000
    assert memory(dataclasses.replace(JOB, half=True), 1).weights == 6e6


@pytest.mark.parametrize("workers", [2, 8, 64])
def test_a_higher_stage_holds_no_more_and_more_workers_hold_no_more(workers: int) -> None:
    job = dataclasses.replace(JOB, parameters=10**9, trained=10**9)
    first, *others = (memory(dataclasses.replace(job, stage=stage), workers).peak for stage in (1, 2, 3))
    assert sorted([first, *others], reverse=True) == [first, *others]
    assert memory(dataclasses.replace(job, stage=3), 2 * workers).peak < first


def test_a_step_is_the_sum_of_its_terms_and_launches_run_beside_a_gpu_alone() -> None:
    found = seconds(JOB, H100, Links(), 1)
    assert found.compute == pytest.approx(6e6 * 65_536 / (0.3 * 989e12))
    assert found.launch == pytest.approx(500 * 5e-6)
    assert found.total == max(found.compute, found.launch) + found.optimizer + found.communication + found.host
    here = seconds(JOB, processor(1), Links(), 1)
    assert here.total == here.compute + here.launch + here.optimizer + here.host


@pytest.mark.parametrize(
    ("changes", "workers", "said"),
    [
        (
            {"tokens": 4096, "pass_tokens": 4096},
            1,
            "launch-bound (60% of the step): raise train.tokens_per_step from 4,096 to 40,960",
        ),
        ({"parameters": 10**9, "trained": 10**9}, 64, "bound by communication"),
        ({"parameters": 10**9, "trained": 10**9, "tokens": 8192}, 1, "bound by the optimizer's step"),
        ({"footprint": dataclasses.replace(TOKEN, flops=6e9)}, 1, "bound by compute"),
        ({}, 1, "bound by packing rows on the host"),
    ],
)
def test_what_holds_a_step_up_is_a_sentence(changes: dict[str, object], workers: int, said: str) -> None:
    job = dataclasses.replace(JOB, **changes)
    words = in_words(job, seconds(job, H100, Links(), workers), workers)
    assert words.startswith(said.partition(" (")[0])
    assert said in words or "(" not in said


def test_a_calibrated_device_takes_as_long_as_it_took() -> None:
    device = calibrated(processor(1), JOB, 30.0)
    found = seconds(JOB, device, Links(), 1)
    assert found.total - found.host == pytest.approx(30.0)
    assert seconds(JOB, processor(1), Links(), 1).total != pytest.approx(30.0, rel=0.1)


def test_a_curve_begins_at_one_and_costs_what_its_hours_cost() -> None:
    points = curve(JOB, H100, Links(), Prices(currency="EUR", worker_hour=3.0), also=6)
    assert [own.workers for own in points] == [1, 2, 4, 6, 8, 16, 32, 64, 128, 256, 512, 1024]
    assert points[0].efficiency == 1
    efficiencies = [own.efficiency for own in points]
    assert sorted(efficiencies, reverse=True) == efficiencies
    for own in points:
        assert own.cost == pytest.approx(3.0 * own.workers * JOB.steps * own.step_s / 3600)
    assert curve(JOB, H100, Links())[0].cost is None
