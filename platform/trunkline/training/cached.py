"""Losses over groups that are larger than a pass: looked at first, learned from after.

A group's rows lie in many packs, on many ranks. Before the step's own passes every pack is run forward without a gradient, the
vectors of such tasks are kept and gathered, and the loss is worked out over whole groups, with its gradient with respect to the
vectors. In its own pass each pack's loss is then known: its value, and its slope, with which the backward goes on into the trunk.

Source: Gao, Zhang, Han & Callan, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup" (GradCache),
arXiv:2101.06983, section 3. Both forwards draw the same dropout, so the gradient is that of one pass over everything. The cost
is one more forward; what must be held besides a pass is the vectors of the step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from trunkline.batch import Batch, Known, TaskSlice
from trunkline.data.dealing import Step, Whole
from trunkline.training.engine import Engine

Found = dict[str, Known]


def look_ahead(engine: Engine, packs: Step, reseed: Callable[[int], None]) -> list[Found]:
    """For every micro-batch what is known of its divided tasks, alike whatever rank a row is on. Collective.

    reseed: sets dropout's generator to what it is in the micro-batch of that number.
    """
    if not packs.divided:
        return [{} for _ in packs.batches]
    kept: list[Mapping[str, Tensor]] = []
    for micro, batch in enumerate(packs.batches):
        reseed(micro)
        outputs = engine.outputs(batch.to(engine.device))
        kept.append({task: outputs[task].float() for task in packs.divided})
    found: list[Found] = [{} for _ in packs.batches]
    for task, whole in packs.divided.items():
        parts = [batch.tasks[task] for batch in packs.batches]
        vectors = gathered([own[task] for own in kept], parts, whole)
        values, slope = _solved(engine, task, vectors, whole)
        for own, part in zip(found, parts, strict=True):
            if not part.dummy:
                own[task] = _known(part, whole, values, slope)
    return found


def informed(batch: Batch, found: Found) -> Batch:
    """The batch with what is known of its slices."""
    return replace(
        batch, tasks={**batch.tasks, **{task: replace(batch.tasks[task], known=known) for task, known in found.items()}}
    )


def gathered(outputs: Sequence[Tensor], parts: Sequence[TaskSlice], whole: Whole) -> Tensor:
    """Every vector of the step in the order drawn [R, D], equal on all ranks. outputs, parts: of this rank's micro-batches."""
    vectors = outputs[0].new_zeros(int(whole.starts[-1]), outputs[0].shape[1])
    for own, part in zip(outputs, parts, strict=True):
        if not part.dummy:
            assert part.places is not None
            vectors[whole.trunk_rows(part.places).to(own.device)] = own
    torch.distributed.all_reduce(vectors)  # each lies on one rank alone and is 0 elsewhere: the sum is exact
    return vectors


def _solved(engine: Engine, task: str, vectors: Tensor, whole: Whole) -> tuple[Tensor, Tensor]:
    """The loss of every row [n], and the gradient of their sum with respect to the vectors [R, D]."""
    targets = {name: value.to(vectors.device) for name, value in whole.targets.items()}
    with torch.enable_grad():
        values = engine.module.values(task, vectors.requires_grad_(), targets, len(whole.starts) - 1)
        (slope,) = torch.autograd.grad(values.sum(), vectors)
    return values.detach(), slope


def _known(part: TaskSlice, whole: Whole, values: Tensor, slope: Tensor) -> Known:
    assert part.places is not None
    places = torch.from_numpy(part.places).to(values.device)
    return Known(values[places].sum(), slope[whole.trunk_rows(part.places).to(slope.device)])
