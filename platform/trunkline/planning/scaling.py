"""What more workers would give and cost: simulated, from 1 to 1,024."""

from __future__ import annotations

from dataclasses import dataclass

from trunkline.cluster import Cluster, Prices
from trunkline.planning.hardware import Device, Links
from trunkline.planning.step import Job, memory, seconds

MOST = 1024
PER_NODE = 8  # GPUs of a node, where the cluster does not say


@dataclass(frozen=True)
class Point:
    """A run on so many workers. efficiency: tokens a second beside those of as many single workers. cost: of the whole run."""

    workers: int
    step_s: float
    tokens_per_s: float
    efficiency: float
    peak_bytes: float
    hours: float
    cost: float | None
    bound: str


def curve(job: Job, device: Device, links: Links, prices: Prices | None = None, also: int = 1) -> list[Point]:
    """The same step, of as many tokens, on 1, 2, 4 .. 1,024 workers, and on `also` many."""
    counts = sorted({2**power for power in range(MOST.bit_length())} | {also})
    alone = seconds(job, device, links, 1).total
    return [point(job, device, links, prices, workers, alone) for workers in counts]


def point(job: Job, device: Device, links: Links, prices: Prices | None, workers: int, alone: float) -> Point:
    found = seconds(job, device, links, workers)
    hours = job.steps * found.total / 3600
    return Point(
        workers=workers,
        step_s=found.total,
        tokens_per_s=job.tokens / found.total,
        efficiency=alone / (workers * found.total),
        peak_bytes=memory(job, workers).peak,
        hours=hours,
        cost=None if prices is None else prices.worker_hour * workers * hours,
        bound=found.bound,
    )


def workers_of_node(cluster: Cluster | None) -> int:
    """GPUs of a node, as the cluster file says."""
    stated = [getattr(cluster, "gpus", 0), getattr(getattr(cluster, "workers", None), "gpus", 0)]
    stated += [group.gpus for group in getattr(cluster, "groups", ())]
    return max([gpus for gpus in stated if gpus], default=PER_NODE)
