"""L10: Weights & Biases offline, 50 figures a row, what a row costs a step, and every row read back."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from benchmarks.load.measures import told
from benchmarks.speed.ours import Ours
from benchmarks.speed.work import WORKS, work

from trunkline.monitor.wandb import Wandb

WANTED, ROWS, KEYS = 100_000, 20_000, 50
Row = dict[str, Any]


def step_seconds() -> float:
    """CPU seconds of a step of 128 rows of W1 through a BERT of 4 layers of width 256, the fastest of three."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    ours, times = Ours(work(WORKS["W1"], steps=2, rows=128)), []
    for _ in range(4):
        since = time.process_time()
        ours.step()
        times.append(time.process_time() - since)
    return min(times[1:])


def l10() -> Row:
    step = step_seconds()
    with tempfile.TemporaryDirectory() as folder:
        run = Wandb("load", "offline", folder=folder, run_id="load")
        values = {f"train/task_{number:02d}/loss": 1.0 / (number + 1) for number in range(KEYS)}
        since = time.process_time()
        for number in range(ROWS):
            run.log(number, values)
        row = (time.process_time() - since) / ROWS
        run.close()
        read = readable(next(Path(folder).glob("wandb/offline-run-*/run-*.wandb")))
    share = row / step
    got = f"{1e6 * row:.0f} CPU us a row, {100 * share:.2f} % of a step of {step:.2f} CPU s if every step logs; "
    got += f"{read:,} of {ROWS:,} rows read"
    note = f"{ROWS:,} rows instead of {WANTED:,}; train.log_every is 10"
    return told(got, share <= 0.02 and read == ROWS, note, row_s=row, step_s=step, share=share, rows=ROWS, read=read)


def readable(log: Path) -> int:
    """How many rows of the log have all their keys."""
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(log)]
    found = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reading:
        assert reading.stdout is not None
        for line in reading.stdout:
            if '"history"' in line[:200] or '"history"' in line[-200:]:
                item = json.loads(line)
                found += (
                    item["type"] == "history" and sum(name.startswith("train/task_") for name in item["history"]["item"]) == KEYS
                )
    return found
