"""The tasks' gradients on a few layers of the trunk, from the ordinary backward."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from trunkline.batch import Batch
from trunkline.models.base import Trunk


class Probe:
    """Watches one optimizer step and tells the inner products of the tasks' gradients with respect to the probe layers.

    Rows do not mix before the loss and each belongs to one task, so what flows back to a task's tokens is its own alone. For a
    linear layer with input X and output gradient dY the gradient of task t's mean loss is

        sum over ranks and micro-batches of  dY[t].T @ X[t] / carried[t]

    where carried is what the mean loss was multiplied with on the way: its coefficient, and the number of ranks for the engine.
    Weights alone, not biases. The products run in the layers' own precision (bf16 under autocast, as the weights'
    own gradient), sums in float32, the Gram matrix in float64. Holds T float32 copies of the probe layers; the trunk's `probes`
    says which they are, unless `layers` does. Nothing is left on the layers after the step.

    shared: rows may belong to several tasks, whose gradients are then told apart by a `look` for each.
    """

    def __init__(self, trunk: Trunk, num_tasks: int, layers: Sequence[str] | None = None, *, shared: bool = False) -> None:
        self.trunk, self.num_tasks, self.shared = trunk, num_tasks, shared
        self.layers = trunk.probed(layers)
        self.sums: dict[int, Tensor] = {}
        self.outputs: list[Tensor] = []
        self.looking: int | None = None
        self.seen = False
        assert self.layers, "the trunk names no probe layers"

    @contextlib.contextmanager
    def watching(self, batch: Batch, carried: Tensor) -> Iterator[None]:
        """Around forward and backward of one micro-batch. carried [T]: 0 for a task that shows nothing."""
        if not self.shared:
            alone(batch)
        self.outputs = []
        inverse = torch.where(carried != 0, 1 / carried, 0.0)
        hooks = [
            layer.register_forward_hook(partial(self._forward, number, batch, inverse))
            for number, layer in enumerate(self.layers)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def look(self, scalar: Tensor, factors: Tensor) -> None:
        """A backward of the pack watched last, down to the probe layers and no further; its graph stays for another.

        factors [T]: those the scalar was made with (`Weighed`); left as they were.
        """
        assert not self.seen, "looked at after its matrix was told"
        if not self.shared:
            torch.autograd.grad(scalar, self.outputs, retain_graph=True, allow_unused=True)
            return
        kept = factors.clone()
        for task in kept.nonzero().flatten().tolist():
            self.looking = task
            factors.zero_()[task] = kept[task]
            torch.autograd.grad(scalar, self.outputs, retain_graph=True, allow_unused=True)
        factors.copy_(kept)
        self.looking = None

    def gram(self) -> Tensor:
        """[T, T] float64 on the CPU; what flows back later is not watched. Collective.

        Zero in the row and column of a task without a row in the step.
        """
        self.seen, self.outputs = True, []
        total = torch.zeros(self.num_tasks, self.num_tasks, dtype=torch.float64, device=self.sums[0].device)
        for number in range(len(self.layers)):
            flat = self.reduced(self.sums.pop(number)).flatten(1).double()  # [T, out * in]
            total += flat @ flat.T
        return total.cpu()

    def reduced(self, gradients: Tensor) -> Tensor:
        """The sum over ranks."""
        torch.distributed.all_reduce(gradients)
        return gradients

    def _forward(
        self, number: int, batch: Batch, inverse: Tensor, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor
    ) -> None:
        del layer
        self.outputs.append(output)
        output.register_hook(partial(self._backward, number, batch, inverse, inputs[0].detach()))

    def _backward(self, number: int, batch: Batch, inverse: Tensor, given: Tensor, slope: Tensor) -> None:
        if self.seen:
            return
        x, dy = self.trunk.by_token(batch, given), self.trunk.by_token(batch, slope)  # [N, in], [N, out]
        assert len(x) == len(dy) == batch.num_tokens, f"a probe layer saw {len(x)} tokens of {batch.num_tokens}"
        x = x.to(dy.dtype)
        if number not in self.sums:
            self.sums[number] = torch.zeros(self.num_tasks, dy.shape[1], x.shape[1], device=dy.device)
        if self.looking is not None:
            self.sums[number][self.looking] += (dy.T @ x).float() * inverse[self.looking]
            return
        for task, part in enumerate(batch.tasks.values()):
            if not part.dummy:
                self.sums[number][task] += (dy[part.tokens].T @ x[part.tokens]).float() * inverse[task]


def alone(batch: Batch) -> None:
    """Asserts that no row belongs to two tasks; the composer has refused such recipes."""
    own = sorted((part.tokens.start, part.tokens.stop) for part in batch.tasks.values() if not part.dummy)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(own)), "tasks share rows"
