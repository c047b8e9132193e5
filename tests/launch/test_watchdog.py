"""A rank that hangs is named, with the stacks of all; one that is slow or was suspended is left alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trunkline.cli.app import main
from trunkline.launch.watchdog import verdict

RANK = """
import sys, time
from pathlib import Path
import torch.distributed as dist
from trunkline.launch.watchdog import Watchdog
rank, folder, how = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
watchdog = Watchdog(folder / "stacks", rank, 2.0)

def a_loss_that_never_ends():
    while how == "hang":
        time.sleep(0.1)
    for _ in range(12 if how == "slow" else 0):
        time.sleep(0.25)
        watchdog.alive("step 3")

def step():
    if rank == 1:
        a_loss_that_never_ends()
    for _ in range(12 if rank == 0 and how == "slow" else 0):
        time.sleep(0.25)
        watchdog.alive("step 3")
    import torch
    dist.all_reduce(torch.ones(1))

with watchdog.watching():
    watchdog.alive("step 3")
    print("training", flush=True)
    step()
dist.destroy_process_group()
"""


def start(folder: Path, how: str) -> list[subprocess.Popen[str]]:
    commands = [[sys.executable, "-c", RANK, str(rank), str(folder), how] for rank in (0, 1)]
    return [subprocess.Popen(c, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for c in commands]


def test_the_rank_that_hangs_is_named_with_the_stacks_of_all(tmp_path: Path) -> None:
    ranks = start(tmp_path, "hang")
    ended = [rank.communicate(timeout=60)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [8, 8]
    said = verdict(tmp_path / "stacks")
    assert said is not None and "rank 1 stands in" in said and "a_loss_that_never_ends (step 3), rank 0 waits for it" in said
    assert said in ended[0] and "train.hang_s" in said
    assert "a_loss_that_never_ends" in (tmp_path / "stacks" / "rank-00001.txt").read_text()
    assert "all_reduce" in (tmp_path / "stacks" / "rank-00000.txt").read_text()


def test_a_rank_that_is_slow_is_left_alone(tmp_path: Path) -> None:
    ranks = start(tmp_path, "slow")
    ended = [rank.communicate(timeout=60)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], ended
    assert verdict(tmp_path / "stacks") is None


def test_a_machine_that_was_suspended_is_left_alone(tmp_path: Path) -> None:
    ranks = start(tmp_path, "slow")
    for rank in ranks:
        assert rank.stdout is not None and rank.stdout.readline() == "training\n"
        os.kill(rank.pid, signal.SIGSTOP)
    time.sleep(6)
    for rank in ranks:
        os.kill(rank.pid, signal.SIGCONT)
    ended = [rank.communicate(timeout=60)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], ended


HANGING = """
import threading, time
from trunkline.losses.classification import CrossEntropy
from trunkline.registry import LOSSES

@LOSSES.register("endless")
class Endless(CrossEntropy):
    def forward(self, *arguments, **named):
        if any(thread.name == "watchdog" for thread in threading.enumerate()):  # not in the checks before training
            time.sleep(600)
        return super().forward(*arguments, **named)
"""


def test_a_run_that_hangs_ends_with_8_and_says_where(recipe: Path) -> None:
    folder = recipe.parent.parent / "tasks" / "topic"
    (folder / "plugin.py").write_text(HANGING)
    card = (folder / "card.yaml").read_text()
    (folder / "card.yaml").write_text(card.rstrip("\n") + "\nloss: endless\n")
    command = [sys.executable, "-m", "trunkline", "train", str(recipe), "--in-process", "-s", "train.hang_s=3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 8, done.stderr
    (run,) = (recipe.parent.parent / "outputs").iterdir()
    assert "error: no progress for 3 s (train.hang_s): rank 0 stands in" in done.stderr and "plugin.py" in done.stderr
    assert json.loads((run / "stacks" / "rank-00000.json").read_text())["doing"].startswith("step ")


def test_a_limit_that_is_no_time_is_refused(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for value in ("0", "-1", ".inf"):
        assert main(["train", str(recipe), "-s", f"train.hang_s={value}"]) == 3
        assert "train.hang_s" in capsys.readouterr().err
