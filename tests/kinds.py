"""What new losses and heads must prove on several ranks: a world of one anchor task and the one under test, beside laws.py.

Every case has its plain reference: the mean over all targets, written out row by row, without the loss's own code.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import laws
from trunkline.data.packing import Table, build_step, pack, rows_of
from trunkline.data.rows import Ragged, Rows
from trunkline.data.stream import Stream, Unit
from trunkline.losses.base import Loss
from trunkline.losses.classification import CrossEntropy
from trunkline.models.heads.classification import Classification
from trunkline.models.multitask import MultiTask, owner
from trunkline.models.transformer import Transformer
from trunkline.registry import HEADS, LOSSES
from trunkline.sampling.base import Horizon
from trunkline.sampling.explicit import Explicit
from trunkline.training.engine import Engine
from trunkline.training.objective import Objective
from trunkline.training.optim import adamw, parameter_groups, set_learning_rates
from trunkline.training.step import run_step
from trunkline.weighting.static import Static

TASKS, WEIGHTS = ("anchor", "subject"), (1.0, 2.0)
C, M = 3, 2
Targets = Mapping[str, Tensor]


@dataclass(frozen=True)
class Case:
    """A loss, the kind of head it goes with, and what the mean over one row's targets' values adds up to, target by target."""

    loss: str
    arguments: Mapping[str, Any]
    kind: str
    sizes: Mapping[str, Any]
    plain: Callable[[Tensor, Targets, int], Tensor]
    name: str = ""


def _log_p(outputs: Tensor, targets: Targets, row: int) -> tuple[int, Tensor]:
    label = int(targets["labels"][row])
    return label, outputs[row, label] - outputs[row].exp().sum().log()


def _weighted(outputs: Tensor, targets: Targets, row: int) -> Tensor:
    label, log_p = _log_p(outputs, targets, row)
    return -(0.2, 1.0, 5.0)[label] * log_p


def _focal(outputs: Tensor, targets: Targets, row: int) -> Tensor:
    _, log_p = _log_p(outputs, targets, row)
    return -((1 - log_p.exp()) ** 2) * log_p


def _hinge(outputs: Tensor, targets: Targets, row: int) -> Tensor:
    label = int(targets["labels"][row])
    rivals = [outputs[row, c] for c in range(C) if c != label]
    return torch.relu(1 + torch.stack(rivals).max() - outputs[row, label])


def _each(value: Callable[[Tensor, bool, int], Tensor]) -> Callable[[Tensor, Targets, int], Tensor]:
    """The mean over a row's labels of value(probability, whether it has the label, the label's number)."""

    def plain(outputs: Tensor, targets: Targets, row: int) -> Tensor:
        given = targets["label_set"][row].tolist()
        return torch.stack([value(1 / (1 + (-outputs[row, c]).exp()), bool(given[c]), c) for c in range(C)]).mean()

    return plain


def _asymmetric(p: Tensor, present: bool, _: int) -> Tensor:
    q = torch.relu(p - 0.05)
    return -(1 - p) * p.log() if present else -(q**4) * (1 - q).log()


def _number(value: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Targets, int], Tensor]:
    return lambda outputs, targets, row: value(outputs[row] - targets["target"][row]).mean()


def _gaussian(outputs: Tensor, targets: Targets, row: int) -> Tensor:
    """-log of the normal density without its constant."""
    mean, variance = outputs[row, :, 0], outputs[row, :, 1].exp()
    return ((mean - targets["target"][row]) ** 2 / (2 * variance) + variance.log() / 2).mean()


def _chain(outputs: Tensor, targets: Targets, row: int) -> Tensor:
    """Minus the log of a sequence's share among all of them, counted at its first word."""
    place = targets["place"].tolist()
    if place[row] != 0:
        return torch.zeros(())
    end = next((k for k in range(row + 1, len(place)) if place[k] == 0), len(place))

    def score(path: tuple[int, ...]) -> Tensor:
        return torch.stack([outputs[row + k, path[max(k - 1, 0)], path[k]] for k in range(end - row)]).sum()

    every = torch.stack([score(path) for path in itertools.product(range(C), repeat=end - row)])
    return every.logsumexp(0) - score(tuple(targets["labels"][row:end].tolist()))


def _distilled(outputs: Tensor, targets: Targets, row: int) -> Tensor:
    """Temperature 2, half of it the cross entropy."""
    _, log_p = _log_p(outputs, targets, row)
    student, wanted = ((scores[row] / 2).softmax(0) for scores in (outputs, targets["teacher"]))
    return -0.5 * log_p + 0.5 * 4 * (wanted * (wanted / student).log()).sum()


LABELS, CLASSES = {"num_labels": C}, "classification"
CASES = {
    case.name or case.loss: case
    for case in (
        Case("cross_entropy", {"class_weights": [0.2, 1.0, 5.0]}, CLASSES, LABELS, _weighted),
        Case("focal", {}, CLASSES, LABELS, _focal),
        Case("hinge", {}, CLASSES, LABELS, _hinge),
        Case("distillation", {}, CLASSES, LABELS, _distilled),
        Case(
            "binary_cross_entropy",
            {"pos_weights": [1.0, 4.0, 0.5]},
            "multilabel",
            LABELS,
            _each(lambda p, present, c: -(1.0, 4.0, 0.5)[c] * p.log() if present else -(1 - p).log()),
        ),
        Case("asymmetric", {"gamma_positive": 1.0}, "multilabel", LABELS, _each(_asymmetric)),
        Case(
            "soft_margin",
            {"margin": 1.0},
            "multilabel",
            LABELS,
            _each(lambda p, present, _: (1 + torch.e * ((1 - p) / p if present else p / (1 - p))).log()),
        ),
        Case("mse", {}, "regression", {"num_values": M}, _number(torch.square), "several numbers"),
        Case("mae", {}, "regression", {"num_values": M}, _number(torch.abs)),
        Case("huber", {"delta": 0.5}, "regression", {"num_values": M},
             _number(lambda e: torch.where(e.abs() < 0.5, e**2 / 2, 0.5 * e.abs() - 0.125))),
        Case("log_cosh", {}, "regression", {"num_values": M}, _number(lambda e: e.cosh().log())),
        Case("heteroscedastic", {}, "regression", {"num_values": M}, _gaussian),
        Case("crf", {}, "tagging", LABELS, _chain),
    )
}  # fmt: skip


def collate(rows: Rows, keys: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    tokens, targets = laws.collate(rows, keys)
    lengths = [value.lengths for value in rows.targets.values() if isinstance(value, Ragged)]
    return tokens, targets | ({"place": np.concatenate([np.arange(length) for length in lengths[0]])} if lengths else {})


def tables(kind: str) -> dict[str, Table]:
    rng = np.random.default_rng(0)
    texts = [rng.integers(5, laws.VOCAB, rng.integers(3, 20)).tolist() for _ in range(laws.ROWS)]
    places = [list(range(0, len(text), 4)) for text in texts]  # one to five words a row
    labels = rng.choice(C, laws.ROWS, p=[0.7, 0.2, 0.1])
    made: dict[str, dict[str, np.ndarray | Ragged]] = {
        "classification": {
            "labels": labels,
            "teacher": np.random.default_rng(7).normal(size=(laws.ROWS, C)).astype(np.float32),
        },
        "multilabel": {"label_set": rng.integers(0, 2, (laws.ROWS, C)).astype(np.uint8)},
        "regression": {"target": rng.normal(size=(laws.ROWS, M)).astype(np.float32)},
        "tagging": {"positions": Ragged.of(places), "labels": Ragged.of([rng.integers(0, C, len(own)) for own in places])},
    }
    found = {"anchor": rows_of(texts, labels=labels), "subject": rows_of(texts, **made[kind])}
    return {name: Table(rows, collate, rows.take(np.array([0]))) for name, rows in found.items()}


def world(case: Case) -> tuple[MultiTask, dict[str, Loss]]:
    torch.manual_seed(1)
    trunk = Transformer(laws.VOCAB, 0, 64, hidden_size=laws.WIDTH, layers=1, heads=2, dropout=0.0)
    loss = LOSSES.get(case.loss)(**case.arguments)
    head = HEADS.get(case.kind)(laws.WIDTH, **case.sizes, **loss.asks, dropout=0.0)
    for name, parameter in head.named_parameters():
        if name.startswith("chain."):
            nn.init.normal_(parameter)  # a chain that starts at 0 would hide a transition read the wrong way round
    return MultiTask(trunk, {"anchor": Classification(laws.WIDTH, C, dropout=0.0), "subject": head}), {
        "anchor": CrossEntropy(),
        "subject": loss,
    }


def units(kind: str) -> list[Unit]:
    sizes = {name: table.rows.tokens.lengths for name, table in tables(kind).items()}
    horizon = Horizon(1, 240, {name: float(size.mean()) for name, size in sizes.items()})
    sampler = Explicit(dict.fromkeys(TASKS, laws.ROWS), horizon, rates={"anchor": 0.5, "subject": 1.0})
    return Stream(sizes, sampler, seed=3, tokens_per_step=240, unit_limit=240, groups={}).next_step(1)


def gradient(name: str, *, stage: int, tokens_per_pass: int, fault: str = "") -> tuple[dict[str, Tensor], int]:
    """On every rank: the gradient of one step through the engine, and the number of micro-batches."""
    case = CASES[name]
    model, losses = world(case)
    groups = parameter_groups(model, owner, model.trunk.embeddings, lr=1e-2, head_lr=2e-2)
    engine = Engine(
        Objective(model, losses), model, groups, lambda given: adamw(given, weight_decay=0.1), zero_stage=stage, clip=None
    )
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    packs = build_step(1, units(case.kind), tables(case.kind), seed=0, rank=rank, world=ranks, tokens_per_pass=tokens_per_pass)
    set_learning_rates(engine.param_groups, 1.0)
    mixer = Static(TASKS, WEIGHTS)
    if fault:
        laws.faulty(engine, packs, mixer, fault)
    else:
        run_step(engine, packs, mixer, seed=9)
    return laws.gradients(engine.named_state()), len(packs.batches)


def reference(name: str) -> dict[str, Tensor]:
    """The same step by plain torch: all rows in one pack, each task's mean over its targets written out."""
    case = CASES[name]
    model, _ = world(case)
    batch = pack(units(case.kind), tables(case.kind), seed=0)
    out = model(batch)
    anchor, subject = (batch.tasks[task] for task in TASKS)
    values = [case.plain(out["subject"], subject.targets, row) for row in range(subject.num_targets)]
    total = WEIGHTS[0] * F.cross_entropy(out["anchor"], anchor.targets["labels"])
    (total + WEIGHTS[1] * torch.stack(values).sum() / subject.num_targets).backward()
    return {key: p.grad if p.grad is not None else torch.zeros_like(p) for key, p in model.named_parameters()}
