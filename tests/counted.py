"""What one optimizer step of the small world of `laws` costs, in things that can be counted on any machine.

`PYTHONPATH=platform:tests python tests/counted.py` writes tests/training/counts.json anew: look at what changed before that.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import laws
from trunkline.batch import Batch
from trunkline.data import packing
from trunkline.data.dealing import build_step
from trunkline.data.packing import Table
from trunkline.data.stream import Stream
from trunkline.losses.classification import CrossEntropy
from trunkline.models import attention
from trunkline.models.heads.classification import Classification
from trunkline.models.multitask import MultiTask, owner
from trunkline.registry import OPTIMIZERS, WEIGHTINGS
from trunkline.sampling.base import Horizon
from trunkline.sampling.uniform import Uniform
from trunkline.training.engine import Engine
from trunkline.training.objective import Objective
from trunkline.training.optim import parameter_groups
from trunkline.training.step import run_step

STORED = Path(__file__).parent / "training" / "counts.json"
PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "linear"}
COPIES = {
    "copy_",
    "_to_copy",
    "clone",
    "cat",
    "index_select",
    "index",
    "gather",
    "contiguous",
    "index_copy_",
    "index_put_",
    "slice_backward",
}
READS = {"_local_scalar_dense", "equal", "nonzero"}
# Name -> what its step has. Two ranks each; the last block's probe under upgrad. Of twenty tasks most have no row in a pack.
CASES: dict[str, dict[str, Any]] = {
    "one micro-batch": {"tokens_per_pass": 240},
    "two micro-batches": {"tokens_per_pass": 80},
    "stage 2": {"tokens_per_pass": 240, "stage": 2},
    "upgrad": {"tokens_per_pass": 240, "weighting": "upgrad"},
    "gru": {"tokens_per_pass": 240, "kind": "gru"},
    "twenty tasks": {"tokens_per_pass": 240, "tasks": 20},
}


class Counting(TorchDispatchMode):
    """Counts operators, matrix products, tensors that are written anew from others and their bytes, reads by the host."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        self.found["operators"] += 1
        self.found["collectives"] += func.namespace == "c10d"
        self.found["matrix products"] += name in PRODUCTS
        self.found["host reads"] += name in READS
        if name in COPIES and isinstance(result, Tensor):
            self.found["copied bytes"] += result.nbytes
        return result


@contextmanager
def read_by_host(found: Counter[str]) -> Iterator[None]:
    """Counts `tolist`, `numpy` and `cpu` too, which on a CPU are no operators."""

    def counting(plain: Any) -> Any:
        def read(tensor: Tensor, *given: Any, **more: Any) -> Any:
            found["host reads"] += 1
            return plain(tensor, *given, **more)

        return read

    names = ("tolist", "numpy", "cpu")
    patches = [patch.object(torch.Tensor, name, counting(getattr(torch.Tensor, name))) for name in names]
    for one in patches:
        one.start()
    try:
        yield
    finally:
        for one in patches:
            one.stop()


@contextmanager
def padded(found: Counter[str]) -> Iterator[None]:
    """Counts the slots of attention that hold no token."""
    plain = attention._grouped

    def grouped(lengths: Any, sight: Any) -> attention.Plan:
        plan = plain(lengths, sight)
        found["tokens of padding"] += sum(rows * longest for rows, longest in (group.shape for group in plan.groups))
        found["tokens of padding"] -= int(lengths.sum())
        return plan

    with patch.object(attention, "_grouped", grouped):
        yield


World = tuple[MultiTask, dict[str, torch.nn.Module], dict[str, Table], Stream]


def small(kind: str) -> World:
    return laws.model(kind=kind), laws.losses(), laws.tables(), laws.stream()


def crowd(tasks: int) -> World:
    """As many tasks of one kind; a step has about ten rows."""
    table, names = laws.tables()["topic"], [f"task_{number}" for number in range(tasks)]
    net = MultiTask(laws.model().trunk, {name: Classification(laws.WIDTH, 3, pooling="mean") for name in names})
    sizes = dict.fromkeys(names, table.rows.tokens.lengths)
    sampler = Uniform(dict.fromkeys(names, laws.ROWS), Horizon(6, 120, dict.fromkeys(names, 11.0)))
    flow = Stream(sizes, sampler, seed=3, tokens_per_step=120, unit_limit=120)
    return net, {name: CrossEntropy() for name in names}, dict.fromkeys(names, table), flow


def step(
    *, tokens_per_pass: int, stage: int = 0, weighting: str = "static", kind: str = "", tasks: int = 0, fault: str = ""
) -> dict[str, int]:
    """The counts of this rank's second step: packing, forward, backward, optimizer."""
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    net, losses, tables, flow = crowd(tasks) if tasks else small(kind)
    objective = (Reading if fault == "a read a task" else Objective)(net, losses)
    groups = parameter_groups(net, owner, net.trunk.embeddings, lr=1e-2, head_lr=2e-2)
    engine = Engine(objective, net, groups, lambda given: OPTIMIZERS.get("adamw")(given, weight_decay=0.1), zero_stage=stage)
    weights = [1.0] * tasks or laws.WEIGHTS
    mixer, mode = WEIGHTINGS.get(weighting)(tuple(tables), weights, **laws.WEIGHTING_SETTINGS[weighting]), Counting()
    for number in (1, 2):
        mode.found.clear()
        with planted(fault), padded(mode.found), read_by_host(mode.found), mode:
            packs = build_step(
                number, flow.next_step(number), tables, seed=0, rank=rank, world=world, tokens_per_pass=tokens_per_pass
            )
            run_step(engine, packs, mixer, seed=9)
        mode.found["tokens read"] = sum(batch.num_tokens for batch in packs)
    engine.close()
    return {name: mode.found[name] for name in sorted({*mode.found, "tokens of padding"})}


@contextmanager
def planted(fault: str) -> Iterator[None]:
    """A slow-down: of attention, of packing, of the heads' slices."""
    patches = {
        "rows of any length in one call": patch.object(attention, "SPREAD", 0.0),
        "a place for each dummy row": patch.object(packing._Builder, "dummy", _laid_apart),
        "a slice for each head": patch.object(Batch, "states", _sliced),
    }
    with patches.get(fault, nullcontext()):
        yield


def _sliced(batch: Batch, hidden: Tensor) -> dict[str, Tensor]:
    return {task: hidden[part.tokens] for task, part in batch.tasks.items()}


def _laid_apart(builder: Any, name: str, table: Table) -> None:
    builder.fillers.clear()
    DUMMY(builder, name, table)


DUMMY = packing._Builder.dummy


class Reading(Objective):
    """Brings every task's loss to the host by itself."""

    def _sum(self, number: int, outputs: Tensor, batch: Any) -> Tensor:
        found = super()._sum(number, outputs, batch)
        found.item()
        return found


def main() -> None:
    from ranks import Ranks

    ranks = Ranks(2)
    found = {name: ranks(step, **case)[0] for name, case in CASES.items()}
    ranks.close()
    STORED.write_text(json.dumps({"torch": torch.__version__.partition("+")[0], "steps": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
