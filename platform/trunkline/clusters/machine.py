"""A job on this machine: a process of its own, that goes on when the terminal is closed."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from trunkline.cluster import Cluster, Local
from trunkline.clusters.job import Job, State
from trunkline.clusters.pack import Package

LOG, CODE = "log.txt", "exit-code"
STATES = {0: "finished", 75: "stopped", 130: "stopped"}
# The shell outlives the signal that the run is sent, to write down how it ended. A signal ends `wait` with a code of its own; the
# last one, once the run is gone, has the run's, which the shell remembers (127 where it does not).
WRAPPER = (
    'trap : TERM INT; "${@:2}" & child=$!; while kill -0 $child 2>/dev/null; do wait $child; code=$?; done; '
    'wait $child; last=$?; [ $last -eq 127 ] || code=$last; echo $code > "$1"'
)


def make(cluster: Cluster) -> Machine:
    assert isinstance(cluster, Local)
    return Machine(cluster)


class Machine:
    """native: `<folder>|<process id>|<when it started>`; a process id alone would be given again."""

    def __init__(self, cluster: Local) -> None:
        self.cluster = cluster

    def files(self, job: Job, package: Package) -> dict[str, str]:
        del package
        return {"command.sh": f"{shlex.join(self._command(job))}\n"}

    def check(self) -> None:
        """This machine is here."""

    def submit(self, job: Job, package: Package, folder: Path) -> str:
        log = (folder / LOG).open("wb")
        words = ["bash", "-c", WRAPPER, "run", str(folder / CODE), *self._command(job)]
        environment = {**os.environ, **job.environment()}
        with log:
            process = subprocess.Popen(
                words, cwd=package.root, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        return f"{folder}|{process.pid}|{_started(process.pid)}"

    def state(self, job: Job, native: str) -> State:
        del job
        folder, pid, started = _parts(native)
        if _started(pid) == started:
            return State("running", f"process {pid}")
        code = folder / CODE
        if not code.is_file():
            return State("failed", "the process is gone and left no exit code: killed, or the machine was restarted")
        ended = int(code.read_text())
        return State(STATES.get(ended, "failed"), f"exit code {ended}")

    def logs(self, job: Job, native: str) -> str:
        del job
        file = _parts(native)[0] / LOG
        return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""

    def stop(self, job: Job, native: str) -> None:
        if self.state(job, native).state == "running":
            os.killpg(_parts(native)[1], signal.SIGTERM)

    def _command(self, job: Job) -> list[str]:
        python = sys.executable if self.cluster.python == "python" else self.cluster.python
        return [python, "-m", "trunkline", *job.arguments()]


def _parts(native: str) -> tuple[Path, int, str]:
    folder, pid, started = native.rsplit("|", 2)
    return Path(folder), int(pid), started


def _started(pid: int) -> str:
    """When the process of that id began, in ticks; nothing if there is none or it only waits to be collected."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
