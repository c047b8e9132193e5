"""The small world of `laws` trained with a moving average of its parameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import laws
from trunkline.data.dealing import build_step
from trunkline.data.packing import pack
from trunkline.models.multitask import owner
from trunkline.registry import WEIGHTINGS
from trunkline.training.average import Average
from trunkline.training.engine import Engine
from trunkline.training.objective import Objective
from trunkline.training.optim import parameter_groups, set_learning_rates
from trunkline.training.optimizers import AdamW
from trunkline.training.step import run_step

DECAY = 0.5


@dataclass
class Kept:
    """What a run ended with. inside, outside: outputs on one pack with the average in place, and after it."""

    average: dict[str, Tensor] = field(default_factory=dict)
    state: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    saved: dict[str, Any] = field(default_factory=dict)
    inside: dict[str, Tensor] = field(default_factory=dict)
    outside: dict[str, Tensor] = field(default_factory=dict)


def train(
    steps: int, *, stage: int = 0, save_at: int = 0, resume: dict[str, Any] | None = None, look: bool = False, fault: str = ""
) -> Kept:
    """look: after every step the average stands in the parameters' place for a forward pass."""
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    net = laws.model()
    if resume:
        net.load_state_dict({name: entry["param"] for name, entry in resume["engine"].items()})
    groups = parameter_groups(net, owner, net.trunk.embeddings, lr=1e-2, head_lr=2e-2)
    engine = Engine(Objective(net, laws.losses()), net, groups, AdamW, zero_stage=stage)
    average, flow, made = Average(engine, DECAY), laws.stream(), laws.tables()
    mixer = WEIGHTINGS.get("static")(laws.TASKS, laws.WEIGHTS)
    kept = Kept()
    if resume:
        engine.load_moments(resume["engine"])
        flow.load_state(resume["stream"])
        if fault != "average forgotten":
            average.load(resume["average"])
    for number in range(1 + (resume["step"] if resume else 0), steps + 1):
        packs = build_step(number, flow.next_step(number), made, seed=0, rank=rank, world=world, tokens_per_pass=120)
        set_learning_rates(engine.param_groups, 1.0)
        run_step(engine, packs, mixer, seed=9)
        for _ in range(len(packs.batches) * world if fault == "once a micro-batch of any rank" else 1):
            average.update(number)
        if number == save_at:
            kept.saved = {"step": number, "engine": engine.named_state(), "stream": flow.state(), "average": average.named()}
        if look:
            with average.in_place():
                kept.inside = outputs(engine)
            kept.outside = outputs(engine)
    kept.average, kept.state = average.named(), engine.named_state()
    return kept


def outputs(engine: Engine) -> dict[str, Tensor]:
    batch = pack(laws.stream().next_step(1), laws.tables(), seed=0)
    return {task: value.clone() for task, value in engine.outputs(batch).items()}


def plain(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a model of these parameters gives on the same pack, without an engine."""
    net = laws.model()
    net.load_state_dict(parameters)
    with torch.no_grad():
        found: dict[str, Tensor] = net(pack(laws.stream().next_step(1), laws.tables(), seed=0))
    return found
