"""Runs inside a real embedded Ray: two workers are one worker, and a killed worker or driver costs nothing but time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

import trunkline
from small_project import write_project
from trunkline import checkpoint

pytestmark = pytest.mark.timeout(400)
TWO = ["-s", "workers.count=2"]


def start(recipe: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "trunkline", "train", str(recipe), *more]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def records(run: Path, name: str) -> list[dict[str, object]]:
    path = run / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def wait_for_step(outputs: Path, step: int, process: subprocess.Popen[bytes]) -> Path:
    deadline = time.time() + 200
    while time.time() < deadline:
        for run in outputs.glob("*"):
            if any(int(str(record["step"])) >= step for record in records(run, "metrics.jsonl")):
                return run
        assert process.poll() is None, "the run ended before it was killed"
        time.sleep(0.01)
    raise AssertionError(f"no step {step} within 200 s")


def worker_pid(run: Path) -> int:
    return int(str([event for event in records(run, "events.jsonl") if event["event"] == "training"][-1]["pid"]))


def weights(run: Path) -> dict[str, torch.Tensor]:
    restored, _ = checkpoint.newest(run / "checkpoints")
    assert restored is not None
    return restored.tensors


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run of two workers."""
    recipe = write_project(tmp_path_factory.mktemp("two"))
    yield trunkline.train(recipe, overrides=["workers.count=2"]).run


def test_two_workers_see_the_rows_of_one_and_lose_alike(two_workers: Path, finished: Path) -> None:
    assert records(two_workers, "rows.jsonl") == records(finished, "rows.jsonl")
    mine, theirs = ([r for r in records(run, "metrics.jsonl") if "train/lr" in r] for run in (two_workers, finished))
    assert len(mine) == len(theirs) == 20
    for here, there in zip(mine, theirs, strict=True):
        names = [name for name in there if name.endswith("/loss")]
        assert names and [float(str(here[n])) for n in names] == pytest.approx([float(str(there[n])) for n in names], abs=1e-4)


def test_what_each_rank_wrote_lies_in_the_run_folder(two_workers: Path) -> None:
    for rank in range(2):
        assert (two_workers / "logs" / f"rank-0000{rank}.txt").read_text().startswith(f"--- rank {rank} of 2: process ")


def test_a_killed_worker_is_replaced_and_the_end_is_bit_equal(two_workers: Path, recipe: Path) -> None:
    process = start(recipe, *TWO)
    run = wait_for_step(recipe.parent.parent / "outputs", 6, process)
    os.kill(worker_pid(run), signal.SIGKILL)
    assert process.wait(timeout=300) == 0
    assert len([event for event in records(run, "events.jsonl") if event["event"] == "training"]) == 2
    mine, theirs = weights(run), weights(two_workers)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_a_killed_driver_leaves_no_worker_and_the_run_resumes(finished: Path, recipe: Path) -> None:
    process = start(recipe)
    run = wait_for_step(recipe.parent.parent / "outputs", 6, process)
    pid = worker_pid(run)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.time() + 15
    while psutil.pid_exists(pid) and time.time() < deadline:
        time.sleep(0.2)
    assert not psutil.pid_exists(pid), "an orphan goes on training"
    resumed = trunkline.train(recipe, resume=run.name, in_process=True)
    mine, theirs = weights(resumed.run), weights(finished)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_a_mistake_found_by_a_worker_comes_back_as_a_sentence_and_is_not_retried(recipe: Path) -> None:
    process = start(recipe, "-s", "train.steps=5000")  # far from its end when it is killed
    run = wait_for_step(recipe.parent.parent / "outputs", 1, process)
    process.kill()
    process.wait()
    split = json.loads((run / "prepared.json").read_text())["splits"]["topic"]["train"]
    Path(split).with_suffix(".json").unlink()
    command = [sys.executable, "-m", "trunkline", "train", str(recipe), "--resume", "--json"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert said.returncode == 5
    assert "no such stored split" in json.loads(said.stdout)["error"]["message"]
    assert "Traceback" not in said.stderr
