"""One trunk, one head per task."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from trunkline.batch import Batch
from trunkline.models.base import Trunk
from trunkline.models.heads.base import Head
from trunkline.models.lora import Adapters


class MultiTask(nn.Module):
    """Runs the trunk once over the pack and every head the pack names on its slice, in this model's fixed order.

    trunk: Batch -> hidden [N, D]. heads: task -> module (hidden [n, D], RowIndex) -> outputs. All ranks hold the same
    tasks in the same order; the order is that of `heads`. A module that stands for several tasks is kept once, under the first
    of them, and called for each. adapters: what some tasks change in the trunk on their own slices.
    """

    trunk: Trunk

    def __init__(self, trunk: Trunk, heads: Mapping[str, Head], adapters: Adapters | None = None) -> None:
        super().__init__()
        self.trunk = trunk
        first: dict[int, str] = {}
        self.owners = {task: first.setdefault(id(head), task) for task, head in heads.items()}
        self.heads = nn.ModuleDict({_key(task): heads[task] for task in first.values()})
        self.tasks = list(heads)
        self.adapters = adapters

    def head(self, task: str) -> Head:
        found = self.heads[_key(self.owners[task])]
        assert isinstance(found, Head)
        return found

    def answer(self, task: str, batch: Batch) -> Tensor:
        """One task's answers on its slice, first dimension targets (or rows); small enough to gather."""
        return self.answers([task], batch)[task]

    def answers(self, tasks: Sequence[str], batch: Batch) -> dict[str, Tensor]:
        """The answers of several tasks from one pass through the trunk."""
        hidden = self._hidden(tasks, batch)
        return {task: self.head(task).answer(hidden[task], batch.index(task)) for task in tasks}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Outputs per task of the pack, dummy slices included."""
        present = [task for task in self.tasks if task in batch.tasks]
        hidden = self._hidden(present, batch)
        return {task: self.head(task)(hidden[task], batch.index(task)) for task in present}

    def _hidden(self, tasks: Sequence[str], batch: Batch) -> dict[str, Tensor]:
        """What each task's head reads [n, D], from one pass through the trunk: the last layer's states, or its own mix of all."""
        mixes = {task: self.head(task).mix for task in tasks}
        with self.adapters.over(batch) if self.adapters is not None else contextlib.nullcontext():
            layers = self.trunk.layers(batch) if any(mixes.values()) else [self.trunk(batch)]  # [N, D] each
        cut = [batch.states(states) for states in layers]
        return {task: cut[-1][task] if mix is None else mix([states[task] for states in cut]) for task, mix in mixes.items()}


def _key(task: str) -> str:
    """A module's name; plain `keys` or `type` would hide a method of ModuleDict."""
    return f"{task}_"


def owner(parameter: str) -> str | None:
    """The task a parameter of MultiTask belongs to, by its name; None for the trunk."""
    first, _, rest = parameter.partition(".")
    return rest.partition(".")[0].removesuffix("_") if first in ("heads", "adapters") else None
