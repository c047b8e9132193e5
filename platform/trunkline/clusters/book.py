"""What was submitted from this project: a file per run in `.trunkline/jobs`, so that its id is enough to find it again."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from trunkline import durable
from trunkline.cluster import Cluster, Local, Shared, find_cluster
from trunkline.clusters.job import Job
from trunkline.errors import UsageError, nearest

FOLDER = ".trunkline/jobs"


@dataclass(frozen=True)
class Entry:
    """native: the cluster's own id, empty until it has answered. cluster: a name, or the path of its file."""

    run_id: str
    cluster: str
    recipe: str
    overrides: tuple[str, ...]
    workers: tuple[int, int, int]
    attempt: int
    submitted: str
    steps: int = 0
    native: str = ""

    def job(self, cluster: Cluster, project: Path) -> Job:
        """The job of its latest attempt."""
        storage = storage_of(cluster, project)
        return Job(self.run_id, self.recipe, cluster, storage, self.overrides, self.attempt, self.workers)


class Book:
    """The jobs of the project in `project`."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self._folder = project / FOLDER

    def folder(self, job: Job) -> Path:
        """Where this machine keeps what belongs to an attempt."""
        return self._folder / job.name

    def write(self, entry: Entry) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"schema_version": 1, **dataclasses.asdict(entry)}, indent=1)
        durable.replace(self._folder / f"{entry.run_id}.json", text)

    def entries(self) -> list[Entry]:
        """Newest first."""
        found = [_read(path) for path in self._folder.glob("*.json")]
        return sorted(found, key=lambda entry: (entry.submitted, entry.run_id), reverse=True)

    def find(self, run_id: str | None) -> Entry:
        """The job of that id, or of an attempt's name; the newest without one. Raises UsageError with what there is."""
        entries = self.entries()
        if run_id is None and entries:
            return entries[0]
        for entry in entries:
            if run_id is not None and run_id in (entry.run_id, f"{entry.run_id}-a{entry.attempt}"):
                return entry
        known = [entry.run_id for entry in entries]
        said = f"{nearest(run_id, known)}" if run_id and known else "Nothing was submitted from this project yet."
        raise UsageError(f"no job '{run_id}'. {said}" if run_id else said)

    def cluster(self, entry: Entry) -> Cluster:
        return find_cluster(entry.cluster, self.project)


def storage_of(cluster: Cluster, project: Path) -> str:
    """Where the cluster writes runs."""
    if isinstance(cluster, Shared):
        return cluster.storage.rstrip("/")
    assert isinstance(cluster, Local)
    return cluster.storage or str(project / "outputs")


def _read(path: Path) -> Entry:
    stated = json.loads(path.read_text(encoding="utf-8"))
    stated.pop("schema_version")
    return Entry(**{**stated, "overrides": tuple(stated["overrides"]), "workers": tuple(stated["workers"])})
