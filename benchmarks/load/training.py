"""Training: L4 memory of 32 tasks on two ranks, L18 the same losses five times."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.load.measures import told
from benchmarks.load.table import RESULTS

TASKS, STEPS, WARM, EVERY = 32, 2000, 500, 25
Row = dict[str, Any]


def l4(steps: int = STEPS) -> Row:
    from ranks import Ranks

    ranks = Ranks(2)
    found = ranks(growth, steps, timeout_s=1500)
    ranks.close()
    slopes = [slope(own["steps"], own["mb"]) for own in found]
    finite = all(own["finite"] for own in found)
    got = f"{max(slopes):.2f} MB per 1,000 steps after the first {WARM}; losses {'finite' if finite else 'not finite'}"
    note = "" if steps == STEPS else f"{steps:,} steps instead of {STEPS:,}"
    return told(got, max(slopes) < 1 and finite, note, slopes=slopes, ranks=found)


def slope(steps: list[int], megabytes: list[float]) -> float:
    """MB per 1,000 steps, by least squares over what came after the warm-up."""
    late = np.array(steps) > WARM
    return float(1000 * np.polyfit(np.array(steps)[late], np.array(megabytes)[late], 1)[0])


def growth(steps: int) -> Row:
    """On every rank: resident memory as training goes on."""
    import torch

    import counted
    from trunkline.data.dealing import build_step
    from trunkline.models.multitask import owner
    from trunkline.registry import OPTIMIZERS, WEIGHTINGS
    from trunkline.training.engine import Engine
    from trunkline.training.objective import Objective
    from trunkline.training.optim import parameter_groups
    from trunkline.training.step import run_step

    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    net, losses, tables, flow = counted.crowd(TASKS)
    groups = parameter_groups(net, owner, net.trunk.embeddings, lr=1e-3, head_lr=2e-3)
    engine = Engine(Objective(net, losses), net, groups, OPTIMIZERS.get("adamw"), clip=1.0)
    mixer = WEIGHTINGS.get("uncertainty")(tuple(tables), [1.0] * TASKS)
    found: Row = {"steps": [], "mb": [], "finite": True}
    since = time.process_time()
    for number in range(1, steps + 1):
        packs = build_step(number, flow.next_step(number), tables, seed=0, rank=rank, world=world, tokens_per_pass=240)
        observed = run_step(engine, packs, mixer, seed=9)
        found["finite"] &= bool(observed.losses.isfinite().all())
        if number % EVERY == 0:
            found["steps"].append(number)
            found["mb"].append(round(resident_mb(), 2))
    return {**found, "cpu_s": round(time.process_time() - since, 1)}


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def l18() -> Row:
    import torch

    import laws

    torch.set_num_threads(1)
    os.environ |= {"LOCAL_RANK": "0", "DS_ACCELERATOR": "cpu"}
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    runs = [laws.train(100, dropout=0.1).losses for _ in range(5)]
    exact = [[[value.hex() for value in step] for step in losses] for losses in runs]
    repeats = all(losses == exact[0] for losses in exact)
    kept = RESULTS / "L18.json"
    before = json.loads(kept.read_text())["values"] if kept.is_file() else None
    comparable = before is not None and before["torch"] == torch.__version__
    golden = exact[0] == before["losses"] if before is not None and comparable else None
    told_of = {None: "none were kept yet", True: "equal to those kept", False: "other than those kept"}[golden]
    assert all(math.isfinite(value) for step in runs[0] for value in step)
    got = f"5 runs {'equal' if repeats else 'differ'} in all {sum(map(len, runs[0]))} losses of 5 tasks; {told_of}"
    return told(got, repeats and golden is not False, losses=exact[0], torch=torch.__version__)
