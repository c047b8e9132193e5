"""Checkpoints that are written beside training are those that are written in between, and training does not wait for them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import phased
import trunkline
from ranks import Ranks
from small_project import write_project
from trunkline import checkpoint, durable

STEPS = 8
TRAIN = [
    "tasks=[topic, score]",
    f"train={{steps: {STEPS}, tokens_per_step: 256, max_length: 16, evaluate_every: 5, save_every: 2, keep_last: 9}}",
]
ASIDE = "train.save_aside=true"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("saving"))


def same_law(run: Path, other: Path) -> bool:
    """All checkpoints of two runs, bit for bit, with what they say beside their tensors."""
    for step in range(2, STEPS + 1, 2):
        mine, theirs = (checkpoint.load(folder / "checkpoints" / checkpoint.name_of(step)) for folder in (run, other))
        if {**mine.state, "run_id": 0} != {**theirs.state, "run_id": 0} or mine.tensors.keys() != theirs.tensors.keys():
            return False
        if not all(torch.equal(mine.tensors[name], theirs.tensors[name]) for name in theirs.tensors):
            return False
    return True


@pytest.mark.parametrize("stage", [0, 2])
def test_on_two_ranks_checkpoints_written_beside_training_are_bit_equal(recipe: Path, two_ranks: Ranks, stage: int) -> None:
    runs = []
    for name, more in (("between", []), ("beside", [ASIDE])):
        overrides = [*TRAIN, f"engine.zero_stage={stage}", "train.ema=0.9", *more]
        runs.append(phased.prepared(recipe, recipe.parent / f"{name}{stage}", overrides))
        two_ranks(phased.on_rank, str(runs[-1]))
    assert same_law(*runs)


def test_a_save_that_does_not_copy_is_rejected(recipe: Path, two_ranks: Ranks) -> None:
    runs = []
    for name, fault in (("copied", ""), ("live", "saved without a copy")):
        runs.append(phased.prepared(recipe, recipe.parent / name, [*TRAIN, ASIDE]))
        two_ranks(phased.on_rank, str(runs[-1]), fault)
    assert not same_law(*runs)


@contextlib.contextmanager
def waiting_for_the_next_step(monkeypatch: pytest.MonkeyPatch, patience_s: float) -> Iterator[list[bool]]:
    """A disk that takes a checkpoint only once the next step has begun, or its patience is at an end; tells of each which."""
    begun, found, save, point = threading.Semaphore(0), [], checkpoint.save, durable.crash_point
    seen = 0

    def passed(name: str) -> None:
        if name == "worker.in_step":
            begun.release()
        point(name)

    def waiting(root: Path, step: int, *more, **settings) -> Path:
        nonlocal seen
        while seen <= step and begun.acquire(timeout=patience_s):
            seen += 1
        found.append(seen > step)
        return save(root, step, *more, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(durable, "crash_point", passed)
        patch.setattr(checkpoint, "save", waiting)
        yield found


def test_training_goes_on_while_a_checkpoint_is_written(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for more, patience_s, wanted in (([ASIDE], 8.0, [True] * 3), ([], 0.1, [False] * 3)):
        with waiting_for_the_next_step(monkeypatch, patience_s) as found:
            trunkline.train(recipe, in_process=True, overrides=[*TRAIN, *more])
        assert found[:3] == wanted  # for the last one it waits


def test_a_run_killed_while_it_writes_beside_training_resumes_bit_equal(recipe: Path) -> None:
    clean = trunkline.train(recipe, in_process=True, overrides=[*TRAIN, ASIDE]).run
    settings = [word for override in (*TRAIN, ASIDE) for word in ("-s", override)]
    command = [sys.executable, "-m", "trunkline", "train", str(recipe), "--in-process", *settings]
    environment = {**os.environ, "TRUNKLINE_CRASH_AT": "checkpoint.after_rename:2"}
    killed = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    assert killed.returncode == -signal.SIGKILL
    resumed = trunkline.train(recipe, resume=True, in_process=True).run
    assert resumed != clean and same_law(resumed, clean)


def test_a_disk_that_refuses_it_costs_the_checkpoint_and_not_the_run(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, content: bytes, write=checkpoint._write):
        if path.parent.name == ".step-00000004.tmp" and path.suffix == ".safetensors":
            Path("/dev/full").write_bytes(content)
        return write(path, content)

    monkeypatch.setattr(checkpoint, "_write", refused)
    run = trunkline.train(recipe, in_process=True, overrides=[*TRAIN, ASIDE]).run
    (failed,) = phased.events(run, "checkpoint_failed")
    assert failed["step"] == 4 and failed["newest"] == ["step-00000002"]
    assert [event["step"] for event in phased.events(run, "checkpoint")] == [2, 6, 8]
