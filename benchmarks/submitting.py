"""What `submit` adds to a bare Ray job: time from the command to the first step, of both (Show 5 of clusters).

    PYTHONPATH=tests:. python -m benchmarks.submitting        (make submitting)

A round submits one job of each, one after the other, ours first in every second round: `trunkline submit` of a recipe of two
tasks on two workers, and a script of Ray Train on two workers that takes one step of a linear model. Both are sent by the Jobs
API and train on gloo and CPU. When its first step ended is read from each job's log: the clocks of all machines must agree.

Without --cluster on two nodes of a Ray cluster that is brought up on this machine, and ended afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.circumstances import circumstances

from trunkline.cluster import Ray, load_cluster
from trunkline.clusters.job import Job
from trunkline.clusters.pack import digest, pack
from trunkline.clusters.ray_jobs import RayJobs, request
from trunkline.clusters.submit import submit
from trunkline.launch.runs import new_id
from trunkline.monitor.records import record_of

ROOT = Path(__file__).parent.parent
RESULT, PAGE = ROOT / "benchmarks" / "results" / "submitting.json", ROOT / "docs" / "clusters.md"
START, END = "<!-- submitting:start -->\n", "\n<!-- submitting:end -->"
POLL_S, PATIENCE_S = 0.5, 3600
MARK = "first step at "
BARE = """\
import time
import ray, torch
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer


def work():
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(16, 2))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(8, 16)).sum().backward()
    optimizer.step()
    if ray.train.get_context().get_world_rank() == 0:
        open(PLACE, "w").write(str(time.time()))


PLACE = __PLACE__
TorchTrainer(
    work,
    scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1}, placement_strategy=__PLACEMENT__),
    run_config=RunConfig(name=__NAME__, storage_path=__STORAGE__),
).fit()
print("first step at " + open(PLACE).read(), flush=True)
"""
CARD = """\
name: {name}
data: {{format: jsonl, rows: rows.jsonl, split: {{by: text, validation: 20, test: 0}}}}
inputs: [text]
target: label
head: {{kind: classification, labels: [even, odd]}}
"""
RECIPE = """\
seed: 1
trunk: {kind: transformer, hidden_size: 16, layers: 1, heads: 2}
tokenizer: {kind: wordpiece, vocab_size: 120}
tasks: [first, second]
train: {steps: 2, tokens_per_step: 256, tokens_per_pass: 160, max_length: 16, evaluate_every: 2, save_every: 2, log_every: 1}
workers: {count: 2, cpus: 1}
"""
CLUSTER = """\
kind: ray
address: {address}
token_file: {folder}/token
storage: {folder}/runs
python: {python}
placement: spread
timeout_s: 120
"""


def project(folder: Path, cluster: str) -> Path:
    """A recipe of two tasks, the script of the bare job, the cluster file."""
    rows = [{"text": f"row {number} of {number % 7}", "label": ("even", "odd")[number % 2]} for number in range(200)]
    for name in ("first", "second"):
        (folder / "tasks" / name).mkdir(parents=True)
        (folder / "tasks" / name / "card.yaml").write_text(CARD.format(name=name))
        (folder / "tasks" / name / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for name, file, text in (("recipes", "small.yaml", RECIPE), ("clusters", "there.yaml", cluster)):
        (folder / name).mkdir()
        (folder / name / file).write_text(text)
    return folder / "recipes" / "small.yaml"


def log_of(backend: RayJobs, job: Job, native: str) -> str:
    """The job's log once it has ended well."""
    until = time.monotonic() + PATIENCE_S
    while not (state := backend.state(job, native)).ended and time.monotonic() < until:
        time.sleep(POLL_S)
    if state.state != "finished":
        raise SystemExit(f"{native} is {state.state}: {backend.logs(job, native)[-3000:]}")
    return backend.logs(job, native)


def ours(recipe: Path) -> float:
    """Seconds from `submit` to the end of the first step."""
    began = time.time()
    sent = submit(recipe, "there", [], say=lambda _: None)
    assert isinstance(sent.job.cluster, Ray)
    said = log_of(RayJobs(sent.job.cluster), sent.job, sent.entry.native)
    records = [record for line in said.splitlines() if (record := record_of(line))]
    return float(next(record["time"] for record in records if record.get("step") == 1 and "event" not in record)) - began


def bare(folder: Path, cluster: Ray) -> float:
    """The same of the script, sent by the same API."""
    job = Job(new_id(Path("bare.yaml")), "bare.py", cluster, cluster.storage)
    began = time.time()
    (folder / "bare.py").write_text(script(job, cluster))
    archive = pack(folder).archive()
    api = RayJobs(cluster).api
    api.send("PUT", f"/api/packages/gcs/_ray_pkg_{digest(archive)}.zip", archive)
    api.json("POST", "/api/jobs/", {**request(job, digest(archive)), "entrypoint": f"{cluster.python} bare.py"})
    said = log_of(RayJobs(cluster), job, job.name)
    return float(said[said.rindex(MARK) + len(MARK) :].split()[0]) - began


def script(job: Job, cluster: Ray) -> str:
    stated = {"PLACE": f"{cluster.storage}/{job.run_id}.time", "PLACEMENT": cluster.placement.upper()}
    found = BARE
    for name, value in {**stated, "NAME": job.run_id, "STORAGE": cluster.storage}.items():
        found = found.replace(f"__{name}__", repr(value))
    return found


def measured(recipe: Path, cluster: Ray, rounds: int) -> Iterator[dict[str, Any]]:
    """A row a round."""
    folder = recipe.parents[1]
    bare(folder, cluster)  # not counted: the first job of a cluster finds nothing in any cache
    for number in range(rounds):
        row: dict[str, Any] = {"round": number + 1, "load": round(os.getloadavg()[0], 1)}
        for side in ("bare", "trunkline") if number % 2 == 0 else ("trunkline", "bare"):
            row[f"{side}_s"] = round(bare(folder, cluster) if side == "bare" else ours(recipe), 2)
        print(json.dumps(row), flush=True)
        yield row


def markdown(stored: dict[str, Any] | None) -> str:
    """The figures as the page has them. stored: None before there are any."""
    if stored is None:
        return "Not measured yet."
    rows = [f"| {row['round']} | {row['bare_s']:.0f} | {row['trunkline_s']:.0f} | {row['load']:.0f} |" for row in stored["rows"]]
    lines = ["| round | bare job, s | `submit`, s | processes waiting |", "|---:|---:|---:|---:|", *rows, ""]
    whole = f"The median of their ratios is **{stored['ratio']:.2f}** ({stored['low']:.2f} to {stored['high']:.2f}): "
    added = statistics.median(row["trunkline_s"] - row["bare_s"] for row in stored["rows"])
    lines += [f"{whole}{added:+.0f} s, at {stored['commit']} on {stored['date']}, on {stored['machine']}."]
    return "\n".join(lines)


def ratios(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Of each round: ours over the bare job's."""
    found = [row["trunkline_s"] / row["bare_s"] for row in rows]
    return {"ratio": statistics.median(found), "low": min(found), "high": max(found)}


@contextlib.contextmanager
def clusters(given: Path | None, folder: Path) -> Iterator[str]:
    """The text of the cluster file: the one given, or of two nodes of this machine that are up while the block runs."""
    if given is not None:
        yield given.read_text()
        return
    from ray_nodes import TwoNodes

    nodes = TwoNodes(folder)
    try:
        yield CLUSTER.format(address=nodes.address, folder=folder, python=sys.executable)
    finally:
        nodes.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cluster", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    began = circumstances()
    folder = Path(tempfile.mkdtemp(prefix="ts-", dir="/tmp"))  # the paths of sockets are short
    try:
        with clusters(given.cluster, folder) as text, contextlib.chdir(folder):
            recipe = project(folder / "p", text)
            cluster = load_cluster(folder / "p" / "clusters" / "there.yaml")
            if not isinstance(cluster, Ray):
                raise SystemExit(f"{given.cluster} is no cluster of kind ray")
            rows = list(measured(recipe, cluster, given.rounds))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    stored = {"schema_version": 1, "command": "make submitting", **began, "rows": rows, **ratios(rows)}
    RESULT.write_text(json.dumps(stored, indent=1) + "\n")
    before, rest = PAGE.read_text(encoding="utf-8").split(START)
    PAGE.write_text(before + START + markdown(stored) + END + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
