"""A long run with a fault every few minutes, against the same run left alone: `make soak MINUTES=40`.

    python -m faults.soak MINUTES EVERY_S     writes benchmarks/results/soak.json

A run of one rank in one process, as the supervisor of `trunkline train --resume` sees it; faults of nodes and of Ray's driver
are rows of `make faults`. Effective training time is what the clean run took to train, over what the soaked one took in all.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import sys
import time
from typing import Any

from faults.__main__ import ENVIRONMENT, LOADED, RESULT, facts
from faults.lab import Child, Lab, equal, events, records, words

SAVE_S, RATE_STEPS = 5.0, 300


def killed(child: Child, _: Lab) -> None:
    child.kill(signal.SIGKILL)
    child.wait()


def asked(child: Child, _: Lab) -> None:
    child.kill(signal.SIGTERM)
    child.wait()


def interrupted(child: Child, _: Lab) -> None:
    child.kill(signal.SIGINT)
    child.wait()


def suspended(child: Child, _: Lab) -> None:
    """The machine sleeps for two seconds; nobody is to notice."""
    child.kill(signal.SIGSTOP)
    time.sleep(2)
    child.kill(signal.SIGCONT)


def damaged(child: Child, lab: Lab) -> None:
    """Killed, and a bit of the newest checkpoint flips, if there is another one."""
    from trunkline import checkpoint

    killed(child, lab)
    saved = checkpoint.committed(lab.run / "checkpoints")
    if len(saved) > 1:
        shard = next(saved[0].glob("*.safetensors"))
        content = bytearray(shard.read_bytes())
        content[-1] ^= 1
        shard.write_bytes(bytes(content))


FAULTS = (killed, asked, interrupted, suspended, damaged)


def rate(clean: Lab) -> float:
    """Steps a second, of a short run."""
    child = clean.train(*words(f"train.steps={RATE_STEPS}", "train.evaluate_every=1000000", "train.save_every=1000000"))
    assert child.wait(1200) == 0, child.said
    times = [record["time"] for record in records(clean.run, "metrics.jsonl") if "train/lr" in record]
    return (len(times) - 1) / (times[-1] - times[0])


def alone(lab: Lab, settings: list[str], patience_s: float) -> float:
    """The run left alone; the seconds it trained."""
    child = lab.train(*words(*settings))
    assert child.wait(patience_s) == 0, child.said[-500:]
    times = [record["time"] for record in records(lab.run, "metrics.jsonl") if "train/lr" in record]
    return times[-1] - times[0]


def soaked(lab: Lab, settings: list[str], every_s: float, chance: random.Random, patience_s: float) -> dict[str, Any]:
    """The run with a fault every so often; what struck, how long each restart took, and the seconds in all."""
    start, struck, restarts = time.time(), [], []
    child = lab.train(*words(*settings))
    lab.step(1, child)
    start = records(lab.run, "metrics.jsonl")[0]["time"]
    following = time.time() + every_s
    while time.time() - start < patience_s:
        pid, status = os.waitpid(child.pid, os.WNOHANG)
        if pid:
            child.code = os.waitstatus_to_exitcode(status)
            assert child.code == 0, child.said[-500:]
            break
        if time.time() > following:
            fault, since = chance.choice(FAULTS), time.time()
            fault(child, lab)
            struck.append(fault.__name__)
            if child.code is not None and child.code != 0:
                attempts = len(events(lab.run, "training"))
                child = lab.train("--resume", lab.run.name)
                while len(events(lab.run, "training")) == attempts and time.time() - since < 300:
                    time.sleep(0.05)
                restarts.append(round(events(lab.run, "training")[-1]["time"] - since, 1))
            following = time.time() + every_s
        time.sleep(0.05)
    return {"faults": struck, "restarts_s": restarts, "seconds": round(time.time() - start, 1)}


def main(minutes: float, every_s: float) -> int:
    os.environ.update(ENVIRONMENT)
    for module in LOADED:
        importlib.import_module(module)
    labs = [Lab.open(), Lab.open(), Lab.open()]
    try:
        per_s = rate(labs[0])
        steps = max(100, int(per_s * minutes * 60 * 0.85))
        saved = max(10, int(per_s * SAVE_S))
        settings = [f"train.steps={steps}", f"train.save_every={saved}", f"train.evaluate_every={steps}", "train.log_rows=false"]
        patience_s = minutes * 60 * 10 + 600
        clean_s = alone(labs[1], settings, patience_s)
        found = soaked(labs[2], settings, every_s, random.Random(7), patience_s)
        same = equal(labs[2].run, labs[1].run)
    finally:
        for lab in labs:
            lab.close()
    slowest = sorted(found["restarts_s"])
    p95 = slowest[max(0, round(0.95 * len(slowest)) - 1)] if slowest else None
    values = {**found, "steps": steps, "clean_s": round(clean_s, 1), "effective": round(clean_s / found["seconds"], 3)}
    table = {**facts("make soak"), "minutes": minutes, "every_s": every_s, **values, "restart_p95_s": p95, "weights_equal": same}
    (RESULT.parent / "soak.json").write_text(json.dumps(table, indent=1) + "\n")
    print(json.dumps(table))
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), float(sys.argv[2])))
