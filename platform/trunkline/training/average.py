"""A moving average of the parameters, kept beside them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from trunkline.training.engine import Engine


class Average:
    """The exponential moving average (EMA) of every trained parameter, in float32.

        a = d * a + (1 - d) * p   after every step taken,   d = min(decay, (1 + step) / (10 + step))

    Source: Polyak & Juditsky, SIAM 1992, with the weights of TensorFlow's ExponentialMovingAverage: the first steps count little
    once there are many. It begins as the parameters are. Each rank averages what it holds (at ZeRO-3 its part), so the mean of
    the whole needs no exchange.
    """

    def __init__(self, engine: Engine, decay: float) -> None:
        self.engine, self.decay = engine, decay
        self.held = {name: held.detach().float().clone() for name, held in engine.held().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After step number `step` (1 is the first) has changed the parameters."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        parameters = self.engine.held()
        torch._foreach_lerp_(list(self.held.values()), [parameters[name].float() for name in self.held], share)

    def move(self, engine: Engine, state: Mapping[str, Tensor]) -> None:
        """Goes on with another engine of the same model; what is trained from now on begins as it is."""
        self.engine = engine
        self.held = {name: held.detach().float().clone() for name, held in engine.held().items()}
        self.load({name: whole for name, whole in state.items() if name in self.held})

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Within, the model's parameters ARE the average; afterwards they are what they were, bit for bit."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def named(self, keep: Callable[[str], bool] = lambda _: True) -> dict[str, Tensor]:
        """name -> the whole average, float32 on the CPU. Collective; keep: which names this rank holds on to."""
        found = {}
        for name, held in self.held.items():
            whole = self.engine.whole(name, held)
            if keep(name):
                found[name] = whole.detach().to("cpu", copy=True)
        return found

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Takes up what `named` gave; a name that is missing keeps the parameter it began as."""
        for name, whole in state.items():
            self.held[name].copy_(self.engine.part(name, whole.to(self.held[name].device)))

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, parameter in self.engine.held().items():
            kept = parameter.detach().clone()
            parameter.copy_(self.held[name])
            self.held[name].copy_(kept)
