"""What a user would write by hand on the same packs: one loop over all tasks at once, one over task after task."""

from __future__ import annotations

import torch
from benchmarks.speed.ours import CLIP, adamw, model, objective
from benchmarks.speed.work import Work

from trunkline.data.dealing import build_step
from trunkline.data.packing import pack
from trunkline.losses.classification import CrossEntropy
from trunkline.training.objective import factors


class Plain:
    """The same packs and losses, torch alone: backward, clip, fused AdamW."""

    def __init__(self, work: Work, *, tokens_per_pass: int) -> None:
        self.net = model(list(work.tables))
        self.objective, self.optimizer = objective(self.net), adamw(self.net.parameters())
        self.work, self.tokens_per_pass, self.done = work, tokens_per_pass, 0

    def step(self) -> float:
        units = self.work.units(self.done % len(self.work.steps))
        self.done += 1
        packs = build_step(self.done, units, self.work.tables, seed=0, rank=0, world=1, tokens_per_pass=self.tokens_per_pass)
        scale = factors(torch.ones(len(self.work.tables)), packs.counts)
        total = 0.0
        for batch in packs:
            scalar, _ = self.objective(batch, scale)
            scalar.backward()
            total += float(scalar.detach())
        self._update()
        return total

    def _update(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad()


class TaskByTask(Plain):
    """A pass of its own for each task of a step."""

    def step(self) -> float:
        units = self.work.units(self.done % len(self.work.steps))
        self.done += 1
        total = 0.0
        for task, table in self.work.tables.items():
            mine = [unit for unit in units if unit.task == task]
            if mine:
                batch = pack(mine, {task: table}, seed=0)
                loss = CrossEntropy()(self.net(batch)[task], batch.tasks[task].targets).mean()
                loss.backward()
                total += float(loss.detach())
        self._update()
        return total
