"""The model of memory and exchange against what others published: nine points, none of them fitted by itself.

What is assumed, once for all points: 336M parameters (BERT-large), gradients of 2 bytes, nothing hidden behind the backward,
0.8 of a wire's rate (`hardware.REACHED`), the peaks, memory rates and NVLinks of `hardware.DEVICES`. Of each source: the
samples a second of one of its GPUs, its batches, its GPUs a node. Of each source's network: eight ports of 200 (A100) and 400
Gbit/s (H100) a node, as the machines have; for the V100s, whose source does not say what the exchange reached, one of 100 Gbit/s,
which serves three points (with all eight ports of a DGX-2 the model says 99, 97 and 87 %).

Sources. Memory: DeepSpeed's documentation of its estimators, 2,851M parameters of which the largest layer has 32M, 8 GPUs;
stage 2 there counted 4P + 16P / n, the installed 0.19.8 counts 2P + 18P / n. A100: NVIDIA DeepLearningExamples, PyTorch BERT,
21.11, multi-node table. V100: DeepSpeed's BERT pre-training tutorial, 16 to 1,024 GPUs. H100: NVIDIA's MLPerf BERT, 48 packed
rows of 512 a GPU on one node, 36 on eight, 48 % of the peak; it counts the seconds to a score, evaluation and start with it, so
that its tolerance is wide. Two of the nine (64 V100s, A100s at 512 tokens) are of the same tables as those that the plan was
asked to be held to.
"""

from __future__ import annotations

import dataclasses
import importlib

import pytest

from trunkline.planning.footprint import Footprint
from trunkline.planning.hardware import DEVICES, Device, Links
from trunkline.planning.step import Job, seconds
from trunkline.training.states import bucket, states

GIB = 2**30
PARAMETERS = 336_000_000
A100 = Links(8, 300e9, 200e9)
V100 = Links(16, 150e9, 12.5e9)
H100 = Links(8, 450e9, 400e9)


def step_s(device: str, links: Links, rows_per_s: float, rows: float, gpus: int) -> float:
    """Of `rows` over all GPUs, each of which does so many a second alone."""
    known: Device = DEVICES[device]
    footprint = Footprint(saved=0, widest=0, flops=known.rate / rows_per_s, kernels=0, layers=24, counted=24)
    size = round(rows)
    job = Job(PARAMETERS, PARAMETERS, size, size, 1, 0, footprint, half=True, exchanged=2)
    return seconds(job, known, links, gpus).total


def kept(device: str, links: Links, rows_per_s: float, few: tuple[int, int], many: tuple[int, int]) -> float:
    """Rows a second and GPU of (GPUs, rows of a step), `many` over `few`."""
    each = [rows / step_s(device, links, rows_per_s, rows, gpus) / gpus for gpus, rows in (few, many)]
    return each[1] / each[0]


def pretrained_s(gpus: int, links: Links = V100) -> float:
    """DeepSpeed's two phases: 403M rows of 128 tokens in batches of 64K, 20M of 512 in batches of 32K."""
    phases = ((403e6, 65_536, 272.0), (20e6, 32_768, 52.0))
    return sum(rows / batch * step_s("v100", links, rate, batch, gpus) for rows, batch, rate in phases)


def v100(gpus: int, links: Links = V100) -> float:
    return pretrained_s(16, links) * 16 / (pretrained_s(gpus, links) * gpus)


SCALED = {
    "A100, 1 to 8": (lambda: kept("a100", A100, 580, (1, 8_192), (8, 65_536)), 0.989, 0.03),
    "A100, 8 to 256": (lambda: kept("a100", A100, 580, (8, 65_536), (256, 65_536)), 0.949, 0.03),
    "A100, 8 to 256, 512 tokens": (lambda: kept("a100", A100, 210, (8, 32_768), (256, 32_768)), 0.942, 0.03),
    "V100, 16 to 64": (lambda: v100(64), 0.956, 0.08),
    "V100, 16 to 256": (lambda: v100(256), 0.865, 0.08),
    "V100, 16 to 1,024": (lambda: v100(1024), 0.708, 0.08),
    "H100, 8 to 64": (lambda: kept("h100", H100, 418, (8, 8 * 48), (64, 64 * 36)), 0.86, 0.10),
}


@pytest.mark.parametrize("point", SCALED)
def test_scaling_is_within_its_tolerance_of_what_was_published(point: str) -> None:
    predicted, published, within = SCALED[point]
    assert predicted() == pytest.approx(published, abs=within)


def test_wires_a_tenth_as_fast_are_rejected() -> None:
    slow = {name: dataclasses.replace(links, network=links.network / 10) for name, links in (("a100", A100), ("h100", H100))}
    assert kept("a100", slow["a100"], 580, (8, 65_536), (256, 65_536)) < 0.949 - 0.03
    assert kept("h100", slow["h100"], 418, (8, 8 * 48), (64, 64 * 36)) < 0.86 - 0.10
    assert v100(1024, dataclasses.replace(V100, network=1.25e9)) < 0.708 - 0.08
    assert v100(1024, dataclasses.replace(V100, network=100e9)) > 0.708 + 0.08


def test_the_state_of_2851m_parameters_is_that_of_deepspeeds_estimator_within_one_percent() -> None:
    """It counts no bucket, in which our stages 1 and 2 reduce; and at stage 3 half-precision weights, where ours are whole."""
    parameters, gpus = 2_851_000_000, 8
    part, laid_out = 4 * parameters / gpus, 4 * bucket(parameters)
    second = states(parameters, 2, gpus).total - laid_out + part
    assert second / GIB == pytest.approx(15.93, rel=0.01)
    largest = 32_000_000
    third = states(parameters, 3, gpus).total - laid_out - 2 * parameters / gpus + 4 * largest
    assert third / GIB == pytest.approx(6.10, rel=0.01)
    assert states(parameters, 1, 4).total / GIB > 15.93 * 1.01
    estimator = importlib.import_module("deepspeed.runtime.zero.stage3").estimate_zero3_model_states_mem_needs
    assert third == pytest.approx(estimator(parameters, largest, gpus, 1, cpu_offload=False)[1], rel=0.01)
