"""What a step costs when a part of the model is not trained, on two ranks at every ZeRO stage (Show 6 of extending).

    python -m benchmarks.freezing --rounds 5 --to benchmarks/results/freezing.json

A small world of eight tasks (benchmarks/weighting.py). In every round each cell takes one step on the same packs; its figure is
the CPU time of its forward, backward and step, of both ranks together, over that of the full model in the same round: medians and
the range over rounds. A ratio says something, the seconds nothing. After its rounds what was frozen is compared bit for bit.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.multiprocessing
from benchmarks.extend import PAGE, written
from benchmarks.quality.cells import circumstances
from benchmarks.weighting import LABELS, TASKS, VOCAB, _adamw, world

from trunkline.data.dealing import build_step
from trunkline.losses.classification import CrossEntropy
from trunkline.models.heads.classification import Classification
from trunkline.models.lora import Adapters, LoRA
from trunkline.models.multitask import MultiTask, owner
from trunkline.models.transformer import Transformer
from trunkline.registry import WEIGHTINGS
from trunkline.training.engine import Engine
from trunkline.training.freezing import Freezing, Rule
from trunkline.training.objective import Objective
from trunkline.training.optim import parameter_groups
from trunkline.training.step import run_step

WIDTH, LAYERS, TOKENS, RANKS = 128, 4, 2048, 2
# cell -> the modules that are frozen, and whether every task has a LoRA
CELLS: dict[str, tuple[list[str], bool]] = {
    "full": ([], False),
    "embeddings and layers 0-1 frozen": (["embeddings", "layers.0-1"], False),
    "heads": (["trunk"], False),
    "lora": (["trunk"], True),
}


def made(cell: str, stage: int) -> tuple[Engine, MultiTask, dict[str, torch.Tensor]]:
    """The engine, its model, and what is frozen in it as it was."""
    frozen, lora = CELLS[cell]
    torch.manual_seed(0)
    trunk = Transformer(VOCAB, 0, 64, hidden_size=WIDTH, layers=LAYERS, heads=WIDTH // 32, dropout=0.0)
    heads = {task: Classification(WIDTH, LABELS, dropout=0.0) for task in TASKS}
    net = MultiTask(trunk, heads, Adapters(trunk.adaptable, dict.fromkeys(TASKS, LoRA())) if lora else None)
    held = Freezing(net, [Rule(modules) for modules in frozen], 100).at(1)
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters() if name in held}
    Freezing.hold(net, held)
    groups = parameter_groups(net, owner, trunk.embeddings, lr=1e-3, head_lr=1e-3)
    return Engine(Objective(net, {task: CrossEntropy() for task in TASKS}), net, groups, _adamw, zero_stage=stage), net, before


def on_rank(rank: int, port: int, rounds: int, folder: str) -> None:
    """One rank: CPU seconds of every cell's steps by stage into the folder."""
    os.environ |= {"LOCAL_RANK": str(rank), "DS_ACCELERATOR": "cpu"}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=RANKS)
    _, tables, stream = world(32, 1, TOKENS)
    steps = [
        build_step(number + 1, stream.next_step(number + 1), tables, seed=0, rank=rank, world=RANKS, tokens_per_pass=TOKENS)
        for number in range(rounds + 1)
    ]
    found: dict[str, Any] = {"seconds": {}, "kept": {}}
    weighting = WEIGHTINGS.get("static")(TASKS, [1.0] * len(TASKS))
    for stage in range(4):
        for cell in CELLS:
            engine, _, before = made(cell, stage)
            seconds = []
            for packs in steps:
                torch.distributed.barrier()
                start = time.process_time()
                run_step(engine, packs, weighting, seed=0)
                seconds.append(time.process_time() - start)
            after = engine.named_state()
            same = all(torch.equal(after[name]["param"], value) for name, value in before.items())
            found["seconds"][f"{stage} {cell}"], found["kept"][f"{stage} {cell}"] = seconds[1:], same
            engine.close()
    Path(folder, f"{rank}.json").write_text(json.dumps(found))


def table(found: dict[str, Any]) -> str:
    """As Markdown: a row a cell, a column a ZeRO stage."""
    lines = ["| trained | " + " | ".join(f"ZeRO {stage}" for stage in range(4)) + " |", "|---|" + "---:|" * 4]
    for cell in CELLS:
        rows = [row for row in found["rows"] if row["cell"] == cell]
        figures = [f"{row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f})" for row in rows]
        lines.append(f"| {cell} | {' | '.join(figures)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--port", type=int, default=29581)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--write", action="store_true", help="the table into docs/extend.md")
    given = parser.parse_args()
    began = circumstances()
    folder = given.to.parent / ".freezing"
    folder.mkdir(parents=True, exist_ok=True)
    torch.multiprocessing.spawn(on_rank, (given.port, given.rounds, str(folder)), nprocs=RANKS)
    parts = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(RANKS)]
    rows = []
    for stage in range(4):
        whole = np.sum([part["seconds"][f"{stage} full"] for part in parts], axis=0)
        for cell in CELLS:
            own = np.sum([part["seconds"][f"{stage} {cell}"] for part in parts], axis=0) / whole
            kept = all(part["kept"][f"{stage} {cell}"] for part in parts)
            figures = {"ratio": float(np.median(own)), "low": float(own.min()), "high": float(own.max())}
            rows.append({"zero_stage": stage, "cell": cell, **figures, "frozen_bit_equal": kept})
            print(f"{stage}  {cell:34} {figures['ratio']:.3f}  ({figures['low']:.3f} to {figures['high']:.3f})  {kept}")
    setting = {"ranks": RANKS, "width": WIDTH, "layers": LAYERS, "tokens": TOKENS, "tasks": len(TASKS), "rounds": given.rounds}
    command = f"python -m benchmarks.freezing --rounds {given.rounds} --to benchmarks/results/freezing.json"
    document = {"schema_version": 1, "command": command, **began, "setting": setting, "rows": rows}
    given.to.write_text(json.dumps(document, indent=1) + "\n")
    if given.write:
        PAGE.write_text(written(PAGE.read_text(), "freezing", table(document)))
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


if __name__ == "__main__":
    main()
