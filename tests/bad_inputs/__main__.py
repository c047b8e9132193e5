"""Runs all of them and writes the table: `make bad-inputs`."""

from __future__ import annotations

import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bad_inputs.project import Case, Project
from bad_inputs.table import CASES, trained_once

ROOT = Path(__file__).parent.parent.parent
RESULT = ROOT / "benchmarks" / "results" / "bad-inputs.json"


def judged(case: Case, folder: Path) -> dict[str, Any]:
    """One row of the table."""
    project = Project(folder, trained_once)
    outcome = case.act(project)
    faults = case.faults(outcome, project)
    said = " ".join(outcome.said.split()).replace(str(folder), "PROJECT")
    facts = {"row": case.row, "input": case.what, "exit_code": outcome.code, "said": said[:300], "faults": faults}
    return {**facts, "seconds": round(outcome.seconds, 2)}


def main(wanted: set[int]) -> int:
    os.environ |= {"WANDB_MODE": "offline", "HF_HUB_OFFLINE": "1", "RAY_USAGE_STATS_ENABLED": "0", "DS_ACCELERATOR": "cpu"}
    base = Path(tempfile.mkdtemp(prefix="bad", dir="/tmp"))
    os.environ["HOME"] = str(base)  # what lies in the user's own is none of this
    found = []
    for number, case in enumerate(CASES):
        if wanted and case.row not in wanted:
            continue
        row = judged(case, base / f"p{number}")
        found.append(row)
        verdict = "; ".join(row["faults"]) or "ok"
        print(f"{case.row:3} {row['seconds']:6.1f} s  {row['exit_code']:3}  {verdict:30}  {case.what}", flush=True)
        if row["faults"]:
            print(f"      {row['said'][-600:]}", flush=True)
    shutil.rmtree(base)
    wrong = sum(bool(row["faults"]) for row in found)
    rows = {row["row"] for row in found}
    print(f"{len(found)} inputs in {len(rows)} of 64 rows, {wrong} not as they must be")
    if not wanted:
        RESULT.write_text(json.dumps({**facts(), "rows": len(rows), "wrong": wrong, "inputs": found}, indent=1) + "\n")
    return min(wrong, 1)


def facts() -> dict[str, Any]:
    """Where and when."""
    git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    machine = f"{platform.machine()}, {len(os.sched_getaffinity(0))} CPU cores"
    return {"schema_version": 1, "command": "make bad-inputs", "date": now, "commit": git.stdout.strip(), "machine": machine}


if __name__ == "__main__":
    sys.exit(main({int(word) for word in sys.argv[1:]}))
