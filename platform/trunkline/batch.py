"""The packed batch: rows of all tasks end to end, and the protocols parts share.

Letters: N tokens of a pack, R rows the trunk reads, D width, C classes, T tasks. A drawn row of a task is one trunk row,
or several (a contrastive row is an anchor, its positive, its negatives): `TaskSlice.rows` covers trunk rows, `row_ids` drawn
ones.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import numpy as np
import torch
from torch import Tensor

ROW_WEIGHT: Final = "row_weight"


@dataclass(frozen=True)
class Picked:
    """Which of a slice's trunk rows [r] and tokens [n] a task learns from, relative to the slice, in order.

    Tasks that share rows have one slice; each picks the rows it has a label for.
    """

    rows: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class Known:
    """The loss of a slice's rows, worked out before with rows of other packs, because they belong to one group.

    value: the sum of the slice's values. slope [R, D]: the gradient of the sum of ALL the step's values of the task with respect
    to the outputs of the slice; without the objective's factor.
    """

    value: Tensor
    slope: Tensor

    def told(self, outputs: Tensor) -> Tensor:
        """`value`, with `slope` as its gradient with respect to `outputs` [R, D]."""
        pulled = (outputs.float() * self.slope).sum()
        return pulled - pulled.detach() + self.value


@dataclass(frozen=True)
class TaskSlice:
    """What one task owns of a pack.

    rows, tokens: contiguous slices of the pack's trunk rows [R] and tokens [N]; the slices tile it, several tasks may have one.
    targets: tensors the head and loss read; a tensor named `positions` indexes tokens RELATIVE to this slice; one named
    `row_weight` holds a factor of each target's loss.
    counts: targets of each drawn row. row_ids: index of each drawn row in its split. dummy: the task has no row in this pack;
    its head runs on the dummy row all the same (every rank calls every head) and the result is dropped by selection.
    places: of each drawn row among its task's rows of the step, in the order drawn; None outside of training. known: set if the
    loss is not this pack's to work out. picked: the slice holds rows of other tasks too, and everything else here speaks of the
    picked rows alone, as if they were the slice; None: all rows of the slice.
    """

    rows: slice
    tokens: slice
    targets: Mapping[str, Tensor]
    counts: np.ndarray
    row_ids: np.ndarray
    dummy: bool = False
    places: np.ndarray | None = None
    known: Known | None = None
    picked: Picked | None = None

    @property
    def num_targets(self) -> int:
        return 0 if self.dummy else int(self.counts.sum())


@dataclass(frozen=True)
class RowIndex:
    """Where a slice's trunk rows lie in its own hidden states [n, D]: starts [R], lengths [R], row_of_token [n].

    positions [K]: the tokens that carry a target (tagging, masked language), or None when whole rows do. targets: all of the
    slice's, for heads that read them on the way (a decoder is fed what it should have said).
    """

    starts: Tensor
    lengths: Tensor
    row_of_token: Tensor
    positions: Tensor | None = None
    targets: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.starts.shape[0]


@dataclass(frozen=True)
class Batch:
    """One micro-batch. tokens, positions, segments [N] int64; row_starts [R+1] int64 (first 0, last N).

    tasks: in the model's fixed head order, one slice each, present or dummy. row_lengths: the host's copy of the rows'
    lengths [R], so that no kernel choice waits for the device. sight: on the host too, which way a trunk row's tokens look
    [R] int8: 0 at the whole row, -1 back only (at themselves and those before), 1 ahead only; None where all look at the whole.
    chance: on the host, a number in [0, 1) for each token [N] from (seed, task, row, pass) and its place in the row, by which a
    trunk may leave words out; None outside of training.
    """

    tokens: Tensor
    positions: Tensor
    segments: Tensor
    row_starts: Tensor
    row_lengths: np.ndarray
    tasks: Mapping[str, TaskSlice] = field(default_factory=dict)
    sight: np.ndarray | None = None
    chance: np.ndarray | None = None

    @property
    def num_tokens(self) -> int:
        return self.tokens.shape[0]

    def index(self, task: str) -> RowIndex:
        """The rows of one task, relative to its `states`."""
        part = self.tasks[task]
        starts = self.row_starts[part.rows]
        lengths = self.row_starts[part.rows.start + 1 : part.rows.stop + 1] - starts
        starts, size = starts - part.tokens.start, part.tokens.stop - part.tokens.start
        if part.picked is not None:
            lengths, size = lengths[part.picked.rows], part.picked.tokens.shape[0]
            starts = lengths.cumsum(0) - lengths
        row_of_token = torch.repeat_interleave(torch.arange(lengths.shape[0], device=lengths.device), lengths, output_size=size)
        return RowIndex(starts, lengths, row_of_token, part.targets.get("positions"), part.targets)

    def states(self, hidden: Tensor) -> dict[str, Tensor]:
        """What each task's head reads of the trunk's states. hidden [N, D] -> [n, D] each.

        Cut up once: the gradients of the slices are then laid end to end, where one slice after the other would clear and
        add up a whole [N, D] for every task.
        """
        spans = sorted({(part.tokens.start, part.tokens.stop) for part in self.tasks.values()})
        pieces = dict(zip(spans, hidden.split([stop - start for start, stop in spans]), strict=True))
        own = {task: pieces[part.tokens.start, part.tokens.stop] for task, part in self.tasks.items()}
        picked = {task: part.picked for task, part in self.tasks.items() if part.picked is not None}
        return own | {task: own[task][which.tokens] for task, which in picked.items()}

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on `device` (asynchronously from pinned memory)."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        tasks = {
            name: replace(
                part,
                targets={key: move(value) for key, value in part.targets.items()},
                picked=part.picked and Picked(move(part.picked.rows), move(part.picked.tokens)),
            )
            for name, part in self.tasks.items()
        }
        tokens, positions, segments, starts = map(move, (self.tokens, self.positions, self.segments, self.row_starts))
        return Batch(tokens, positions, segments, starts, self.row_lengths, tasks, self.sight, self.chance)


@dataclass(frozen=True)
class Verdict:
    """What an evaluation says of a task: its headline metric, and its skill, the share of the way from baseline to perfect."""

    value: float
    skill: float
    higher_is_better: bool = True


class Sampler(Protocol):
    """How much of each task next. `rates(step)` need not sum to one; a task with rate 0 is not drawn."""

    def rates(self, step: int) -> Mapping[str, float]: ...

    def released(self, step: int) -> float:
        """The share of each task's rows, easiest first, that may be drawn in the step; 1 is all."""
        ...

    @property
    def needs_gram(self) -> bool:
        """Whether `align` is to be called after the next step, which then costs a little more."""
        ...

    def align(self, cosines: Mapping[str, float]) -> None:
        """After a step: the cosine of each task's gradient with the sum of the others', of tasks that showed one."""
        ...

    def judge(self, verdicts: Mapping[str, Verdict]) -> None:
        """After an evaluation, equal on all ranks. Tasks without validation rows are missing."""
        ...

    def state(self) -> dict[str, object]: ...

    def load_state(self, state: Mapping[str, object]) -> None: ...


class Weighting(Protocol):
    """How the tasks' losses combine."""

    def coefficients(self) -> Tensor:
        """One factor per task for this step's backward, float32 [T] on the CPU, in the model's head order."""
        ...

    @property
    def needs_gram(self) -> bool:
        """Whether `see` is to be called after this step's backward, which then costs a little more."""
        ...

    @property
    def unsigned(self) -> Collection[str]:
        """Tasks whose losses it can make nothing of below 0."""
        ...

    @property
    def exact(self) -> bool:
        """Whether this step tells it its losses, and its Gram matrix if it needs one, before the coefficients of its own backward
        are asked."""
        ...

    @property
    def looks_back(self) -> bool:
        """Whether `look_back` is to be called after the step, where it is exact: one more forward."""
        ...

    def see(self, gram: Tensor) -> None:
        """Before `observe`: inner products [T, T] of the gradients of the tasks' mean losses, without coefficients.

        Step-global, float64 on the CPU, equal on all ranks; 0 in the row and column of a task that shows no gradient.
        """
        ...

    def observe(self, losses: Tensor, present: Tensor) -> None:
        """Step-global mean losses [T] and which tasks had targets in the step [T] bool; equal on all ranks."""
        ...

    def look_back(self, losses: Tensor, present: Tensor) -> None:
        """The losses of the same rows after the step; the rest as `observe`."""
        ...

    def state(self) -> dict[str, object]: ...

    def load_state(self, state: Mapping[str, object]) -> None: ...


class Monitor(Protocol):
    """Where numbers go. Only rank 0 has one that writes; a monitor never stops a run."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def event(self, name: str, **details: object) -> None: ...

    def close(self, *, failed: bool = False) -> None: ...
