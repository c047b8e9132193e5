"""Metrics of every task on a split: the same number of packs on every rank, results keyed by row id."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from trunkline.data.encoding.base import Encoding, Records
from trunkline.data.packing import Table, evaluation_keys, evaluation_packs
from trunkline.metrics.base import Metric
from trunkline.metrics.bootstrap import Measured
from trunkline.models.multitask import MultiTask

Gather = Callable[[Any], list[Any]]


@dataclass(frozen=True)
class Judged:
    """One task under evaluation: the rows of a split, how outputs become records,
    and makers of fresh metrics (the first is the headline)."""

    name: str
    table: Table
    encoding: Encoding
    metrics: Mapping[str, Callable[[], Metric]]


def evaluate(
    model: MultiTask,
    judged: Judged,
    *,
    tokens_per_pass: int,
    device: torch.device,
    rank: int,
    world: int,
    gather: Gather,
    limit: int | None,
) -> dict[str, float]:
    """Metric name -> value over all ranks, exact for any number of ranks. Collective; the model is left as it was."""
    metrics = {name: make() for name, make in judged.metrics.items()}
    for ids, records in measure(
        model, judged, tokens_per_pass=tokens_per_pass, device=device, rank=rank, world=world, limit=limit
    ):
        for metric in metrics.values():
            metric.update(ids, **{key: records[key] for key in metric.needs})
    for name, parts in _by_name(gather(metrics)).items():
        for other in parts[:rank] + parts[rank + 1 :]:
            metrics[name].merge(other)
    return {name: metric.compute() for name, metric in metrics.items()}


def everything(
    model: MultiTask,
    judged: Judged,
    *,
    tokens_per_pass: int,
    device: torch.device,
    rank: int = 0,
    world: int = 1,
    gather: Gather = lambda own: [own],
) -> Measured:
    """The records of all rows over all ranks, equal for any number of them: what intervals and tables are made of. Collective."""
    own = list(measure(model, judged, tokens_per_pass=tokens_per_pass, device=device, rank=rank, world=world))
    return Measured.of(part for parts in gather(own) for part in parts)


def measure(
    model: MultiTask,
    judged: Judged,
    *,
    tokens_per_pass: int,
    device: torch.device,
    rank: int = 0,
    world: int = 1,
    limit: int | None = None,
) -> Iterator[tuple[np.ndarray, Records]]:
    """Row ids (one per record, repeated for rows of several targets) and records, pack by pack; nothing for dummies.

    Rows without a label for this task are left out; limit: only the first of the others.
    """
    was_training = model.training
    model.eval()
    chosen = judged.table.learned[:limit]
    packs = evaluation_packs({judged.name: judged.table}, rank=rank, world=world, tokens_per_pass=tokens_per_pass, chosen=chosen)
    try:
        with torch.no_grad():
            for batch in packs:
                part = batch.tasks[judged.name]
                summary = model.answer(judged.name, batch.to(device))
                if not part.dummy:
                    targets: dict[str, Any] = {name: value.numpy() for name, value in part.targets.items()}
                    targets |= judged.encoding.aside_of(judged.table.rows, part.row_ids)
                    yield np.repeat(part.row_ids, part.counts), judged.encoding.records(summary.float().cpu().numpy(), targets)
    finally:
        model.train(was_training)


def baseline(judged: Judged, train: Table, *, limit: int | None = None) -> dict[str, float]:
    """What a constant guess (majority, mean, unigram, chance) scores on the same rows, having seen the training split."""
    chosen = judged.table.learned[:limit]
    evaluated = judged.table.rows.take(chosen)
    records = judged.encoding.baseline(train.labelled(), evaluated, evaluation_keys(judged.name, chosen))
    measured = Measured.of([(np.repeat(chosen, evaluated.counts), records)])
    return {name: measured.value(make()) for name, make in judged.metrics.items()}


def skill(value: float, base: float, best: float) -> float:
    """The share of the way from the baseline to perfect: 0 is the baseline, 1 is perfect, below 0 is worse than guessing."""
    return 0.0 if best == base else (value - base) / (best - base)


def _by_name(gathered: list[dict[str, Metric]]) -> dict[str, list[Metric]]:
    return {name: [part[name] for part in gathered] for name in gathered[0]}
