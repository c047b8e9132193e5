"""The stream over 100 million rows of 64 tasks: L5 its shares and speed, L6 a restore at step 1,000,000."""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

import numpy as np
from benchmarks.load.measures import told

from trunkline.data.stream import Stream
from trunkline.sampling.base import Horizon
from trunkline.sampling.temperature import Temperature

ROWS, TASKS, STEPS, TOKENS = 100_000_000, 64, 10_000, 8_192
Row = dict[str, Any]


def flow() -> Stream:
    """The largest task has a hundred times the rows of the smallest; every row has 8 tokens."""
    ratios = np.geomspace(1, 100, TASKS)
    counts = (ratios / ratios.sum() * ROWS).astype(int)
    sizes = {f"task_{number:02d}": np.broadcast_to(np.int32(8), (int(count),)) for number, count in enumerate(counts)}
    rows = {name: len(size) for name, size in sizes.items()}
    sampler = Temperature(rows, Horizon(STEPS, TOKENS, dict.fromkeys(sizes, 8.0)), temperature=2.0)
    return Stream(sizes, sampler, seed=1, tokens_per_step=TOKENS, unit_limit=TOKENS)


def l5() -> Row:
    stream, drawn, since = flow(), 0, time.process_time()
    for step in range(1, STEPS + 1):
        drawn += len(stream.next_step(step))
    speed = drawn / (time.process_time() - since)
    account = stream.account()
    apart = {name: (account[f"drawn/rows/{name}"], account[f"drawn/planned/{name}"]) for name in stream.names}
    worst = max(abs(got / planned - 1) for got, planned in apart.values())
    moved = sum(abs(got - planned) for got, planned in apart.values()) / 2
    got = f"{100 * worst:.2f} % of its planned share for the task that is furthest off, {100 * moved:.2f} % of all rows; "
    got += f"{speed:,.0f} rows a CPU s"
    met = worst <= 0.01 and speed >= 200_000
    smallest = drawn * min(planned for _, planned in apart.values())
    note = f"Draws are independent: a task of {smallest:,.0f} rows is off by {100 / smallest**0.5:.2f} % on average"
    return told(got, met, "" if worst <= 0.01 else note, worst=worst, moved=moved, rows_per_cpu_s=round(speed), rows=drawn)


def l6() -> Row:
    """The state of step 1,000,000 is that of step 100 with its counters multiplied."""
    before, after = flow(), flow()
    for step in range(1, 101):
        before.next_step(step)
    state = json.loads(json.dumps(before.state()))
    late = {**state, "draws": state["draws"] * 10_000, "cursors": {name: 10_000 * at for name, at in state["cursors"].items()}}
    seconds = {name: restored(after, kept, step) for name, kept, step in (("early", state, 101), ("late", late, 1_000_001))}
    ratio = seconds["late"] / seconds["early"]
    got = f"{1000 * seconds['late']:.0f} CPU ms with the first step after it, {1000 * seconds['early']:.0f} at step 100"
    note = "The state of step 1,000,000 is that of step 100, its counters multiplied"
    return told(got, seconds["late"] <= 1 and ratio < 2, note, **seconds)


def restored(stream: Stream, state: dict[str, Any], step: int) -> float:
    """CPU seconds of a restore and the step after it."""
    times = []
    for _ in range(9):
        since = time.process_time()
        stream.load_state(state)
        stream.next_step(step)
        times.append(time.process_time() - since)
    return statistics.median(times)
