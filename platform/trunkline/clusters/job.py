"""What is submitted: one attempt of one run, and the command that it is on whatever cluster."""

from __future__ import annotations

import base64
import importlib
import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from trunkline.cluster import Cluster
from trunkline.clusters import BACKENDS
from trunkline.clusters.pack import Package

# Telemetry off, and Ray leaves a stopped run the time to save.
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "WANDB_ERROR_REPORTING": "false", "HF_HUB_DISABLE_TELEMETRY": "1"}
ENDED = ("finished", "failed", "stopped")


@dataclass(frozen=True)
class Job:
    """recipe: relative to the project, with slashes. storage: where runs are written, as the cluster sees it. attempt: 1, and
    one more for each `resume`.
    """

    run_id: str
    recipe: str
    cluster: Cluster
    storage: str
    overrides: tuple[str, ...] = ()
    attempt: int = 1
    workers: tuple[int, int, int] = (1, 1, 0)  # count, cpus, gpus

    @property
    def name(self) -> str:
        """Of this attempt; a name submitted twice is one job."""
        return f"{self.run_id}-a{self.attempt}"

    @property
    def stop_file(self) -> str:
        """While it is there, workers stop after their step and save."""
        return f"{self.storage}/{self.run_id}/stop"

    def arguments(self) -> list[str]:
        """What `trunkline` is called with. The same for each attempt: a run that is there goes on."""
        recipe = f"./{self.recipe}" if self.recipe.startswith("-") else self.recipe
        chosen = [word for override in self.overrides for word in ("--set", override)]
        where = ["--run-id", self.run_id, "--outputs", self.storage, "--placement", self.cluster.placement, "--records"]
        return ["train", recipe, *chosen, *where]

    def command(self) -> list[str]:
        """The entrypoint. Words that a shell would read otherwise are encoded: some clusters send them through two shells."""
        plain = self.arguments()
        if any(shlex.quote(word) != word for word in plain):
            plain = ["--encoded", encode(plain)]
        return [self.cluster.python, "-m", "trunkline", *plain]

    def environment(self) -> dict[str, str]:
        return {**QUIET, "RAY_JOB_STOP_WAIT_TIME_S": str(self.cluster.grace_s), **self.cluster.env}


@dataclass(frozen=True)
class State:
    """state: pending, running, finished, failed, stopped, or unknown where the cluster does not know the job."""

    state: str
    message: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        return self.state in ENDED


class Backend(Protocol):
    """What a kind of cluster can do. Each raises ClusterError with a hint, within the cluster's time limit."""

    def files(self, job: Job, package: Package) -> dict[str, str]:
        """File name -> text of what `submit` sends; touches nothing."""
        ...

    def submit(self, job: Job, package: Package, folder: Path) -> str:
        """Sends it, and gives the cluster's own id. folder: where files may be kept. A job that is there already is that job."""
        ...

    def state(self, job: Job, native: str) -> State: ...

    def logs(self, job: Job, native: str) -> str:
        """All that it has said so far."""
        ...

    def stop(self, job: Job, native: str) -> None:
        """Asks it to save and stop."""
        ...


def backend_of(cluster: Cluster) -> Backend:
    """The backend of the cluster's kind."""
    found: Backend = importlib.import_module(f"trunkline.clusters.{BACKENDS[cluster.kind]}").make(cluster)
    return found


def encode(words: list[str]) -> str:
    """Any words as one that no shell changes."""
    return base64.urlsafe_b64encode(json.dumps(words).encode()).decode()


def decode(text: str) -> list[str]:
    """What `encode` was given."""
    words = json.loads(base64.urlsafe_b64decode(text))
    return [str(word) for word in words]
