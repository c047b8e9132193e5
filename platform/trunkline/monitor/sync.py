"""Runs that W&B recorded offline, sent to it later."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from trunkline.monitor.redact import redacted

TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Offline:
    """A run's record on disk. sent: it was sent before."""

    run_id: str
    path: Path
    sent: bool


def offline_runs(outputs: Path) -> list[Offline]:
    """Every offline record below the run folders in `outputs`, oldest first. A run that was resumed has several."""
    found = []
    for path in sorted(outputs.glob("*/wandb/offline-run-*")):
        for record in path.glob("run-*.wandb"):
            sent = record.with_name(f"{record.name}.synced").is_file()
            found.append(Offline(path.parents[1].name, path, sent))
    return found


def send(run: Offline, timeout_s: float = TIMEOUT_S) -> str | None:
    """Sends one record by `wandb sync`. None, or in a line why it could not be."""
    program = str(Path(sys.executable).with_name("wandb"))
    try:
        done = subprocess.run([program, "sync", str(run.path)], capture_output=True, text=True, timeout=timeout_s, check=False)
    except FileNotFoundError:
        return "the program wandb is not installed. Run: pip install wandb"
    except subprocess.TimeoutExpired:
        return f"no answer in {timeout_s:.0f} s"
    if done.returncode == 0:
        return None
    return str(redacted(" ".join((done.stderr or done.stdout).split())[-300:])) or f"exit code {done.returncode}"
