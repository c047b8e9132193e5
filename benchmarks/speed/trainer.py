"""The other side: transformers' Trainer over padded batches, the same encoder, rows, optimizer and steps."""

from __future__ import annotations

import copy
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from benchmarks.speed.ours import RATE, model
from benchmarks.speed.work import Work
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset, Sampler, SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments

BATCH = 32  # rows of a padded batch; a step accumulates as many as it has rows


class Padded(nn.Module):
    """The same encoder on padded rows, and a linear layer per task; the loss is the sum of weight * cross entropy."""

    def __init__(self, tasks: list[str]) -> None:
        super().__init__()
        net = model(tasks)
        self.encoder = copy.deepcopy(net.trunk.encoder)
        self.encoder.set_attn_implementation("sdpa")
        self.heads = nn.ModuleList([copy.deepcopy(net.head(task).out) for task in tasks])
        self.accepts_loss_kwargs = False
        self.losses: list[float] = []

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, task: Tensor, labels: Tensor, weight: Tensor
    ) -> dict[str, Tensor]:
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[..., None].to(hidden.dtype)
        pooled = (hidden * mask).sum(1) / mask.sum(1)
        loss = pooled.new_zeros(())
        for number, head in enumerate(self.heads):
            mine = task == number
            if mine.any():
                values = F.cross_entropy(head(pooled[mine]), labels[mine], reduction="none")
                loss = loss + (values * weight[mine]).sum()
        self.losses.append(float(loss.detach()))
        return {"loss": loss}


class Given(Dataset[dict[str, Any]]):
    """The rows of every step, one step after the other; `sort`: by length within a step, the best that grouping can do."""

    def __init__(self, work: Work, *, sort: bool) -> None:
        numbers = {task: number for number, task in enumerate(work.tables)}
        self.rows: list[dict[str, Any]] = []
        for step in work.steps:
            counts = Counter(task for task, _ in step)
            order = sorted(step, key=lambda drawn: len(work.ids(*drawn))) if sort else step
            self.rows += [
                {
                    "input_ids": work.ids(task, row).astype("int64"),
                    "task": numbers[task],
                    "labels": work.label(task, row),
                    # Trainer divides by the number of batches it accumulates.
                    "weight": len(step) / BATCH / counts[task],
                }
                for task, row in order
            ]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> dict[str, Any]:
        return self.rows[place]


def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Dynamic padding: to the longest row of the batch."""
    ids = nn.utils.rnn.pad_sequence([torch.from_numpy(row["input_ids"]) for row in rows], batch_first=True)
    sizes = torch.tensor([len(row["input_ids"]) for row in rows])
    mask = (torch.arange(ids.shape[1]) < sizes[:, None]).long()
    rest = {name: torch.tensor([row[name] for row in rows]) for name in ("task", "labels", "weight")}
    return {"input_ids": ids, "attention_mask": mask, **rest}


class InOrder(Trainer):
    """Trainer over the rows in the order given."""

    def _get_train_sampler(self, *_: object) -> Sampler[int]:
        assert isinstance(self.train_dataset, Dataset)
        return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]


class Between(TrainerCallback):
    """Calls `between(started)` after every optimizer step; what it takes is not Trainer's time."""

    def __init__(self, between: Callable[[], None]) -> None:
        self.between = between

    def on_step_end(self, *_: object, **__: object) -> None:
        self.between()


def train(work: Work, *, sort: bool, between: Callable[[], None]) -> Iterator[float]:
    """Trains over all steps, calling `between` after each. Returns the sum of the tasks' mean losses of each step."""
    net = Padded(list(work.tables))
    parts = len(work.steps[0]) // BATCH
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            gradient_accumulation_steps=parts,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            weight_decay=0.0,
            max_grad_norm=1.0,
            optim="adamw_torch_fused",
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
        )
        InOrder(net, arguments, collate, Given(work, sort=sort), callbacks=[Between(between)]).train()
    return (sum(net.losses[first : first + parts]) / parts for first in range(0, len(net.losses), parts))
