"""Run folders as training leaves them, of as many tasks, steps and resumes as a test of the report wants."""

from __future__ import annotations

import itertools
import json
import math
import zlib
from pathlib import Path

HOSTILE = "<script>alert(1)</script>\" onload='x' & {{ 7 * 7 }}"


def cosines(tasks: list[str]) -> dict[str, float]:
    """Of every two tasks' gradients, by their names; the first two pull apart most."""
    pairs = [*itertools.combinations(tasks, 2)]
    found = {pair: zlib.crc32("/".join(pair).encode()) % 1000 / 2500 - 0.1 for pair in pairs}
    return {f"grad/cosine/{one}/{other}": value for (one, other), value in {**found, **dict.fromkeys(pairs[:1], -0.2)}.items()}


def run(folder: Path, tasks: list[str], steps: int = 40, finished: bool = True, resumes: int = 1) -> Path:
    """A run folder as training leaves it."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"started": "2026-01-01"}))
    with (folder / "metrics.jsonl").open("w") as file:
        for step in range(1, steps + 1):
            record = {"step": step, "time": float(step), "system/tokens_per_s": 900.0 + step, "train/lr": 1e-3}
            for number, task in enumerate(tasks):
                record |= {f"train/{task}/loss": math.exp(-4 * step / steps) + 0.2 * number, f"weight/{task}": 1.0 + number}
                record |= {f"drawn/rows/{task}": 1 / len(tasks) + 0.01 * (step % 3), f"drawn/planned/{task}": 1 / len(tasks)}
                record |= {f"eval/{task}/accuracy": step / steps / 2} if step % 10 == 0 else {}
            record |= cosines(tasks) if step % 10 == 0 else {}
            file.write(json.dumps(record) + "\n")
    events: list[dict[str, object]] = []
    for number in range(resumes + 1):
        started = {"time": 100.0 * number, "event": "training", "resumed": number > 0, "steps": steps}
        events += [started, {"time": 100.0 * number + 30 + 60 * (number > 0), "event": "checkpoint"}]
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    if finished:
        rows = [
            {
                "task": task,
                "kind": "classification",
                "rows": 9,
                "metric": "accuracy",
                "baseline": 0.4,
                "value": 0.5 - 0.2 * (n == 1),
            }
            for n, task in enumerate(tasks)
        ]
        rows = [{**row, "learned": row["value"] > row["baseline"], "metrics": {}} for row in rows]
        (folder / "result.json").write_text(json.dumps({"tasks": rows, "delta_m": {"percent": 1.2, "low": 0.1, "high": 2.3}}))
    return folder


def extended(folder: Path, base: Path, old: list[str], new: str) -> Path:
    """A run that added a task to another's model: its own curves, and what it changed for the old tasks."""
    run(folder, [new, old[0]], steps=120)
    changes = [{"task": task, "change": (zlib.crc32(f"{new}/{task}".encode()) % 400 - 250) / 100} for task in old]
    (folder / "report.json").write_text(json.dumps({"old": changes, "from": str(base)}))
    return folder
