"""What a weighting costs: step time against static, 8 tasks, beside a backward per task (R12, R13, R14 of performance.md).

    python -m benchmarks.weighting --rounds 40 --to benchmarks/results/weighting.json      # and the table in docs/mixing.md

One process, one engine, the same packs: in every round each weighting takes one step, in an order that is turned by one from
round to round. Ratios are of a step to the static one of its round; medians with a bootstrap interval. Time is the process's CPU
time on one thread, which other work on the machine disturbs least; a ratio says something, the seconds nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.quality.cells import circumstances

from trunkline.data.dealing import Step, build_step
from trunkline.data.packing import Table, rows_of
from trunkline.data.rows import Rows
from trunkline.data.stream import Stream
from trunkline.losses.classification import CrossEntropy
from trunkline.models.heads.classification import Classification
from trunkline.models.multitask import MultiTask, owner
from trunkline.models.transformer import Transformer
from trunkline.registry import WEIGHTINGS
from trunkline.sampling.base import Horizon
from trunkline.sampling.uniform import Uniform
from trunkline.training.engine import Engine
from trunkline.training.objective import Objective, factors
from trunkline.training.optim import parameter_groups
from trunkline.training.step import run_step

ROOT = Path(__file__).parents[1]
MUST = {"R12": 1.02, "R13": 1.10, "R14": 1.7}  # performance.md
TASKS = tuple(f"task_{number}" for number in range(8))
VOCAB, LABELS, ROWS = 2000, 5, 400
# name -> which figure of performance.md it belongs to, the weighting, its settings
CELLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "uncertainty": ("R12", "uncertainty", {}),
    "dwa": ("R12", "dwa", {"window": 1}),
    "rlw": ("R12", "rlw", {}),
    "famo": ("R12", "famo", {}),
    "upgrad lagged": ("R13", "upgrad", {}),
    "mgda lagged": ("R13", "mgda", {}),
    "upgrad exact": ("R14", "upgrad", {"exact": True}),
    "mgda exact": ("R14", "mgda", {"exact": True}),
}
NAIVE = "a backward per task"


def collate(rows: Rows, keys: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    del keys
    return rows.tokens.values, {name: np.asarray(value) for name, value in rows.targets.items()}


def world(width: int, layers: int, tokens: int) -> tuple[Engine, dict[str, Table], Stream]:
    """Eight classification tasks over texts of 8 to 64 tokens."""
    rng = np.random.default_rng(0)
    tables = {}
    for task in TASKS:
        texts = [rng.integers(5, VOCAB, rng.integers(8, 64)).tolist() for _ in range(ROWS)]
        rows = rows_of(texts, labels=rng.integers(0, LABELS, ROWS))
        tables[task] = Table(rows, collate, rows.take(np.array([0])))
    torch.manual_seed(0)
    trunk = Transformer(VOCAB, 0, 64, hidden_size=width, layers=layers, heads=width // 32, dropout=0.0)
    net = MultiTask(trunk, {task: Classification(width, LABELS, dropout=0.0) for task in TASKS})
    objective = Objective(net, {task: CrossEntropy() for task in TASKS})
    groups = parameter_groups(net, owner, trunk.embeddings, lr=1e-4, head_lr=1e-4)
    engine = Engine(objective, net, groups, _adamw)
    sizes = {task: table.rows.tokens.lengths for task, table in tables.items()}
    horizon = Horizon(1000, tokens, {task: float(size.mean()) for task, size in sizes.items()})
    stream = Stream(sizes, Uniform(dict.fromkeys(TASKS, ROWS), horizon), seed=0, tokens_per_step=tokens, unit_limit=tokens)
    return engine, tables, stream


def _adamw(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=1e-4, fused=True)


def naive(engine: Engine, packs: Step, weighting: Any) -> None:
    """A backward through the whole trunk for each task, the Gram matrix of their gradients, and the step with what it decides."""
    (batch,) = packs.batches
    scale = factors(torch.ones(len(TASKS)), packs.counts)
    inner: list[torch.Tensor] = []
    engine.module.inner = inner  # the scalar under the engine's own, whose backward is the engine's alone
    scalar, sums = engine.forward(batch, scale, last=True)
    engine.module.inner = None
    weights = list(engine.module.trunk.parameters())
    whole, rows = scale.clone(), []
    for task in range(len(TASKS)):
        scale.zero_()[task] = whole[task]
        slopes = torch.autograd.grad(inner[0], weights, retain_graph=True, allow_unused=True)
        rows.append(torch.cat([slope.flatten() for slope in slopes if slope is not None]))
    stack = torch.stack(rows)
    counts = torch.tensor(list(packs.counts.values()), dtype=torch.float64)
    weighting.see((stack @ stack.T).double())
    weighting.observe(sums.double() / counts.clamp(min=1), counts > 0)
    scale.copy_(factors(weighting.coefficients(), packs.counts))
    engine.backward(scalar)
    engine.step()


class Timed:
    """The CPU seconds that a weighting's own methods took, since they were last read."""

    def __init__(self, weighting: Any) -> None:
        self.seconds = 0.0
        for name in ("coefficients", "see", "observe"):
            setattr(weighting, name, self._timed(getattr(weighting, name)))

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any) -> Any:
            start = time.process_time()
            found = method(*given)
            self.seconds += time.process_time() - start
            return found

        return timed

    def read(self) -> float:
        seconds, self.seconds = self.seconds, 0.0
        return seconds


def measure(rounds: int, width: int, layers: int, tokens: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """CPU seconds of a step, per cell and round, and of its weighting's own work; two rounds of warm-up are left out."""
    engine, tables, stream = world(width, layers, tokens)
    weightings = {name: WEIGHTINGS.get(kind)(TASKS, [1.0] * len(TASKS), **given) for name, (_, kind, given) in CELLS.items()}
    weightings |= {"static": WEIGHTINGS.get("static")(TASKS, [1.0] * len(TASKS))}
    cells: dict[str, Callable[[Step], object]] = {
        name: lambda packs, weighting=weighting: run_step(engine, packs, weighting, seed=0)
        for name, weighting in weightings.items()
    }
    other = WEIGHTINGS.get("upgrad")(TASKS, [1.0] * len(TASKS))
    cells[NAIVE] = lambda packs: naive(engine, packs, other)
    clocks = {name: Timed(weighting) for name, weighting in {**weightings, NAIVE: other}.items()}
    found: dict[str, list[float]] = {name: [] for name in cells}
    own: dict[str, list[float]] = {name: [] for name in cells}
    for number in range(rounds + 2):
        packs = build_step(number + 1, stream.next_step(number + 1), tables, seed=0, rank=0, world=1, tokens_per_pass=tokens)
        names = list(cells)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            start = time.process_time()
            cells[name](packs)
            taken, mine = time.process_time() - start, clocks[name].read()
            if number >= 2:
                found[name].append(taken)
                own[name].append(mine)
    return found, own


def ratios(found: dict[str, list[float]], own: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Each cell's steps over the static ones of the same rounds: median and 95 % bootstrap interval. own: of the weighting."""
    static, rng, rows = np.array(found["static"]), np.random.default_rng(0), []
    for name, seconds in found.items():
        if name == "static":
            continue
        each = np.array(seconds) / static
        again = np.median(each[rng.integers(0, len(each), (2000, len(each)))], 1)
        low, high = np.quantile(again, [0.025, 0.975])
        figure = CELLS[name][0] if name in CELLS else "R14, beside"
        numbers = {"ratio": np.median(each), "low": low, "high": high, "own": np.median(np.array(own[name]) / static)}
        rows.append({"cell": name, "figure": figure, **{key: round(float(value), 4) for key, value in numbers.items()}})
    return rows


def markdown(found: dict[str, Any]) -> str:
    """The table as people read it."""
    lines = ["| weighting | step time, static = 1 | 95 % | its own work | must | |", "|---|---:|---|---:|---:|---|"]
    for row in found["ratios"]:
        must = MUST.get(row["figure"])
        cells = [row["cell"], f"{row['ratio']:.3f}", f"{row['low']:.3f} to {row['high']:.3f}", f"{row['own']:.4f}"]
        verdict = "" if must is None else "holds" if row["ratio"] <= must else "missed"
        lines.append("| " + " | ".join([*cells, "" if must is None else f"{must:g}", verdict]) + " |")
    return "\n".join(lines)


def written(page: str, found: dict[str, Any]) -> str:
    """The page with the table made anew, between its two markers."""
    start, end = "<!-- weighting:start -->\n", "\n<!-- weighting:end -->"
    before, rest = page.split(start)
    return before + start + markdown(found) + end + rest.split(end)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--to", type=Path, default=None)
    given = parser.parse_args()
    torch.set_num_threads(1)
    os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed asks for it
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    rows = ratios(*measure(given.rounds, given.width, given.layers, given.tokens))
    for row in rows:
        print(
            f"{row['figure']:12} {row['cell']:20} {row['ratio']:.3f}  ({row['low']:.3f} to {row['high']:.3f})  {row['own']:.4f}"
        )
    if given.to is not None:
        setting = {
            "tasks": len(TASKS),
            "rounds": given.rounds,
            "width": given.width,
            "layers": given.layers,
            "tokens": given.tokens,
        }
        setting |= {"threads": 1, "time": "CPU time of the process"}
        command = f"python -m benchmarks.weighting --rounds {given.rounds} --to benchmarks/results/weighting.json"
        whole = {"schema_version": 1, "command": command, **circumstances(), "setting": setting, "ratios": rows}
        given.to.write_text(json.dumps(whole, indent=1) + "\n")
        page = ROOT / "docs" / "mixing.md"
        page.write_text(written(page.read_text(encoding="utf-8"), whole), encoding="utf-8")


if __name__ == "__main__":
    main()
