"""A recipe's plan as a whole: its data, what a worker holds, how long a step takes, what more workers give, what bodes ill."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trunkline.build.assemble import Assembly, assemble, precision
from trunkline.build.finetune import make_freezing
from trunkline.cluster import Cluster
from trunkline.config.recipe import Recipe
from trunkline.plan import Planned, plan
from trunkline.planning.calibrate import Calibration, calibrate, given_back
from trunkline.planning.footprint import measure
from trunkline.planning.hardware import DEVICES, GIB, Device, Links, processor
from trunkline.planning.scaling import Point, curve, workers_of_node
from trunkline.planning.step import Job, Memory, Seconds, in_words, memory, seconds
from trunkline.training.freezing import Freezing

WASTEFUL = 0.5  # efficiency


@dataclass(frozen=True)
class Assumed:
    """What the machine is taken to be. gpu: by name; nvlink, network: bytes a second, None: by default."""

    gpu: str = "h100"
    nvlink: float | None = None
    network: float | None = None


@dataclass(frozen=True)
class Forecast:
    """tasks: what is drawn. memory, step: of one of `workers` workers; bound: of the step, in words.

    calibration: if it was asked for. hazards: of memory, workers and threads; those of the data are told by `plan`.
    """

    tasks: list[Planned]
    job: Job
    workers: int
    memory: Memory
    step: Seconds
    bound: str
    curve: list[Point]
    currency: str | None
    hazards: list[str]
    calibration: Calibration | None = None


def forecast(
    recipe: Recipe,
    say: Callable[[str], None],
    cluster: Cluster | None = None,
    assumed: Assumed | None = None,
    *,
    calibrated: bool = False,
) -> Forecast:
    """Prepares the run as `train` would, tries a tiny pack, and works the rest out; calibrated: trains 20 steps of it as well.

    Raises as `train` does before it starts. A calibration is of this machine's CPU or GPU and one worker.
    """
    given = assumed or Assumed()
    if calibrated:
        given_back(at_once=True)
    with tempfile.TemporaryDirectory(prefix="plan") as folder:
        run, workers = Path(folder), max(recipe.workers.count, 1)
        tasks = plan(recipe, say, run)
        job = _job(recipe, assemble(run))
        device = DEVICES[given.gpu] if recipe.workers.gpus else processor(recipe.workers.cpus)
        found = None
        if calibrated:
            found = calibrate(run, job, device)
            device = found.device
    rates = {"nvlink": given.nvlink or device.nvlink, **({"network": given.network} if given.network else {})}
    links = Links(per_node=workers_of_node(cluster), **rates)
    prices = cluster.prices if cluster is not None else None
    step, held = seconds(job, device, links, workers), memory(job, workers)
    points = curve(job, device, links, prices, workers)
    ill = [*threads(recipe, cluster), *_hazards(job, device, held, next(own for own in points if own.workers == workers))]
    for sentence in ill:
        say(f"warning: {sentence}")
    words, currency = in_words(job, step, workers), prices.currency if prices is not None else None
    return Forecast(tasks, job, workers, held, step, words, points, currency, ill, found)


def _job(recipe: Recipe, built: Assembly) -> Job:
    sizes = {name: parameter.numel() for name, parameter in built.model.named_parameters()}
    frozen = make_freezing(recipe, built.model).at(1)
    Freezing.hold(built.model, frozen)  # what has no gradient keeps less
    asked = recipe.engine.precision
    half = (asked if asked != "auto" else "bf16" if recipe.workers.gpus else precision(asked)) == "bf16"
    train = recipe.train
    return Job(
        parameters=sum(sizes.values()),
        trained=sum(size for name, size in sizes.items() if name not in frozen),
        tokens=train.tokens_per_step,
        pass_tokens=train.tokens_per_pass,
        steps=train.steps,
        stage=recipe.engine.zero_stage,
        footprint=measure(built, precision="bf16" if half else "float32"),
        half=half,
    )


def threads(recipe: Recipe, cluster: Cluster | None) -> Iterator[str]:
    """Where workers would train on this machine's CPUs: those that have to wait for each other."""
    workers, cpus, here = max(recipe.workers.count, 1), recipe.workers.cpus, os.cpu_count() or 1
    if not recipe.workers.gpus and (cluster is None or cluster.kind == "local") and workers * cpus > here:
        yield (
            f"{workers} x {cpus} threads on this machine's {here} CPU cores wait for each other. Lower workers.count or "
            "workers.cpus, or name the cluster it is for."
        )


def _hazards(job: Job, device: Device, held: Memory, own: Point) -> Iterator[str]:
    if held.peak > device.memory:
        yield (
            f"a worker would hold {held.peak / GIB:.1f} GiB and has {device.memory / GIB:.0f}. Lower train.tokens_per_pass "
            f"from {job.pass_tokens:,}, or take a higher engine.zero_stage than {job.stage}."
        )
    if own.workers > 1 and own.efficiency < WASTEFUL:
        yield (
            f"{own.workers} workers do the work of {own.workers * own.efficiency:.1f}: the step is bound by {own.bound}. Take "
            f"fewer, or raise train.tokens_per_step above {job.tokens:,}."
        )
