"""A job as a Slurm batch script around `ray symmetric-run`: Ray on the job's nodes, the run in it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from trunkline.cluster import Cluster, Slurm
from trunkline.clusters.command import call
from trunkline.clusters.job import Job, State
from trunkline.clusters.pack import Package
from trunkline.errors import ClusterError, ConfigError

SAFE_PATH = re.compile(r"/[A-Za-z0-9_./+@:=,-]*")  # sbatch has quoting of its own, and expands %
STATES = {"PENDING": "pending", "CONFIGURING": "pending", "REQUEUED": "pending", "SUSPENDED": "pending", "RUNNING": "running"}
STATES |= {"COMPLETING": "running", "COMPLETED": "finished", "CANCELLED": "stopped", "PREEMPTED": "pending"}
SLURM = "Submit where Slurm's programs are, such as a login node."
BODY = """\
set -euo pipefail
job={job}
{path}{modules}{exports}cd "$job/project"
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${{nodes[0]}}
port=$((20000 + SLURM_JOB_ID % 20000))
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300
code_file="$job/exit-code"
warned=no requeue={requeue}
rm -f "$code_file"
# shellcheck disable=SC2317,SC2329
ask_to_stop() {{ mkdir -p {run} && touch {stop}; }}
trap 'warned=yes; ask_to_stop' USR1 # of Slurm, before it takes the nodes away
trap 'ask_to_stop' USR2 # of trunkline stop
# Ray's own exit code says 0 when Ray did not start: the command leaves its own.
# shellcheck disable=SC2016
run='"${{@:2}}"; code=$?; echo "$code" > "$1"; exit "$code"'
srun --nodes="${{#nodes[@]}}" --ntasks-per-node=1 ray symmetric-run --address "$head:$port" --min-nodes "${{#nodes[@]}}" \\
  --num-cpus {cpus} --num-gpus {gpus} -- \\
  bash -c "$run" run "$code_file" env RAY_ADDRESS="$head:$port" {command} &
step=$!
while kill -0 "$step" 2> /dev/null; do wait "$step" || true; done
code=$(cat "$code_file" 2> /dev/null || echo 7)
if [ "$code" = 7 ] && [ ! -e "$code_file" ]; then echo "error: Ray did not start on these nodes" >&2; fi
if [ "$code" = 75 ] && [ "$warned" = yes ] && [ "$requeue" = yes ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
"""


def make(cluster: Cluster) -> Batch:
    assert isinstance(cluster, Slurm)
    return Batch(cluster)


class Batch:
    """Speaks through sbatch, squeue, sacct and scancel; storage is seen from where they are."""

    def __init__(self, cluster: Slurm) -> None:
        self.cluster = cluster
        if not SAFE_PATH.fullmatch(cluster.storage):
            raise ConfigError(
                f"storage {cluster.storage!r} has a character that sbatch reads as its own. Take letters, digits and ._/+@:=,-.",
                where=str(cluster.path or "cluster"),
            )

    def files(self, job: Job, package: Package) -> dict[str, str]:
        del package
        return {"job.sbatch": script(job, self.cluster)}

    def submit(self, job: Job, package: Package, folder: Path) -> str:
        del folder
        place = Path(folder_of(job))
        try:
            place.mkdir(parents=True)
            package.copy_to(place / "project")
            file = place / "job.sbatch"
            file.write_text(script(job, self.cluster), encoding="utf-8")
        except FileExistsError as error:
            raise ClusterError(f"{place} is there already: job {job.name} was submitted.") from error
        except OSError as error:
            raise ClusterError(f"storage can not be written from here: {error.strerror}. {SLURM}", where=str(place)) from error
        said = call([self.cluster.sbatch, "--parsable", str(file)], hint=SLURM)
        return said.strip().split(";")[0]

    def state(self, job: Job, native: str) -> State:
        del job
        said = call(["squeue", "--noheader", "--format=%T", "--states=all", f"--jobs={native}"], hint=SLURM).split()
        if not said:
            columns = ["--format=State", "--noheader", "--parsable2", "--allocations"]
            said = call(["sacct", f"--jobs={native}", *columns], hint=SLURM).split()
        return State(STATES.get(said[0], "failed"), said[0]) if said else State("unknown", f"Slurm knows no job {native}")

    def logs(self, job: Job, native: str) -> str:
        del native
        file = Path(folder_of(job)) / "log.txt"
        return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""

    def stop(self, job: Job, native: str) -> None:
        if self.state(job, native).state == "pending":
            call(["scancel", native], hint=SLURM)
        else:
            call(["scancel", "--batch", "--signal=USR2", native], hint=SLURM)


def folder_of(job: Job) -> str:
    """Where the job's script, project and log are."""
    return f"{job.storage}/.jobs/{job.name}"


def script(job: Job, cluster: Slurm) -> str:
    """The batch script."""
    quote = shlex.quote
    body = BODY.format(
        job=quote(folder_of(job)),
        path=f"export PATH={quote(str(Path(cluster.python).parent))}:$PATH\n" if cluster.python.startswith("/") else "",
        modules="".join(f"module load {quote(name)}\n" for name in cluster.modules),
        exports="".join(f"export {name}={quote(value)}\n" for name, value in job.environment().items()),
        run=quote(f"{job.storage}/{job.run_id}"),
        stop=quote(job.stop_file),
        cpus=cluster.cpus,
        gpus=cluster.gpus,
        command=shlex.join(job.command()),
        requeue="yes" if cluster.requeue else "no",
    )
    return "\n".join(("#!/bin/bash", *(f"#SBATCH {line}" for line in _options(job, cluster)), body))


def _options(job: Job, cluster: Slurm) -> Iterator[str]:
    yield f"--job-name={job.name}"
    yield f"--output={folder_of(job)}/log.txt"
    yield "--open-mode=append"
    yield f"--nodes={cluster.nodes}"
    yield "--ntasks-per-node=1"
    yield f"--cpus-per-task={cluster.cpus}"
    yield f"--time={cluster.time}"
    yield f"--signal=B:USR1@{cluster.grace_s + 60}"
    yield "--requeue" if cluster.requeue else "--no-requeue"
    stated = {"gpus-per-node": cluster.gpus or None, "mem": cluster.memory, "partition": cluster.partition}
    stated |= {"account": cluster.account, "qos": cluster.qos}
    yield from (f"--{name}={value}" for name, value in stated.items() if value is not None)
    if cluster.constraint is not None:
        yield f"--constraint={cluster.constraint}"
