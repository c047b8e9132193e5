"""A run that is asked to stop does so after its step, with a checkpoint, and ends where one that was never stopped does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

import trunkline
from trunkline import checkpoint
from trunkline.errors import Diverged
from trunkline.launch.signals import Signals

pytestmark = pytest.mark.timeout(400)


def start(recipe: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "trunkline", "train", str(recipe), *more]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def records(run: Path, name: str) -> list[dict[str, object]]:
    path = run / name
    found = path.read_text().splitlines(keepends=True) if path.is_file() else []
    return [json.loads(line) for line in found if line.endswith("\n")]


def events(run: Path, name: str) -> list[dict[str, object]]:
    return [event for event in records(run, "events.jsonl") if event["event"] == name]


def wait_for_step(recipe: Path, step: int, process: subprocess.Popen[str]) -> Path:
    deadline = time.time() + 200
    while time.time() < deadline:
        for run in (recipe.parent.parent / "outputs").glob("*"):
            if any(int(str(record["step"])) >= step for record in records(run, "metrics.jsonl")):
                return run
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)
    raise AssertionError(f"no step {step} within 200 s")


def steps_trained(run: Path) -> list[object]:
    return [record["step"] for record in records(run, "rows.jsonl")]


def without_times(run: Path) -> list[dict[str, object]]:
    found = records(run, "metrics.jsonl")
    return [{k: v for k, v in record.items() if k != "time" and not k.startswith("system/")} for record in found]


def weights(run: Path) -> dict[str, torch.Tensor]:
    restored, passed = checkpoint.newest(run / "checkpoints")
    assert restored is not None and not passed
    return restored.tensors


def assert_equal_end(run: Path, other: Path) -> None:
    mine, theirs = weights(run), weights(other)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


DEAF = """
import sys
from trunkline.cli.app import main
from trunkline.launch.signals import Signals
Signals.__enter__ = lambda self: self
sys.exit(main(sys.argv[1:]))
"""


def test_a_run_that_does_not_listen_loses_the_steps_since_its_last_checkpoint(recipe: Path) -> None:
    command = [sys.executable, "-c", DEAF, "train", str(recipe), "--in-process", "-s", "train.steps=5000"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    run = wait_for_step(recipe, 3, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM and not events(run, "stopped")


@pytest.mark.parametrize("times", [1, 3])
def test_sigterm_leaves_a_checkpoint_of_the_last_step_and_the_resumed_run_is_bit_equal(
    finished: Path, recipe: Path, times: int
) -> None:
    process = start(recipe, "--in-process")
    run = wait_for_step(recipe, 6, process)
    since = time.time()
    for _ in range(times):
        process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 75 and time.time() - since < 10
    assert f"trunkline train {recipe} --resume {run.name}" in said and "Traceback" not in said
    (stopped,) = events(run, "stopped")
    assert checkpoint.committed(run / "checkpoints")[0].name == checkpoint.name_of(int(str(stopped["step"])))
    assert steps_trained(run)[-1] == stopped["step"], "a step was trained on that is not in the checkpoint"
    resumed = trunkline.train(recipe, resume=True, in_process=True).run
    assert_equal_end(resumed, finished)
    assert without_times(resumed) == without_times(finished)
    assert steps_trained(resumed) == list(range(1, 21))


def test_ctrl_c_saves_and_ends_with_130(recipe: Path) -> None:
    process = start(recipe, "--in-process", "-s", "train.steps=5000", "-s", "train.save_every=4000")
    run = wait_for_step(recipe, 3, process)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and f"--resume {run.name}" in said
    assert len(checkpoint.committed(run / "checkpoints")) == len(events(run, "stopped")) == 1


SLOW_SAVE = """
import sys, time
from trunkline import checkpoint
from trunkline.cli.app import main
write = checkpoint._write
def slowly(path, content):
    (path.parent.parent.parent / "saving").touch()
    time.sleep(1)
    return write(path, content)
checkpoint._write = slowly
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_second_signal_during_the_save_leaves_nothing_torn(recipe: Path, number: int, code: int) -> None:
    settings = ["train.steps=5000", "train.save_every=4000", "train.evaluate_every=4000"]
    more = [word for setting in settings for word in ("-s", setting)]
    command = [sys.executable, "-c", SLOW_SAVE, "train", str(recipe), "--in-process", *more]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    run = wait_for_step(recipe, 2, process)
    process.send_signal(number)
    while not (run / "saving").exists():
        time.sleep(0.01)
    process.send_signal(number)
    since = time.time()
    process.communicate(timeout=60)
    assert process.returncode == code
    restored, passed = checkpoint.newest(run / "checkpoints")
    assert not passed
    if number == signal.SIGINT:
        assert restored is None and time.time() - since < 1.5, "the second Ctrl-C did not end it at once"
    else:
        assert restored is not None and restored.step == steps_trained(run)[-1]


def test_a_run_that_diverges_ends_with_8_and_names_the_good_checkpoint_and_the_steps_left_out(recipe: Path) -> None:
    overrides = ["optim.lr=1e30", "optim.warmup=0.5", "train.save_every=1", "train.max_bad_steps=3", "train.clip=null"]
    process = start(recipe, "--in-process", "--json", *(word for setting in overrides for word in ("-s", setting)))
    said = process.communicate(timeout=120)[1]
    (run,) = (recipe.parent.parent / "outputs").iterdir()
    bad = events(run, "non_finite")
    assert process.returncode == 8, said
    assert [event["in_a_row"] for event in bad] == [1, 2, 3] and bad[-1]["rows"]
    newest = checkpoint.committed(run / "checkpoints")[0]
    restored = checkpoint.load(newest)
    assert restored.state["skipped"] == {"steps": 2, "in_a_row": 2}
    assert all(bool(tensor.isfinite().all()) for tensor in restored.tensors.values())


def test_the_sentence_of_a_diverged_run_names_the_checkpoint(recipe: Path) -> None:
    overrides = ["optim.lr=1e30", "train.save_every=1", "train.max_bad_steps=2", "train.clip=null"]
    with pytest.raises(Diverged, match=r"not finite, in 2 steps in a row.* newest checkpoint, \S+/step-0000000\d, is good"):
        trunkline.train(recipe, in_process=True, overrides=overrides)


def test_signals_are_left_alone_outside_of_the_main_thread_and_given_back_after_the_run() -> None:
    before = signal.getsignal(signal.SIGTERM)
    asked: list[bool] = []
    with Signals(lambda: asked.append(True)) as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked == [True] and not signals.interrupted
    assert signal.getsignal(signal.SIGTERM) is before

    def aside() -> None:
        with Signals(lambda: asked.append(True)):
            asked.append(signal.getsignal(signal.SIGTERM) is before)

    thread = threading.Thread(target=aside)
    thread.start()
    thread.join()
    assert asked == [True, True]


TWO = ["-s", "workers.count=2", "-s", "train.steps=5000"]


@pytest.mark.parametrize("target", ["driver", "worker"])
def test_two_ray_workers_stop_at_the_same_step_whoever_is_told(recipe: Path, target: str) -> None:
    process = start(recipe, *TWO)
    run = wait_for_step(recipe, 4, process)
    pid = int(str(events(run, "training")[-1]["pid"]))
    since = time.time()
    os.kill(process.pid if target == "driver" else pid, signal.SIGTERM)
    said = process.communicate(timeout=100)[1]
    assert process.returncode == 75 and f"--resume {run.name}" in said, said
    assert len(events(run, "training")) == 1, "it was started again"
    (stopped,) = events(run, "stopped")
    (saved,) = [event for event in events(run, "checkpoint") if event["step"] == stopped["step"]]
    assert float(str(saved["time"])) - since < 10
    restored, passed = checkpoint.newest(run / "checkpoints")
    assert restored is not None and not passed and restored.step == stopped["step"] == steps_trained(run)[-1]
