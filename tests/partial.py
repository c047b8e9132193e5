"""One row set with three tasks, 40 % of the labels missing, beside a task with rows of its own: the world of Show 5."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import laws
from trunkline.batch import ROW_WEIGHT, Batch
from trunkline.data.dealing import Step, build_step
from trunkline.data.packing import Table, pack, rows_of
from trunkline.data.rows import Ragged, Rows
from trunkline.data.stream import Stream
from trunkline.data.units import Unit
from trunkline.losses.classification import CrossEntropy
from trunkline.losses.regression import MSE
from trunkline.models.heads.base import Head
from trunkline.models.heads.classification import Classification
from trunkline.models.heads.regression import Regression
from trunkline.models.heads.tagging import Tagging
from trunkline.models.multitask import MultiTask, owner
from trunkline.models.transformer import Transformer
from trunkline.registry import WEIGHTINGS
from trunkline.sampling.base import Horizon
from trunkline.sampling.explicit import Explicit
from trunkline.training.engine import Engine
from trunkline.training.objective import Objective, factors
from trunkline.training.optim import parameter_groups, set_learning_rates
from trunkline.training.optimizers import AdamW
from trunkline.training.step import run_step

TASKS, WEIGHTS = ("score", "other", "topic", "tags"), (0.5, 1.0, 1.0, 2.0)
HOST, GUESTS = "topic", ("score", "tags")  # a guest stands before its host in the order of the heads
MISSING = 0.4


def labelled(seed: int = 5) -> dict[str, np.ndarray]:
    """Which rows each task has a label for; every row has one at least."""
    rng = np.random.default_rng(seed)
    found = rng.random((3, laws.ROWS)) >= MISSING
    found[0, ~found.any(0)] = True
    return dict(zip((HOST, *GUESTS), found, strict=True))


def _without(rows: Rows, keep: np.ndarray) -> Rows:
    """The rows with the labels of the others taken away, as the store keeps them: no list, zeros for a value."""

    def cut(value: np.ndarray | Ragged) -> np.ndarray | Ragged:
        if isinstance(value, Ragged):
            lengths = np.where(keep, value.lengths, 0)
            return value.keep(lengths)
        return np.where(keep, value, np.zeros_like(value))

    targets = {name: cut(value) for name, value in rows.targets.items()}
    return dataclasses.replace(rows, counts=np.where(keep, rows.counts, 0).astype(np.int32), targets=targets)


def tables(*, weighted: bool = False) -> dict[str, Table]:
    """In the order of TASKS; row weights of 0 to 3 with `weighted`."""
    whole = laws.tables()
    own = {name: _without(whole[name].rows, keep) for name, keep in labelled().items()}
    rng = np.random.default_rng(2)
    other = rows_of(
        [rng.integers(5, laws.VOCAB, rng.integers(3, 20)).tolist() for _ in range(laws.ROWS)],
        labels=rng.integers(0, 3, laws.ROWS),
    )
    made = {}
    for name in TASKS:
        rows = own.get(name, other)
        if weighted:
            rows = dataclasses.replace(
                rows, targets={**rows.targets, ROW_WEIGHT: rng.integers(0, 4, laws.ROWS).astype(np.float32)}
            )
        learned = np.flatnonzero(rows.counts)
        made[name] = Table(rows, laws.collate, rows.take(learned[:1]), host=HOST if name in GUESTS else None)
    return made


def losses() -> dict[str, nn.Module]:
    return {"score": MSE(), "other": CrossEntropy(), "topic": CrossEntropy(), "tags": CrossEntropy()}


def model(*, one_head: bool = False) -> MultiTask:
    """one_head: the host and the task with rows of its own use one head."""
    torch.manual_seed(1)
    trunk = Transformer(laws.VOCAB, 0, 64, hidden_size=laws.WIDTH, layers=2, heads=2, dropout=0.0)
    heads: dict[str, Head] = {
        "score": Regression(laws.WIDTH, pooling="mean"),
        "other": Classification(laws.WIDTH, 3),
        "topic": Classification(laws.WIDTH, 3),
        "tags": Tagging(laws.WIDTH, 4),
    }
    return MultiTask(trunk, {**heads, "topic": heads["other"]} if one_head else heads)


def stream(tokens_per_step: int = 240) -> Stream:
    """Draws the host and the task with rows of its own."""
    sizes = {name: table.rows.tokens.lengths for name, table in tables().items() if table.host is None}
    horizon = Horizon(6, tokens_per_step, {name: float(size.mean()) for name, size in sizes.items()})
    sampler = Explicit(dict.fromkeys(sizes, laws.ROWS), horizon, rates={"topic": 2.0, "other": 1.0})
    return Stream(sizes, sampler, seed=3, tokens_per_step=tokens_per_step, unit_limit=tokens_per_step, groups={})


def train(
    steps: int,
    *,
    stage: int = 0,
    tokens_per_pass: int = 240,
    weighted: bool = False,
    one_head: bool = False,
    save_at: int = 0,
    resume: dict[str, Any] | None = None,
    fault: str = "",
) -> laws.Run:
    """As `laws.train`. fault: "unlabelled counted" divides by all rows of the group, "weight forgotten" does as it says."""
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    net, made = model(one_head=one_head), tables(weighted=weighted and fault != "weight forgotten")
    if resume:
        net.load_state_dict({name: entry["param"] for name, entry in resume["engine"].items()})
    groups = parameter_groups(net, owner, net.trunk.embeddings, lr=1e-2, head_lr=2e-2)
    objective = Objective(net, losses())
    engine = Engine(objective, net, groups, lambda given: AdamW(given, weight_decay=0.1), zero_stage=stage, clip=None)
    flow, mixer, run = stream(), WEIGHTINGS.get("uncertainty" if save_at or resume else "static")(TASKS, WEIGHTS), laws.Run()
    if resume:
        engine.load_moments(resume["engine"])
        flow.load_state(resume["stream"])
        mixer.load_state(resume["weighting"])
    for number in range((resume["step"] if resume else 0) + 1, steps + 1):
        units = flow.next_step(number)
        packs = build_step(number, units, made, seed=0, rank=rank, world=world, tokens_per_pass=tokens_per_pass)
        if fault == "unlabelled counted":
            drawn = sum(len(unit.rows) for unit in units if unit.task == HOST)
            packs = dataclasses.replace(packs, counts={**packs.counts, "topic": drawn, "score": drawn})
        set_learning_rates(engine.param_groups, 1.0)
        observed = run_step(engine, packs, mixer, seed=9)
        run.losses.append(observed.losses.tolist())
        run.rows.append(packs.rows)
        run.micro_batches.append(len(packs.batches))
        if number == save_at:
            run.saved = {"step": number, "engine": engine.named_state(), "stream": flow.state(), "weighting": mixer.state()}
    run.state = engine.named_state()
    return run


def trunk_tokens(packs: Step) -> int:
    """Tokens of the step's packs that are no dummy's."""
    return sum(batch.num_tokens - _dummy_tokens(batch) for batch in packs)


def _dummy_tokens(batch: Batch) -> int:
    return sum(stop - start for start, stop in {(p.tokens.start, p.tokens.stop) for p in batch.tasks.values() if p.dummy})


def separate(units: Sequence[Unit], *, weighted: bool = False, one_head: bool = False) -> dict[str, Tensor]:
    """Gradients of a pass through the trunk for every task alone, over the rows it has a label for, each its own mean."""
    net, made = model(one_head=one_head), tables(weighted=weighted)
    total = torch.zeros(())
    for task, weight in zip(TASKS, WEIGHTS, strict=True):
        table = dataclasses.replace(made[task], host=None)
        rows = [row for unit in units if unit.task == (made[task].host or task) for row in unit.rows if table.rows.counts[row]]
        if not rows:
            continue
        batch = pack([Unit(task, np.array(rows), np.zeros(len(rows), np.int64), 0)], {task: table}, seed=0)
        outputs = net.head(task)(net.trunk(batch), batch.index(task))
        total = total + weight * _mean(task, outputs, batch.tasks[task].targets)
    total.backward()
    return {n: p.grad if p.grad is not None else torch.zeros_like(p) for n, p in net.named_parameters()}


def _mean(task: str, outputs: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
    if task == "score":
        values = (outputs - targets["target"]) ** 2
    else:
        values = F.cross_entropy(outputs, targets["labels"].long(), reduction="none")
    return (values * targets[ROW_WEIGHT]).sum() / len(values) if ROW_WEIGHT in targets else values.mean()


def one_step(units: Sequence[Unit]) -> Step:
    return build_step(1, units, tables(), seed=0, rank=0, world=1, tokens_per_pass=240)


def scalar_gradients(units: Sequence[Unit]) -> dict[str, Tensor]:
    """The objective's own gradients over one pack."""
    net, packs = model(), one_step(units)
    scalar, _ = Objective(net, losses())(packs.batches[0], factors(torch.tensor(WEIGHTS), packs.counts))
    scalar.backward()
    return {n: p.grad if p.grad is not None else torch.zeros_like(p) for n, p in net.named_parameters()}
