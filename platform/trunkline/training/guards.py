"""What must be true before a step may touch the weights, and when there were too many steps of which it was not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trunkline.batch import Monitor
from trunkline.data.dealing import Step
from trunkline.errors import Diverged

LARGEST_SQUARE = torch.finfo(torch.float32).max  # a gradient whose squared norm is larger can not be clipped in float32


@dataclass
class Skipped:
    """Steps that were left out because something in them was not finite: in all, and without a good one between."""

    steps: int = 0
    in_a_row: int = 0


@dataclass(frozen=True)
class Told:
    """What all ranks know of a step before it is taken, equal everywhere. sums: each task's loss [T] float64, on the CPU.

    seconds: every rank's own time in the forward passes.
    """

    sums: Tensor
    gradient_is_finite: bool
    asked_to_stop: bool
    seconds: tuple[float, ...] = ()

    @property
    def finite(self) -> bool:
        return self.gradient_is_finite and bool(self.sums.isfinite().all())


def tell(sums: Tensor, squared_norm: Tensor, asked_to_stop: bool, seconds: float = 0.0) -> Told:
    """Collective, the one exchange of a step. sums [T] float64, squared_norm []: of what this rank holds of the gradient.

    What is not finite stays so in a sum, so one all-reduce tells every rank of every loss and every part of the gradient.
    """
    own = [0.0] * torch.distributed.get_world_size()
    own[torch.distributed.get_rank()] = seconds
    told = torch.cat([sums, squared_norm.double().view(1), sums.new_tensor([float(asked_to_stop), *own])])
    torch.distributed.all_reduce(told)
    told, (norm, asked), times = told[: len(sums)].cpu(), *told[len(sums) :].cpu().tensor_split([2])
    return Told(told, bool(norm <= LARGEST_SQUARE), bool(asked > 0), tuple(times.tolist()))


def account(
    skipped: Skipped,
    packs: Step,
    taken: bool,
    losses: Sequence[float],
    monitor: Monitor,
    limit: int,
    leaping: Sequence[str] = (),
) -> None:
    """Counts a step, and reports one that was left out: `non_finite` or `spike` with the step, the tasks and the rows.

    leaping: the tasks whose loss leaped. Else the tasks whose loss is not finite; if every loss is, the gradient is not, and
    any task of the step may have caused it. Raises Diverged after `limit` such steps in a row.
    """
    if taken:
        skipped.in_a_row = 0
        return
    skipped.steps, skipped.in_a_row = skipped.steps + 1, skipped.in_a_row + 1
    of_loss = [task for task, loss in zip(packs.counts, losses, strict=True) if not torch.tensor(loss).isfinite()]
    what, tasks = ("loss", list(leaping) or of_loss) if leaping or of_loss else ("gradient", list(packs.rows))
    name, how = ("spike", "leaps") if leaping else ("non_finite", "is not finite")
    rows = {task: packs.rows.get(task, []) for task in tasks}
    monitor.event(name, step=packs.step, what=what, tasks=tasks, in_a_row=skipped.in_a_row, limit=limit, rows=rows)
    if skipped.in_a_row >= limit:
        raise Diverged(
            f"step {packs.step}: the {what} of {', '.join(tasks)} {how}, in {skipped.in_a_row} steps in a row by now "
            f"(train.max_bad_steps {limit}). None of them changed a weight."
        )
