"""Runs the faults and writes the table: `make faults`."""

from __future__ import annotations

import datetime
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
RESULT = ROOT / "benchmarks" / "results" / "faults.json"
ENVIRONMENT = {
    "WANDB_MODE": "offline",
    "HF_HUB_OFFLINE": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "DS_ACCELERATOR": "cpu",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
}
LOADED = (
    "torch.distributed",
    "deepspeed",
    "deepspeed.utils",
    "trunkline.launch.worker",
    "trunkline.launch.local",
    "typer",
    "rich.console",
)


def stored() -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(RESULT.read_text())["rows"]
    except (OSError, ValueError, KeyError):
        return {}
    return found


def facts(command: str) -> dict[str, Any]:
    """How, when and where."""
    git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False)
    machine = f"{platform.machine()}, {len(os.sched_getaffinity(0))} CPU cores, load {os.getloadavg()[0]:.0f}"
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"schema_version": 1, "command": command, "date": now, "commit": git.stdout.strip(), "machine": machine}


def store(rows: dict[str, Any], not_run: dict[str, str]) -> None:
    """The whole table, after every row."""
    seconds = round(sum(row["seconds"] for row in rows.values()), 1)
    left = {name: why for name, why in not_run.items() if name not in rows}
    wrong = [name for name, row in rows.items() if row["wrong"]]
    whole = {**facts("make faults"), "seconds": seconds, "wrong": wrong, "rows": rows, "not_run": left}
    RESULT.write_text(json.dumps(whole, indent=1) + "\n")


def row(name: str, what: str, act: Any, clean: Path) -> dict[str, Any]:
    from faults.lab import Lab

    lab, start = Lab.open(clean), time.monotonic()
    try:
        found, fault = act(lab), None
        if found.weights_equal is False and name not in ("twin", "F20", "F30"):
            fault = "the weights differ from the clean run's"
        values = found._asdict()
    except (AssertionError, ValueError, OSError, KeyError, IndexError) as error:
        values, fault = {"outcome": "not as it must be"}, f"{type(error).__name__}: {error}"
    finally:
        lab.close()
    told = {name: value for name, value in facts("").items() if name in ("date", "commit", "machine")}
    return {"fault": what, **values, "wrong": fault, "seconds": round(time.monotonic() - start, 1), **told}


def main(words: list[str]) -> int:
    os.environ.update(ENVIRONMENT)
    for module in LOADED:
        importlib.import_module(module)
    from faults import ranks, rows
    from faults.lab import Lab

    wanted = [word for word in words if not word.startswith("-")]
    table = {**rows.ROWS, **ranks.ROWS}
    found = {name: value for name, value in stored().items() if name in table}
    base = Lab.open()
    try:
        rows.clean(base)
        for name, (what, act) in table.items():
            if (wanted and name not in wanted) or (name in found and not found[name]["wrong"] and "--again" not in words):
                continue
            found[name] = row(name, what, act, base.run)
            store(found, ranks.NOT_RUN)
            print(f"{name:8} {found[name]['seconds']:6.1f} s  {found[name]['wrong'] or found[name]['outcome']}", flush=True)
    finally:
        base.close()
        if "lab" in ranks.PAIR:
            ranks.PAIR["lab"].close()
    wrong = [name for name, value in found.items() if value["wrong"]]
    print(f"{len(found)} faults, {len(wrong)} not as they must be {wrong or ''}; {len(ranks.NOT_RUN)} rows not run")
    return min(len(wrong), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
