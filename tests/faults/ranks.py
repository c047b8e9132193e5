"""Faults of one rank of two: killed, hung, slow, with bad numbers, a flipped bit, other rows; and under Ray."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch

from faults.lab import STEPS, Lab, at_steps, equal, events, largest_difference, records, steps_logged, weights, words
from faults.report import Found, expect
from trunkline import checkpoint


def two(lab: Lab, run: Path, spoil: Callable[[int], None] | None = None) -> list[int]:
    """Both ranks' exit codes."""
    return [child.wait() for child in lab.ranks(run, 2, spoil)]


def clean_pair(lab: Lab) -> Path:
    """Two ranks nothing happens to."""
    run = lab.prepared()
    expect(two(lab, run) == [0, 0], lab.children[-1].said[-500:])
    return run


def on(rank: int, acts: dict[int, Callable[[Any], None]]) -> Callable[[int], None]:
    return lambda mine: at_steps(acts) if mine == rank else None


def hang(lab: Lab) -> Found:
    run = lab.prepared("train.hang_s=4")
    children = lab.ranks(run, 2, on(1, {6: lambda _: time.sleep(600)}))
    lab.step(5, children[0])
    since = time.time()
    codes = [child.wait(60) for child in children]
    took = time.time() - since
    expect(codes == [8, 8], f"ended with {codes}: {children[0].said[-300:]}")
    expect("rank 1 stands in" in children[0].said and "rank 0 waits for it" in children[0].said, children[0].said[-400:])
    expect(took < 4 + 5, f"ended {took:.1f} s after the last step")
    kept = sorted(path.name for path in (run / "stacks").iterdir())
    expect("rank-00000.txt" in kept and "rank-00001.txt" in kept, f"stacks: {kept}")
    reached = steps_logged(run)[-1]
    expect(two(lab, run) == [0, 0], "the resumed run failed")
    began = events(run, "training")[-1]
    same = equal(run, pair(lab))
    return Found(f"exit 8 on both, rank 1 named, {took:.1f} s", reached - began["step"], round(began["time"] - since, 2), same)


def straggler(lab: Lab) -> Found:
    """Rank 1 takes more than three times as long for its forward passes."""

    def slow(rank: int) -> None:
        from trunkline.training.objective import Objective

        plain = Objective.forward

        def forward(self: Objective, *given: Any) -> Any:
            start = time.monotonic()
            found = plain(self, *given)
            if rank == 1:
                time.sleep(0.05 + 3 * (time.monotonic() - start))
            return found

        Objective.forward = forward

    run = lab.prepared("train.steps=60")
    expect(two(lab, run, slow) == [0, 0], lab.children[-1].said[-300:])
    told = events(run, "straggler")
    expect(bool(told) and {event["rank"] for event in told} == {1}, f"told: {told}")
    return Found(f"told {len(told)} times, rank 1, {told[0]['times']} times the others; the run went on", 0, 0.0, None)


def spoilt(what: str, steps: dict[int, int]) -> Callable[[int], None]:
    """On rank 1 the loss of a task (what: nan) or its gradient (what: inf) is none, in the steps given."""

    def spoil(rank: int) -> None:
        from trunkline.training.engine import Engine

        plain, now = Engine.backward, {"step": 0}

        def backward(self: Engine, scalar: Any) -> None:
            plain(self, scalar * float("nan") if rank == 1 and now["step"] in steps and what == "nan" else scalar)
            if rank == 1 and now["step"] in steps and what == "inf":
                parameter = next(parameter for parameter in self.parameters.values() if parameter.grad is not None)
                parameter.grad.fill_(float("inf"))

        Engine.backward = backward
        at_steps({number: lambda _, number=number: now.update(step=number) for number in range(1, STEPS + 1)})

    return spoil


def bad_step(lab: Lab) -> Found:
    """The step is left out on both ranks: step 7's checkpoint has the weights of step 6's."""
    run = lab.prepared("train.save_every=1", "train.keep_last=20")
    expect(two(lab, run, spoilt("nan", {7: 1})) == [0, 0], lab.children[-1].said[-400:])
    (told,) = events(run, "non_finite")
    expect(told["step"] == 7 and bool(told["rows"]), f"told {told}")
    before, after = (checkpoint.load(run / "checkpoints" / checkpoint.name_of(step)).tensors for step in (6, 7))
    same = all(torch.equal(before[name], after[name]) for name in before)
    expect(same, "the bad step changed a weight")
    moved = checkpoint.load(run / "checkpoints" / checkpoint.name_of(8)).tensors
    expect(any(not torch.equal(after[name], moved[name]) for name in after), "nothing is trained any more")
    return Found(f"both ranks skip step 7, {len(told['rows'])} tasks with rows told, weights untouched", 1, 0.0, None)


def five_bad_steps(lab: Lab) -> Found:
    run = lab.prepared("train.max_bad_steps=5")
    codes = two(lab, run, spoilt("inf", dict.fromkeys(range(8, 14), 1)))
    expect(codes == [8, 8], f"ended with {codes}: {lab.children[-1].said[-300:]}")
    expect(len(events(run, "non_finite")) == 5, f"{events(run, 'non_finite')}")
    expect("is good" in lab.children[-1].said, lab.children[-1].said[-300:])
    finite = all(bool(tensor.isfinite().all()) for tensor in weights(run).values())
    expect(finite, "a bad weight was saved")
    return Found("five steps skipped, then exit 8 with the good checkpoint named", 5, None, None)


def flipped_weight(lab: Lab) -> Found:
    def flip(worker: Any) -> None:
        value = next(iter(worker.held.engine.parameters.values())).data.view(torch.int32).flatten()
        value[3] ^= 1

    run = lab.prepared("train.steps=60")
    codes = two(lab, run, on(1, {30: flip}))
    expect(codes == [5, 5], f"ended with {codes}: {lab.children[-1].said[-300:]}")
    expect(
        "different weights" in lab.children[-1].said and "before step 50" in lab.children[-1].said, lab.children[-1].said[-300:]
    )
    return Found("told 20 steps later on both ranks, with the tensor; exit 5", None, None, None)


def other_rows(lab: Lab) -> Found:
    """Rank 1 draws from another seed."""
    run = lab.prepared()

    def spoil(rank: int) -> None:
        from trunkline.data.stream import Stream

        plain = Stream.next_step
        if rank == 1:
            Stream.next_step = lambda self, step: plain(self, step)[:-1]

    codes = two(lab, run, spoil)
    expect(0 not in codes and not steps_logged(run), f"ended with {codes} after {steps_logged(run)}")
    expect("ranks hold different heads, counts" in lab.children[-1].said, lab.children[-1].said[-400:])
    return Found("a typed error on both ranks before the first step", 0, None, None)


def leap(lab: Lab) -> Found:
    """From step 41 the losses of step 41 and 42 are a hundred times what they were, on both ranks."""

    def spoil(rank: int) -> None:
        from trunkline.training.objective import Objective

        plain, now = Objective.values, {"step": 0}

        def values(self: Objective, *given: Any) -> Any:
            return plain(self, *given) * (100.0 if now["step"] in (41, 42) else 1.0)

        Objective.values = values
        at_steps({number: lambda _, number=number: now.update(step=number) for number in range(1, 61)})

    overrides = ("train.steps=60", "train.save_every=1", "train.keep_last=60", "train.evaluate_every=60", "train.spike_sigma=6")
    run = lab.prepared(*overrides)
    expect(two(lab, run, spoil) == [0, 0], lab.children[-1].said[-400:])
    told = events(run, "spike")
    expect([event["step"] for event in told] == [41, 42] and bool(told[0]["rows"]), f"told {told}")
    before, after = (checkpoint.load(run / "checkpoints" / checkpoint.name_of(step)).tensors for step in (40, 42))
    expect(all(torch.equal(before[name], after[name]) for name in before), "a spike changed a weight")
    twin = lab.prepared(*overrides[:-1])
    expect(two(lab, twin, spoil) == [0, 0] and not events(twin, "spike"), "the twin without the rule")
    moved = checkpoint.load(twin / "checkpoints" / checkpoint.name_of(42)).tensors
    expect(any(not torch.equal(before[name], moved[name]) for name in before), "the twin did not move")
    return Found("steps 41 and 42 skipped on both ranks, rows told; without the rule they move the weights", 2, 0.0, None)


def no_memory(lab: Lab) -> Found:
    """Rank 1's allocator refuses packs of more than 100 tokens; the next attempt has passes of half the tokens."""
    from trunkline.build.memory import shrink

    def spoil(rank: int) -> None:
        from trunkline.training.objective import Objective

        plain = Objective.forward

        def forward(self: Objective, batch: Any, *given: Any) -> Any:
            if rank == 1 and batch.num_tokens > 120:
                raise torch.OutOfMemoryError(f"no room for {batch.num_tokens} tokens")
            return plain(self, batch, *given)

        Objective.forward = forward

    run, since = lab.prepared(), time.time()
    children = lab.ranks(run, 2, spoil)
    expect(children[1].wait() == 6, f"rank 1 ended with {children[1].code}: {children[1].said[-300:]}")
    expect("rank 1 found no memory: no room for" in children[1].said, children[1].said[-300:])
    children[0].wait()
    smaller = shrink(run)
    expect(smaller == 80, f"passes of {smaller} tokens")
    expect(two(lab, run, spoil) == [0, 0], lab.children[-1].said[-400:])
    expect(records(run, "rows.jsonl") == records(pair(lab), "rows.jsonl"), "other rows")
    far = largest_difference(run, pair(lab))
    expect(far < 1e-4, f"parameters differ by {far:g}")
    began = events(run, "training")[-1]
    took = round(began["time"] - since, 2)
    return Found(f"exit 6, then passes of 80 tokens, the same rows; parameters within {far:.1g}", None, took, False)


def another_world(lab: Lab) -> Found:
    """Saved by one rank, resumed by two: the same rows, losses within rounding."""
    child = lab.train(env={"TRUNKLINE_CRASH_AT": "worker.in_step:13"})
    child.wait()
    reached = steps_logged(lab.run)[-1]
    since = time.time()
    expect(two(lab, lab.run) == [0, 0], lab.children[-1].said[-400:])
    began = events(lab.run, "training")[-1]
    expect(lab.clean is not None and records(lab.run, "rows.jsonl") == records(lab.clean, "rows.jsonl"), "other rows")
    far = largest_difference(lab.run, lab.clean) if lab.clean else 0.0
    expect(far < 1e-4, f"parameters differ by {far:g}")
    return Found(f"the same rows; parameters within {far:.1g}", reached - began["step"], round(began["time"] - since, 2), False)


def pair(lab: Lab) -> Path:
    """The clean run of two ranks, made once."""
    if "run" not in PAIR:
        PAIR["lab"] = Lab.open(lab.clean)
        PAIR["run"] = clean_pair(PAIR["lab"])
    return PAIR["run"]


PAIR: dict[str, Any] = {}
TWO = words("workers.count=2")


def ray_workers(driver: int) -> list[psutil.Process]:
    """The training processes of the Ray below this driver."""
    below = psutil.Process(driver).children(recursive=True)
    return [process for process in below if "RayTrainWorker" in " ".join(process.cmdline()) or "ray::" in process.name()]


def killed_worker(rank: int) -> Callable[[Lab], Found]:
    def run(lab: Lab) -> Found:
        child = lab.train(*TWO, ray=True)
        since = lab.step(6, child)
        zero = int(events(lab.run, "training")[-1]["pid"])
        others = [process.pid for process in ray_workers(child.pid) if process.pid != zero and process.num_threads() > 20]
        os.kill(zero if rank == 0 else others[-1], signal.SIGKILL)
        expect(child.wait() == 0, f"ended with {child.code}: {child.said[-300:]}")
        began = events(lab.run, "training")
        expect(len(began) == 2, f"{len(began)} attempts")
        reached = 6
        lost, took = max(0, reached - began[1]["step"]), round(began[1]["time"] - since, 2)
        return Found(f"a new attempt from step {began[1]['step']}", lost, took, equal(lab.run, pair(lab)))

    return run


def same_error(lab: Lab) -> Found:
    """A user's bug, at the same step whenever it is tried."""
    plugin = """from trunkline.losses.classification import CrossEntropy
from trunkline.registry import LOSSES


@LOSSES.register("buggy")
class Buggy(CrossEntropy):
    '''A cross entropy with a bug.'''

    calls = 0

    def forward(self, outputs, targets):
        Buggy.calls += outputs.requires_grad
        if Buggy.calls > 3:
            raise KeyError("the user's bug")
        return super().forward(outputs, targets)
"""
    (lab.folder / "tasks/topic/plugin.py").write_text(plugin)
    card = lab.folder / "tasks/topic/card.yaml"
    card.write_text(card.read_text() + "loss: buggy\n")
    child = lab.train(*TWO, "-s", "train.save_every=100", ray=True)
    code = child.wait()
    attempts = len(events(lab.run, "training"))
    expect(attempts == 2, f"{attempts} attempts, exit {code}")
    expect("the user's bug" in child.said, child.said[-300:])
    return Found(f"2 attempts, exit {code}, the cause told", None, None, None)


def killed_driver(lab: Lab) -> Found:
    child = lab.train(*TWO, ray=True)
    since = lab.step(6, child)
    zero = int(events(lab.run, "training")[-1]["pid"])
    child.kill(signal.SIGKILL)
    child.wait()
    while psutil.pid_exists(zero) and time.time() - since < 15:
        time.sleep(0.1)
    expect(not psutil.pid_exists(zero), "an orphan trains on after 15 s")
    gone = time.time() - since
    reached = steps_logged(lab.run)[-1]
    expect(two(lab, lab.run) == [0, 0], lab.children[-1].said[-300:])
    began = events(lab.run, "training")[-1]
    lost = reached - began["step"]
    return Found(f"no orphan after {gone:.1f} s", lost, round(began["time"] - since, 2), equal(lab.run, pair(lab)))


def sigterm_ray(lab: Lab) -> Found:
    child = lab.train(*TWO, ray=True)
    since = lab.step(4, child)
    child.kill(signal.SIGTERM)
    expect(child.wait() == 75, f"ended with {child.code}: {child.said[-300:]}")
    (stopped,) = events(lab.run, "stopped")
    saved = [event for event in events(lab.run, "checkpoint") if event["step"] == stopped["step"]]
    took = saved[0]["time"] - since
    expect(took < 10, f"saved after {took:.1f} s")
    expect(two(lab, lab.run) == [0, 0], lab.children[-1].said[-300:])
    return Found(f"exit 75, saved {took:.1f} s after the signal", 0, None, equal(lab.run, pair(lab)))


ROWS: dict[str, tuple[str, Callable[[Lab], Found]]] = {
    "F15": ("rank 1 of 2 hangs before a collective", hang),
    "F16": ("rank 1 of 2 is three times slower", straggler),
    "F19": ("losses leap a hundredfold in two steps", leap),
    "F20": ("rank 1's allocator refuses", no_memory),
    "F17": ("NaN on rank 1 of 2 in one step", bad_step),
    "F18": ("an infinite gradient on rank 1 in five steps", five_bad_steps),
    "F24": ("a bit flips in rank 1's weights", flipped_weight),
    "F30": ("saved by one rank, resumed by two", another_world),
    "X4": ("rank 1 holds other rows", other_rows),
    "F1": ("SIGKILL to rank 1 of 2 under Ray", killed_worker(1)),
    "F2": ("SIGKILL to rank 0 of 2 under Ray", killed_worker(0)),
    "X3": ("the same error at the same step, under Ray", same_error),
    "F8 ray": ("SIGTERM to the driver of two Ray workers", sigterm_ray),
    "F14": ("SIGKILL to the driver of two Ray workers", killed_driver),
}
NOT_RUN = {
    "F11": "Ray's notice of a node that is drained is not listened to",
    "F12": "held by tests/clusters/test_ray_cluster.py, where a node of a real cluster of two ends",
    "F13": "the embedded Ray ends with its driver, which F14 kills; the head of a cluster is not killed",
    "F26": "checkpoints go to a folder; no object store is written to",
    "F27": "held by tests/monitor/test_wandb.py: refused, 401, 500, hanging, dying servers",
    "F33": "there are no processes that load rows: ranks read the mapped store themselves",
    "F34": "a cap on what logs may hold is not built",
    "F35": "needs a GPU",
    "X2": "one machine's lock is F28; a fencing token across machines is not built",
    "X5": "needs nodes with labels",
    "X6": "held by tests/clusters/test_ray_jobs.py: submitted once, followed through a bad network",
    "X7": "a job that never starts is not ended at a deadline",
    "X8": "held by tests/clusters/test_ray_jobs.py and rows 61 of the bad inputs",
}
