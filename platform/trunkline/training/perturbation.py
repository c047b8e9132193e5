"""Moving what the trunk's embeddings give, row by row: where it is added, how long it is, and noise that knows no rank."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trunkline.batch import Batch
from trunkline.data.keys import splitmix64, unit

Begin = Callable[[int], Tensor]


class Rows:
    """The trunk rows of a pack, for figures of values [N, D] by row. key: of the run's seed and the step."""

    def __init__(self, batch: Batch, key: int = 0) -> None:
        self.batch, self.key = batch, key

    @cached_property
    def lengths(self) -> Tensor:
        return torch.diff(self.batch.row_starts)

    @cached_property
    def row_of_token(self) -> Tensor:
        rows = torch.arange(len(self.batch.row_lengths), device=self.batch.tokens.device)
        return torch.repeat_interleave(rows, self.lengths, output_size=self.batch.num_tokens)

    def norm(self, values: Tensor, *, largest: bool = False) -> Tensor:
        """[N, D] -> [N, 1], at each token the length of its row's values over all its tokens, or their largest size."""
        flat = values.double()  # squares of small gradients would be 0 in float32
        by_token = flat.abs().amax(1) if largest else flat.square().sum(1)
        found = torch.segment_reduce(by_token, "max" if largest else "sum", lengths=self.lengths, unsafe=True)
        return (found if largest else found.sqrt())[self.row_of_token].unsqueeze(1)

    def directions(self, slope: Tensor, *, largest: bool = False) -> Tensor:
        """slope [N, D], each row divided by its length; 0 where a row has none."""
        norm = self.norm(slope, largest=largest)
        return torch.where(norm > 0, slope.double() / norm.clamp(min=torch.finfo(torch.float64).tiny), 0.0).to(slope.dtype)

    def inside(self, delta: Tensor, radius: float) -> Tensor:
        """delta [N, D], rows longer than `radius` drawn back to it."""
        norm = self.norm(delta)
        return torch.where(norm > radius, delta.double() * (radius / norm.clamp(min=1e-300)), delta.double()).to(delta.dtype)

    def elements(self, width: int) -> Tensor:
        """At each token [N, 1] how many numbers its row has: tokens times `width`."""
        return (self.lengths * width)[self.row_of_token].unsqueeze(1)

    def uniform(self, width: int, stream: int = 0) -> Tensor:
        """[N, width] from -1 to 1, a function of the key and of the row's own tokens: alike in any pack, on any rank."""
        tokens, starts = self.batch.tokens.cpu().numpy(), self.batch.row_starts.cpu().numpy()[:-1]
        places = self.batch.positions.cpu().numpy().astype(np.uint64)
        with np.errstate(over="ignore"):
            marks = splitmix64(splitmix64(tokens.astype(np.uint64)) ^ places)
            rows = splitmix64(np.add.reduceat(marks, starts) ^ np.uint64(self.key & (2**64 - 1)) ^ np.uint64(stream))
            by_token = splitmix64(np.repeat(rows, self.batch.row_lengths) ^ splitmix64(places))
            found = unit(splitmix64((by_token[:, None] + np.arange(width, dtype=np.uint64)).ravel()))
        return torch.from_numpy((2 * found - 1).astype(np.float32).reshape(-1, width)).to(self.batch.tokens.device)

    def normal(self, width: int) -> Tensor:
        """[N, width] of mean 0 and variance 1, as `uniform` is keyed. Source: Box & Muller, 1958."""
        first, second = (self.uniform(width, stream).double() for stream in (1, 2))
        radius = (-2 * ((1 + first) / 2).clamp(min=1e-12).log()).sqrt()
        return (radius * (torch.pi * second).cos()).float()


class Shift:
    """What is added to the embeddings of one pack: delta [N, D], a leaf whose gradient is kept.

    begin: width D -> where it starts, for a width that shows in the first forward only; None: at 0.
    """

    def __init__(self, rows: Rows, begin: Begin | None = None, delta: Tensor | None = None) -> None:
        self.rows, self.begin = rows, begin
        self._delta = None if delta is None else delta.detach().requires_grad_()
        self.seen = 0

    @property
    def delta(self) -> Tensor:
        assert self._delta is not None, "the embeddings were not read yet"
        return self._delta

    @property
    def slope(self) -> Tensor:
        """The gradient that the last backward left."""
        assert self.delta.grad is not None
        return self.delta.grad

    def to(self, delta: Tensor) -> Shift:
        return Shift(self.rows, delta=delta)

    @contextlib.contextmanager
    def on(self, embeddings: nn.Module) -> Iterator[None]:
        """Within, `embeddings` gives what it gives plus delta."""
        hook = embeddings.register_forward_hook(self._moved)
        try:
            yield
        finally:
            hook.remove()

    def _moved(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        del module, inputs
        self.seen += 1
        tokens, width = self.rows.batch.num_tokens, output.shape[-1]
        if self._delta is None:
            start = torch.zeros(tokens, width, device=output.device) if self.begin is None else self.begin(width)
            self._delta = start.detach().requires_grad_()
        if output.numel() == tokens * width:
            return output + self.delta.view_as(output)
        # Padded rows [R, L, D].
        place = self.rows.row_of_token * output.shape[1] + self.rows.batch.positions
        spread = self.delta.new_zeros(output.numel() // width, width).index_copy(0, place, self.delta)
        return output + spread.view_as(output)
