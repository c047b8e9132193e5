"""What one optimizer step of the small world of `laws` costs, in things that can be counted on any machine.

`PYTHONPATH=platform:tests python tests/counted.py` writes tests/training/counts.json anew: look at what changed before that.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import laws
from trunkline.data.dealing import build_step
from trunkline.models import attention
from trunkline.models.multitask import owner
from trunkline.registry import OPTIMIZERS, WEIGHTINGS
from trunkline.training.engine import Engine
from trunkline.training.objective import Objective
from trunkline.training.optim import parameter_groups
from trunkline.training.step import run_step

STORED = Path(__file__).parent / "training" / "counts.json"
PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "linear"}
COPIES = {"copy_", "_to_copy", "clone", "cat", "index_select", "index", "gather", "contiguous", "index_copy_", "index_put_"}
READS = {"_local_scalar_dense", "equal", "nonzero"}
# Name -> what its step has. Two ranks each; the last block's probe under upgrad.
CASES: dict[str, dict[str, Any]] = {
    "one micro-batch": {"tokens_per_pass": 240},
    "two micro-batches": {"tokens_per_pass": 80},
    "stage 2": {"tokens_per_pass": 240, "stage": 2},
    "upgrad": {"tokens_per_pass": 240, "weighting": "upgrad"},
    "gru": {"tokens_per_pass": 240, "kind": "gru"},
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


def step(*, tokens_per_pass: int, stage: int = 0, weighting: str = "static", kind: str = "", fault: str = "") -> dict[str, int]:
    """The counts of this rank's second step: packing, forward, backward, optimizer."""
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    net = laws.model(kind=kind)
    objective = Reading(net, laws.losses()) if fault == "a read a task" else Objective(net, laws.losses())
    groups = parameter_groups(net, owner, net.trunk.embeddings, lr=1e-2, head_lr=2e-2)
    engine = Engine(objective, net, groups, lambda given: OPTIMIZERS.get("adamw")(given, weight_decay=0.1), zero_stage=stage)
    mixer = WEIGHTINGS.get(weighting)(laws.TASKS, laws.WEIGHTS, **laws.WEIGHTING_SETTINGS[weighting])
    flow, tables, mode = laws.stream(), laws.tables(), Counting()
    spread = patch.object(attention, "SPREAD", 0.0 if fault == "rows of any length in one call" else attention.SPREAD)
    for number in (1, 2):
        mode.found.clear()
        with spread, padded(mode.found), read_by_host(mode.found), mode:
            packs = build_step(
                number, flow.next_step(number), tables, seed=0, rank=rank, world=world, tokens_per_pass=tokens_per_pass
            )
            run_step(engine, packs, mixer, seed=9)
    engine.close()
    return {name: mode.found[name] for name in sorted({*mode.found, "tokens of padding"})}


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
