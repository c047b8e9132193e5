"""Faults of one process: killed, asked to stop, its disk, its clock, its files."""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults.lab import STEPS, Lab, at_steps, equal, events, steps_logged, words
from faults.report import Found, expect
from trunkline import checkpoint

POINTS = {  # point: the step resumed from, when it is passed in the save of step 10 (the first prune: of step 15)
    "F3": ("checkpoint.before_shard:2", 5),
    "F4": ("checkpoint.before_manifest:2", 5),
    "F5": ("checkpoint.after_rename:2", 5),
    "F6": ("checkpoint.after_commit:2", 10),
    "F7": ("checkpoint.during_prune", 15),
}


def resumed(lab: Lab, since: float, reached: int, *more: str) -> Found:
    """Resumes the run and compares its end with the clean one's. since, reached: when the fault struck, and after which step."""
    run = lab.run
    before = len(events(run, "training"))
    child = lab.train("--resume", run.name, *more)
    expect(child.wait() == 0, f"the resumed run ended with {child.code}: {child.said[-300:]}")
    began = events(run, "training")[before]
    lost = max(0, reached - int(began["step"]))
    same = equal(run, lab.clean) if lab.clean else None
    expect(steps_logged(run) == list(range(1, STEPS + 1)), "the metrics of the resumed run have gaps or doubles")
    left = [path.name for path in (run / "checkpoints").iterdir() if path.name.startswith(".")]
    expect(not left, f"left behind: {left}")
    return Found(f"resumed from step {began['step']}", lost, round(began["time"] - since, 2), same)


def killed_at(point: str, step: int) -> Callable[[Lab], Found]:
    def run(lab: Lab) -> Found:
        child = lab.train(env={"TRUNKLINE_CRASH_AT": point})
        expect(child.wait() == -signal.SIGKILL, f"ended with {child.code}, not killed: {child.said[-300:]}")
        found = resumed(lab, time.time(), steps_logged(lab.run)[-1])
        expect(found.outcome == f"resumed from step {step}", f"{found.outcome}, not {step}")
        return found

    return run


def sigterm(lab: Lab, times: int = 1) -> Found:
    child = lab.train()
    since = lab.step(6, child)
    for _ in range(times):
        child.kill(signal.SIGTERM)
    expect(child.wait() == 75, f"ended with {child.code}: {child.said[-300:]}")
    took, reached = time.time() - since, steps_logged(lab.run)[-1]
    expect(took <= 10, f"saved after {took:.1f} s")
    expect(f"--resume {lab.run.name}" in child.said, "does not tell how to go on")
    found = resumed(lab, since, reached)
    expect(found.steps_lost == 0, f"{found.steps_lost} steps lost")
    return Found(f"exit 75 after {took:.1f} s, {found.outcome}", 0, found.seconds_to_recover, found.weights_equal)


def sigterm_while_saving(lab: Lab) -> Found:
    """The first signal comes in a step, two more while the checkpoint it asks for is written."""
    child = lab.train(*words("train.save_every=4000"), spoil=slow_save)
    lab.step(4, child)
    child.kill(signal.SIGTERM)
    while not (lab.run / "saving").exists():
        time.sleep(0.005)
    child.kill(signal.SIGTERM)
    child.kill(signal.SIGTERM)
    expect(child.wait() == 75, f"ended with {child.code}")
    restored, passed = checkpoint.newest(lab.run / "checkpoints")
    expect(restored is not None and not passed, "a torn checkpoint")
    (lab.run / "saving").unlink()
    return resumed(lab, time.time(), steps_logged(lab.run)[-1])


def slow_save() -> None:
    write = checkpoint._write

    def slowly(path: Path, content: bytes) -> dict[str, Any]:
        (path.parent.parent.parent / "saving").touch()
        time.sleep(0.3)
        return write(path, content)

    checkpoint._write = slowly


def ctrl_c(lab: Lab) -> Found:
    """At a terminal: once, and the run saves; twice, and it ends at once, with nothing torn."""
    child = lab.train(terminal=True)
    since = lab.step(6, child)
    child.type(b"\x03")
    expect(child.wait() == 130, f"ended with {child.code}: {child.said[-300:]}")
    found = resumed(lab, since, steps_logged(lab.run)[-1])
    other = Lab.open(lab.clean)
    try:
        child = other.train(*words("train.save_every=4000"), terminal=True, spoil=slow_save)
        other.step(4, child)
        child.type(b"\x03")
        while not (other.run / "saving").exists():
            time.sleep(0.005)
        start = time.monotonic()
        child.type(b"\x03")
        expect(child.wait() == 130 and time.monotonic() - start < 2, f"the second one: {child.code}")
        expect(checkpoint.newest(other.run / "checkpoints") == (None, []), "a torn checkpoint")
    finally:
        other.close()
    return Found(f"exit 130 both times, {found.outcome}", found.steps_lost, found.seconds_to_recover, found.weights_equal)


def refused(begin: Callable[[Any], None], end: Callable[[Any], None], what: str) -> Callable[[Lab], Found]:
    """Something refuses writes from step 7 to step 13; training goes on, and the checkpoint of step 15 stands."""

    def run(lab: Lab) -> Found:
        child = lab.train(spoil=lambda: at_steps({7: begin, 13: end}))
        expect(child.wait() == 0, f"ended with {child.code}: {child.said[-400:]}")
        failed = events(lab.run, "checkpoint_failed")
        expect([event["step"] for event in failed] == [10], f"refused in {failed}")
        damaged = checkpoint.newest(lab.run / "checkpoints")[1]
        expect(not damaged, f"half a commit: {damaged}")
        return Found(f"training went on, the save of step 10 failed: {what}", 0, 0.0, equal(lab.run, lab.clean))

    return run


def full(_: Any) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))


def room(_: Any) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def gone(worker: Any) -> None:
    """As a stale mount: the folder is not one any more."""
    root = worker.folder.checkpoints
    root.rename(root.with_name("aside"))
    root.write_text("")


def back(worker: Any) -> None:
    root = worker.folder.checkpoints
    root.unlink()
    root.with_name("aside").rename(root)


def full_log(lab: Lab) -> Found:
    """No byte more into metrics.jsonl and events.jsonl from step 7 to 13: the run goes on, records of these steps are missing."""
    child = lab.train(spoil=lambda: at_steps({7: lambda w: _limit_logs(w), 9: room}))
    expect(child.wait() == 0, f"ended with {child.code}: {child.said[-400:]}")
    kept = steps_logged(lab.run)
    expect(kept[-1] == STEPS and 7 not in kept, f"logged {kept}")
    return Found(f"training went on, {STEPS - len(kept)} records left out", 0, 0.0, equal(lab.run, lab.clean))


def _limit_logs(worker: Any) -> None:
    size = (worker.folder.path / "metrics.jsonl").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (min(size, 600), resource.RLIM_INFINITY))


def flipped(lab: Lab) -> Found:
    child = lab.train(env={"TRUNKLINE_CRASH_AT": "worker.in_step:13"})
    expect(child.wait() == -signal.SIGKILL, f"ended with {child.code}")
    newest = checkpoint.committed(lab.run / "checkpoints")[0]
    shard = next(newest.glob("*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(bytes(content))
    found = resumed(lab, time.time(), steps_logged(lab.run)[-1])
    (passed,) = events(lab.run, "checkpoint_passed_over")
    expect(passed["path"] == newest.name and "SHA-256" in passed["reason"], f"passed over {passed}")
    expect(found.outcome == "resumed from step 5", found.outcome)
    return Found(f"passed over {newest.name}, {found.outcome}", found.steps_lost, found.seconds_to_recover, found.weights_equal)


def source_changes(lab: Lab) -> Found:
    """The file of rows is cut to half in mid-run: the run has its own copy, tokenised and hashed."""

    def cut(_: Any) -> None:
        rows = lab.folder / "tasks/topic/rows.jsonl"
        rows.write_bytes(rows.read_bytes()[: rows.stat().st_size // 2])

    child = lab.train(spoil=lambda: at_steps({7: cut}))
    expect(child.wait() == 0, f"ended with {child.code}: {child.said[-300:]}")
    return Found("no effect: rows are tokenised before the run", 0, 0.0, equal(lab.run, lab.clean))


def same_run_twice(lab: Lab) -> Found:
    first = lab.train()
    lab.step(4, first)
    first.kill(signal.SIGSTOP)
    second = lab.train("--resume", lab.run.name)
    expect(second.wait() == 7, f"the second ended with {second.code}: {second.said[-300:]}")
    expect(str(first.pid) in second.said, f"does not name the holder: {second.said[-200:]}")
    reached = steps_logged(lab.run)[-1]
    first.kill(signal.SIGKILL)
    first.wait()
    found = resumed(lab, time.time(), reached)
    return Found(f"the second refused with 7, {found.outcome} after the first was killed", found.steps_lost, *found[2:4])


def clock_jumps(by: float) -> Callable[[Lab], Found]:
    def run(lab: Lab) -> Found:
        def jump(_: Any) -> None:
            plain = time.time
            time.time = lambda: plain() + by

        child = lab.train(spoil=lambda: at_steps({8: jump}))
        expect(child.wait() == 0, f"ended with {child.code}: {child.said[-300:]}")
        expect(steps_logged(lab.run) == list(range(1, STEPS + 1)), "metrics out of order")
        expect("-1:" not in child.said and "- " not in [line[:2] for line in child.said.splitlines()], "a negative time")
        return Found("no effect", 0, 0.0, equal(lab.run, lab.clean))

    return run


def edited(old: str, new: str, said: str) -> Callable[[Lab], Found]:
    """The recipe changes between a stop and the resume: refused with the difference; with --keep-recipe the run goes on."""

    def run(lab: Lab) -> Found:
        child = lab.train(env={"TRUNKLINE_CRASH_AT": "worker.in_step:13"})
        child.wait()
        reached = steps_logged(lab.run)[-1]
        text = lab.recipe.read_text()
        expect(old in text, f"no {old} in the recipe")
        lab.recipe.write_text(text.replace(old, new))
        child = lab.train("--resume", lab.run.name)
        expect(child.wait() == 2 and said in child.said, f"{child.code}: {child.said[-300:]}")
        found = resumed(lab, time.time(), reached, "--keep-recipe")
        return Found(f"refused with the difference; with --keep-recipe {found.outcome}", found.steps_lost, *found[2:4])

    return run


def clean(lab: Lab) -> None:
    """The run nothing happens to."""
    child = lab.train()
    expect(child.wait() == 0, child.said[-500:])


def resumed_without_forgetting(lab: Lab) -> Found:
    """The planted twin: a run that is resumed with other weights ends elsewhere, and is seen to."""

    def bend() -> None:
        from trunkline.launch.worker import Worker

        plain = Worker._restore

        def restore(self: Worker, restored: Any, entries: Any) -> Any:
            progress = plain(self, restored, entries)
            next(iter(self.engine.parameters.values())).data.flatten()[0] += 1e-6
            return progress

        Worker._restore = restore

    child = lab.train(env={"TRUNKLINE_CRASH_AT": "worker.in_step:8"})
    child.wait()
    child = lab.train("--resume", lab.run.name, spoil=bend)
    expect(child.wait() == 0, child.said[-300:])
    expect(lab.clean is not None and not equal(lab.run, lab.clean), "a change of 1e-6 is not seen")
    return Found("a change of 1e-6 at the resume is seen at the end", 0, 0.0, False)


ROWS: dict[str, tuple[str, Callable[[Lab], Found]]] = {
    "twin": ("a resume that changes one weight by 1e-6", resumed_without_forgetting),
    **{name: (f"SIGKILL at {point}", killed_at(point, step)) for name, (point, step) in POINTS.items()},
    "F8": ("SIGTERM", sigterm),
    "F9": ("SIGTERM three times, two of them while it saves", sigterm_while_saving),
    "F10": ("Ctrl-C at a terminal, once and twice", ctrl_c),
    "F21": ("no room for a checkpoint (RLIMIT_FSIZE)", refused(full, room, "File too large")),
    "F21 log": ("no room for metrics.jsonl", full_log),
    "F22": ("the folder of checkpoints vanishes", refused(gone, back, "no folder")),
    "F23": ("a bit flips in the newest checkpoint", flipped),
    "F25": ("the file of rows is cut in mid-run", source_changes),
    "F28": ("two processes train one run", same_run_twice),
    "F29": ("the clock jumps an hour back", clock_jumps(-3600.0)),
    "F29 on": ("the clock jumps an hour on", clock_jumps(3600.0)),
    "F31": ("a task is removed from the recipe before a resume", edited(", words]", "]", "tasks")),
    "F32": ("the learning rate changes before a resume", edited("lr: 5e-3", "lr: 1e-3", "optim.lr 0.005 -> 0.001")),
    "X1": ("SIGKILL after COMMIT: what Ray knows does not matter", killed_at("checkpoint.after_commit:2", 10)),
    "X9": ("saves are refused for six steps", refused(gone, back, "no folder")),
    "X10": ("seed and task weight change before a resume", edited("weight: 0.7", "weight: 0.9", "tasks.3.weight 0.7 -> 0.9")),
}
