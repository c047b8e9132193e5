"""The small world of `laws` under passes over moved embeddings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import laws
from trunkline.data.dealing import build_step
from trunkline.data.packing import pack
from trunkline.models.multitask import owner
from trunkline.registry import PASSES, WEIGHTINGS
from trunkline.training import passes as passes_module
from trunkline.training.engine import Engine
from trunkline.training.objective import Objective, factors
from trunkline.training.optim import parameter_groups, set_learning_rates
from trunkline.training.optimizers import AdamW
from trunkline.training.perturbation import Rows
from trunkline.training.step import keyed, run_step

# Large enough that what a pass does shows beside the rounding.
SETTINGS: dict[str, dict[str, Any]] = {
    "fgm": {"epsilon": 0.5},
    "pgd": {"epsilon": 0.5, "alpha": 0.3, "steps": 2},
    "freelb": {"epsilon": 0.5, "alpha": 0.3, "steps": 2},
    "smart": {"epsilon": 0.05, "alpha": 0.05, "sigma": 0.02, "weight": 5.0},
    "rdrop": {"weight": 2.0},
}


class WholePack(Rows):
    """The planted fault: a direction is as long as the whole pack, not as its own row."""

    def norm(self, values: Tensor, *, largest: bool = False) -> Tensor:
        whole = values.double().abs().max() if largest else values.double().norm()
        return whole.expand(len(values), 1)


class OfThePack(Rows):
    """The planted fault: noise by the place in the pack."""

    def uniform(self, width: int, stream: int = 0) -> Tensor:
        torch.manual_seed(self.key + stream)
        return 2 * torch.rand(self.batch.num_tokens, width) - 1


FAULTS = {"length of the whole pack": WholePack, "noise of the pack": OfThePack}


@dataclass
class Moved:
    """What one step left. gradient: unclipped, of the first step; losses: per task, as shown."""

    gradient: dict[str, Tensor] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    micro_batches: int = 0


def step(
    kind: str, settings: dict[str, Any], *, stage: int = 0, tokens_per_pass: int = 240, dropout: float = 0.0, fault: str = ""
) -> Moved:
    """One optimizer step of the small world, on every rank of the process group."""
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    net = laws.model(dropout)
    groups = parameter_groups(net, owner, net.trunk.embeddings, lr=1e-2, head_lr=2e-2)
    engine = Engine(Objective(net, laws.losses()), net, groups, AdamW, zero_stage=stage, clip=None)
    mixer = WEIGHTINGS.get("static")(laws.TASKS, laws.WEIGHTS)
    units = laws.stream().next_step(1)
    packs = build_step(1, units, laws.tables(), seed=0, rank=rank, world=world, tokens_per_pass=tokens_per_pass)
    set_learning_rates(engine.param_groups, 1.0)
    kept = passes_module.Rows
    passes_module.Rows = FAULTS.get(fault, Rows)
    other = passes_module.Micro.other
    if fault == "the same dropout twice":
        passes_module.Micro.other = lambda micro: micro
    try:
        observed = run_step(engine, packs, mixer, seed=9, passes=PASSES.get(kind)(**settings))
    finally:
        passes_module.Rows, passes_module.Micro.other = kept, other
    return Moved(laws.gradients(engine.named_state()), observed.losses.tolist(), len(packs.batches))


def by_autograd(kind: str, **settings: Any) -> dict[str, Tensor]:
    """The same gradient by plain torch: one pack, no engine, no hooks; the embeddings' table given as vectors."""
    net = laws.model()
    batch = pack(laws.stream().next_step(1), laws.tables(), seed=0)
    objective = Objective(net, laws.losses())
    counts = {task: part.num_targets for task, part in batch.tasks.items()}
    scale = factors(torch.tensor(laws.WEIGHTS), counts)
    row = Rows(batch).row_of_token
    embed = net.trunk.embeddings
    plain = embed.forward

    def given(delta: Tensor) -> dict[str, Tensor]:
        embed.forward = lambda ids: plain(ids) + delta.unsqueeze(0)
        try:
            return objective.outputs(batch)
        finally:
            embed.forward = plain

    def loss(delta: Tensor) -> Tensor:
        found = given(delta)
        return sum(
            factor * objective.values(task, found[task], part.targets, part.num_targets).sum()
            for factor, (task, part) in zip(scale, batch.tasks.items(), strict=True)
            if not part.dummy
        )

    def along(slope: Tensor) -> Tensor:
        """By rows, one after the other."""
        found = torch.zeros_like(slope)
        for number in range(len(batch.row_lengths)):
            own = slope[row == number]
            if own.abs().max() > 0:
                found[row == number] = own / own.norm()
        return found

    delta = torch.zeros(batch.num_tokens, laws.WIDTH, requires_grad=True)
    if kind == "fgm":
        (slope,) = torch.autograd.grad(loss(delta), delta)
        (loss(torch.zeros_like(slope)) + loss(settings["epsilon"] * along(slope))).backward()
    else:
        for _ in range(settings["steps"]):
            (slope,) = torch.autograd.grad(loss(delta), delta)
            moved = delta.detach() + settings["alpha"] * along(slope)
            for number in range(len(batch.row_lengths)):
                length = float(moved[row == number].norm())
                moved[row == number] *= min(1.0, settings["epsilon"] / max(length, 1e-12))
            delta = moved.requires_grad_()
        loss(delta.detach()).backward()
    return {name: p.grad if p.grad is not None else torch.zeros_like(p) for name, p in net.named_parameters()}


def rdrop_by_autograd(*, weight: float, dropout: float) -> dict[str, Tensor]:
    """R-Drop's gradient in one graph of two forwards, by plain torch, under the dropout the step draws."""
    net = laws.model(dropout).train()
    batch = pack(laws.stream().next_step(1), laws.tables(), seed=0)
    objective = Objective(net, laws.losses())
    scale = factors(torch.tensor(laws.WEIGHTS), {task: part.num_targets for task, part in batch.tasks.items()})
    torch.manual_seed(keyed(9, 1, 0, 0))  # as `seed_dropout` of rank 0
    first = objective.outputs(batch)
    torch.manual_seed(torch.initial_seed() ^ passes_module.OTHER)
    second = objective.outputs(batch)
    value = torch.zeros(())
    for factor, (task, part) in zip(scale, batch.tasks.items(), strict=True):
        if part.dummy:
            continue
        both = [objective.values(task, found[task], part.targets, part.num_targets).sum() for found in (first, second)]
        value = value + factor * (sum(both) / 2 + weight * objective.distance(task, first[task], second[task]).sum())
    value.backward()
    return {name: p.grad if p.grad is not None else torch.zeros_like(p) for name, p in net.named_parameters()}


def smart_by_autograd(noise: Tensor, *, epsilon: float, alpha: float, weight: float) -> dict[str, Tensor]:
    """SMART's gradient in one graph through both sides, by plain torch; noise [N, D]: where it starts."""
    net = laws.model()
    batch = pack(laws.stream().next_step(1), laws.tables(), seed=0)
    objective = Objective(net, laws.losses())
    scale = factors(torch.tensor(laws.WEIGHTS), {task: part.num_targets for task, part in batch.tasks.items()})
    row, embed = Rows(batch).row_of_token, net.trunk.embeddings
    plain = embed.forward

    def outputs(delta: Tensor) -> dict[str, Tensor]:
        embed.forward = lambda ids: plain(ids) + delta.unsqueeze(0)
        found = objective.outputs(batch)
        embed.forward = plain
        return found

    def far(here: dict[str, Tensor], there: dict[str, Tensor]) -> Tensor:
        found = torch.zeros(())
        for factor, task in zip(scale, laws.TASKS, strict=True):
            if batch.tasks[task].dummy:
                continue
            if task in ("topic", "tags", "words"):
                p, q = here[task].softmax(-1), there[task].softmax(-1)
                found = found + factor * ((p * (p / q).log()).sum() + (q * (q / p).log()).sum())
            else:
                found = found + factor * ((here[task] - there[task]) ** 2).reshape(len(here[task]), -1).mean(1).sum()
        return found

    delta = noise.clamp(-epsilon, epsilon).requires_grad_()
    clean = {task: value.detach() for task, value in outputs(torch.zeros_like(noise)).items()}
    (slope,) = torch.autograd.grad(far(outputs(delta), clean), delta)
    largest = torch.stack([slope[row == number].abs().max() for number in range(len(batch.row_lengths))])[row].unsqueeze(1)
    moved = (delta.detach() + alpha * torch.where(largest > 0, slope / largest, 0.0)).clamp(-epsilon, epsilon)
    here = outputs(torch.zeros_like(noise))
    value = sum(
        factor * objective.values(task, here[task], part.targets, part.num_targets).sum()
        for factor, (task, part) in zip(scale, batch.tasks.items(), strict=True)
        if not part.dummy
    )
    (value + weight * far(outputs(moved), here)).backward()
    return {name: p.grad if p.grad is not None else torch.zeros_like(p) for name, p in net.named_parameters()}
