"""A job's log as it comes, and what its records say of the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from trunkline.clusters.job import Backend, Job
from trunkline.errors import ClusterError
from trunkline.monitor.records import record_of

POLL_S = 1.0
PATIENCE = 10  # questions in a row that may fail while a job is followed


@dataclass
class Seen:
    """What a run's records have said so far. figures: eval/<task>/<metric>, train/<task>/loss, as they last were."""

    step: int = 0
    steps: int = 0
    workers: int = 0
    restarts: int = 0
    tokens_per_s: float | None = None
    figures: dict[str, float] = field(default_factory=dict)

    def take(self, record: dict[str, Any]) -> None:
        self.step = int(record.get("step", self.step) or 0)
        if "event" in record:
            self.steps = int(record.get("steps", self.steps) or 0)
            self.workers = int(record.get("workers", self.workers) or 0)
            self.restarts += record["event"] == "attempt_failed"
            return
        self.tokens_per_s = record.get("system/tokens_per_s", self.tokens_per_s)
        told = {name: value for name, value in record.items() if name.startswith(("eval/", "train/")) and "/" in name[6:]}
        self.figures |= told

    def plain(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "steps": self.steps,
            "workers": self.workers,
            "restarts": self.restarts,
            "tokens_per_s": self.tokens_per_s,
            "figures": self.figures,
        }


def split(log: str) -> tuple[list[str], Seen]:
    """The lines for people, and what the records between them say."""
    seen, lines = Seen(), []
    for line in log.splitlines():
        record = record_of(line)
        if record is None:
            lines.append(line)
        else:
            seen.take(record)
    return lines, seen


def follow(
    backend: Backend, job: Job, native: str, *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Each whole line of the job's log as it comes, with the record it holds if any; ends with the job.

    A question that fails is asked again, from where the log stood: no line is lost, none comes twice. Raises ClusterError
    when `PATIENCE` of them failed in a row.
    """
    place, failed = 0, 0
    while True:
        try:
            ended = backend.state(job, native).state not in ("pending", "running")
            log = backend.logs(job, native)
            failed = 0
        except ClusterError:
            failed += 1
            if failed == PATIENCE:
                raise
            sleep(POLL_S * min(failed, 5))
            continue
        whole = len(log) if ended else log.rfind("\n") + 1
        for line in log[place:whole].splitlines():
            yield line, record_of(line)
        place = max(place, whole)
        if ended:
            return
        sleep(POLL_S)
