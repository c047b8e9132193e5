"""The small world of `laws` looked at by its gradients: plain torch's, and the probe with a mistake in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import laws
from trunkline.batch import Batch
from trunkline.build.assemble import Assembly, assemble
from trunkline.build.optimization import make_groups
from trunkline.data.dealing import Step, build_step
from trunkline.data.packing import pack
from trunkline.data.units import Unit
from trunkline.training import exact
from trunkline.training.engine import Engine
from trunkline.training.gram import Probe
from trunkline.training.objective import factors
from trunkline.training.step import run_step


def stacked(units: list[Unit], net: Any = None) -> Tensor:
    """Each task's gradient on the probe layers [T, P] by autograd, task by task, one pack, no engine; 0 for an absent task."""
    net = net or laws.model()
    weights = [layer.weight for layer in net.trunk.probes]
    batch = pack(units, laws.tables(), seed=0)
    values = laws.task_values(batch, net(batch))
    rows = []
    for task in laws.TASKS:
        if task in values:
            found = torch.autograd.grad(values[task], weights, retain_graph=True)
        else:
            found = [torch.zeros_like(weight) for weight in weights]
        rows.append(torch.cat([gradient.flatten() for gradient in found]))
    return torch.stack(rows).double()


class RankLocal(Probe):
    """Every rank keeps what it saw."""

    def reduced(self, gradients: Tensor) -> Tensor:
        return gradients


class GramSummed(Probe):
    """Gram matrices are added up over ranks in place of gradients."""

    def reduced(self, gradients: Tensor) -> Tensor:
        return gradients

    def gram(self) -> Tensor:
        found = super().gram()
        torch.distributed.all_reduce(found)
        return found


class Weighted(Probe):
    """Gradients already carry w_t."""

    def watching(self, batch: Batch, carried: Tensor) -> Any:
        return super().watching(batch, carried / torch.tensor(laws.WEIGHTS))


class MeanOfMeans(Probe):
    """The mean gradient of every micro-batch counts alike, 2 on each of 2 ranks; what was divided by is each task's count."""

    def watching(self, batch: Batch, carried: Tensor) -> Any:
        local = torch.tensor([max(part.num_targets, 1) for part in batch.tasks.values()])
        whole = local.clone()
        torch.distributed.all_reduce(whole)
        return super().watching(batch, carried * local * 4 / (2 * whole))


class Summed(Probe):
    """Divided by the whole factor, coefficient / count: the gradient of the sum."""

    def watching(self, batch: Batch, carried: Tensor) -> Any:
        return super().watching(batch, carried / torch.tensor([max(part.num_targets, 1) for part in batch.tasks.values()]))


class WorldForgotten(Probe):
    """The engine's factor is left in."""

    def watching(self, batch: Batch, carried: Tensor) -> Any:
        return super().watching(batch, carried / torch.distributed.get_world_size())


FAULTS = {kind.__name__: kind for kind in (RankLocal, GramSummed, Weighted, MeanOfMeans, Summed, WorldForgotten)}


def train(number: int, fault: str = "", **settings: Any) -> laws.Run:
    """`laws.train` under one of the mistakes above."""
    kept, exact.Probe = exact.Probe, FAULTS.get(fault, Probe)
    try:
        return laws.train(number, **settings)
    finally:
        exact.Probe = kept


def first_step(built: Assembly, tokens_per_pass: int) -> Step:
    """The first step of a prepared run, as this rank is dealt it."""
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    units = built.stream.next_step(1)
    return build_step(1, units, built.tables, seed=built.recipe.seed, rank=rank, world=world, tokens_per_pass=tokens_per_pass)


def weights_of_run(run: str, stage: int, tokens_per_pass: int) -> tuple[list[float], int]:
    """The coefficients by which the first step of a prepared run went, and its micro-batches."""
    built = assemble(Path(run))
    engine = Engine(
        built.objective, built.model, make_groups(built.recipe, built.model, {}), built.make_optimizer, zero_stage=stage
    )
    packs = first_step(built, tokens_per_pass)
    observed = run_step(engine, packs, built.weighting, seed=built.recipe.seed)
    assert observed.coefficients is not None
    return observed.coefficients.tolist(), len(packs.batches)


def stacked_of_run(run: str) -> tuple[Tensor, Tensor]:
    """Of the same step each task's gradient on the probe layers [T, P] by a backward of its own, and mean losses [T]."""
    built = assemble(Path(run))
    packs = first_step(built, 10**6)
    (batch,) = packs.batches
    weights = [layer.weight for layer in built.model.trunk.probed(built.recipe.train.probes)]
    whole = factors(torch.ones(len(packs.counts)), packs.counts)
    scale = whole.clone()
    scalar, sums = built.objective(batch, scale)
    rows = []
    for task in range(len(whole)):
        scale.zero_()[task] = whole[task]
        rows.append(torch.cat([slope.flatten() for slope in torch.autograd.grad(scalar, weights, retain_graph=True)]))
    return torch.stack(rows).double(), sums * whole
