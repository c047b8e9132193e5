"""A job's log as it comes, and what its records say of the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from trunkline.clusters.job import Job, State
from trunkline.errors import ClusterError, UsageError
from trunkline.launch.output import file_of
from trunkline.launch.runs import RunFolder
from trunkline.monitor.records import record_of

POLL_S = 1.0
PATIENCE = 10  # questions in a row that may fail while a job is followed


class Watched(Protocol):
    """As much of a backend as is asked while a job is followed."""

    def state(self, job: Job, native: str) -> State: ...

    def logs(self, job: Job, native: str) -> str: ...


@dataclass(frozen=True)
class OfRank:
    """A job whose log is what one of its ranks wrote, read from the run's folder."""

    backend: Watched
    rank: int

    def state(self, job: Job, native: str) -> State:
        return self.backend.state(job, native)

    def logs(self, job: Job, native: str) -> str:
        """Nothing before a rank has begun. Raises ClusterError where storage is not seen, UsageError for a rank there is not."""
        del native
        run = RunFolder(Path(job.storage) / job.run_id)
        file = file_of(run.logs, self.rank)
        if not Path(job.storage).is_dir():
            raise ClusterError(f"the cluster's storage is not seen from here. Read it where it is: {file}")
        known = sorted(run.logs.glob("rank-*.txt"))
        if known and file not in known:
            raise UsageError(f"no rank {self.rank}: {run.run_id} has had ranks 0 to {len(known) - 1}.")
        return file.read_text(encoding="utf-8", errors="replace") if known else ""


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
    backend: Watched, job: Job, native: str, *, sleep: Callable[[float], None] = time.sleep
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
