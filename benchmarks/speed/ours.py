"""Our side of a comparison: an engine over a small trunk from scratch, and its step."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from benchmarks.speed.work import LABELS, VOCAB, Work

from trunkline.data.dealing import Step, build_step
from trunkline.losses.classification import CrossEntropy
from trunkline.models.heads.classification import Classification
from trunkline.models.multitask import MultiTask, owner
from trunkline.models.transformer import Transformer
from trunkline.registry import WEIGHTINGS
from trunkline.training.engine import Engine
from trunkline.training.objective import Objective
from trunkline.training.optim import parameter_groups
from trunkline.training.step import run_step

WIDTH, LAYERS, HEADS, LONGEST = 256, 4, 4, 512
RATE, CLIP = 1e-4, 1.0
TOKENS_PER_PASS = 2048


def model(tasks: Sequence[str], *, seed: int = 0) -> MultiTask:
    """A BERT of 4 layers of width 256 without dropout, a classification head per task."""
    torch.manual_seed(seed)
    trunk = Transformer(VOCAB, 0, LONGEST, hidden_size=WIDTH, layers=LAYERS, heads=HEADS, dropout=0.0)
    return MultiTask(trunk, {task: Classification(WIDTH, LABELS, pooling="mean") for task in tasks})


def objective(net: MultiTask) -> Objective:
    return Objective(net, {task: CrossEntropy() for task in net.tasks})


def adamw(groups: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=RATE, weight_decay=0.0, fused=True)


class Trained:
    """One step after another over a work's steps, round and round, through DeepSpeed's engine at stage 0."""

    def __init__(self, work: Work, module: Objective, *, tokens_per_pass: int = TOKENS_PER_PASS) -> None:
        net = module.model
        assert isinstance(net, MultiTask)
        self.work, self.tokens_per_pass = work, tokens_per_pass
        groups = parameter_groups(net, owner, net.trunk.embeddings, lr=RATE, head_lr=RATE)
        os.environ["LOCAL_RANK"] = "0"  # DeepSpeed asks for it; transformers' Trainer must not see it
        self.engine = Engine(module, net, groups, adamw, clip=CLIP)
        del os.environ["LOCAL_RANK"]
        self.weighting = WEIGHTINGS.get("static")(tuple(work.tables), [1.0] * len(work.tables))
        self.done = 0

    def packs(self) -> Step:
        """One rank's packs of the next step, made as the loader makes them."""
        units = self.work.units(self.done % len(self.work.steps))
        self.done += 1
        return build_step(self.done, units, self.work.tables, seed=0, rank=0, world=1, tokens_per_pass=self.tokens_per_pass)

    def step(self) -> float:
        """Packs and trains one step; the sum of the tasks' mean losses."""
        found = run_step(self.engine, self.packs(), self.weighting, seed=0)
        return float(found.losses[found.present].sum())


class Ours(Trained):
    """The small model over a work of classification tasks."""

    def __init__(self, work: Work) -> None:
        super().__init__(work, objective(model(list(work.tables))))
