"""Rows from tokens on disk to tensors: ours, and datasets' torch format with a padding collate."""

from __future__ import annotations

from typing import Any

import torch
from benchmarks.speed.work import Work

from trunkline.data.dealing import build_step


class Packed:
    """A step's packs."""

    def __init__(self, work: Work) -> None:
        self.work, self.done = work, 0

    def step(self) -> None:
        units = self.work.units(self.done % len(self.work.steps))
        self.done += 1
        build_step(self.done, units, self.work.tables, seed=0, rank=0, world=1, tokens_per_pass=8192)


class Torch:
    """The same rows through `datasets.Dataset.with_format("torch")`, a row at a time, padded to the longest of 32."""

    def __init__(self, work: Work) -> None:
        from datasets import Dataset

        rows = [drawn for step in work.steps for drawn in step]
        columns = {"input_ids": [work.ids(*drawn).tolist() for drawn in rows], "label": [work.label(*drawn) for drawn in rows]}
        self.rows = Dataset.from_dict(columns).with_format("torch")
        self.step_rows, self.steps, self.done = len(work.steps[0]), len(work.steps), 0

    def step(self) -> None:
        first = (self.done % self.steps) * self.step_rows
        self.done += 1
        for start in range(first, first + self.step_rows, 32):
            self.collate([self.rows[place] for place in range(start, start + 32)])

    def collate(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        ids = torch.nn.utils.rnn.pad_sequence([row["input_ids"] for row in rows], batch_first=True)
        return {"input_ids": ids, "label": torch.stack([row["label"] for row in rows])}
