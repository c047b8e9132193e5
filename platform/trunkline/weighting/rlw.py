"""Weights by lot."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from trunkline.errors import ConfigError
from trunkline.registry import WEIGHTINGS
from trunkline.weighting.base import Weighting


@WEIGHTINGS.register("rlw")
class RLW(Weighting):
    """Random loss weighting: T * softmax(z), z drawn anew from N(0, 1) for every task in every step.

    Source: Lin, Ye, Zhang & Tsang (arXiv:2111.10603), with the normal distribution; the baseline that a clever weighting
    has to beat. Departure: times T, so that weights are 1 on average as static ones are. z is a function of (seed, step,
    task), so ranks and resumed runs agree and the order of tasks does not matter. The card's weight multiplies. seed: a
    whole number; it is this weighting's own, so change it with the recipe's to repeat a run. Raises ConfigError otherwise.
    """

    def __init__(self, tasks: Sequence[str], weights: Sequence[float], *, seed: int = 0) -> None:
        super().__init__(tasks, weights)
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise ConfigError(f"weighting.seed must be a whole number, found {seed!r}.")
        self.seed, self.step = seed, 1

    def coefficients(self) -> Tensor:
        drawn = torch.tensor([self._normal(task) for task in self.tasks], dtype=torch.float64)
        return self.weights * torch.softmax(drawn, 0) * len(self.tasks)

    def observe(self, losses: Tensor, present: Tensor) -> None:
        del losses, present
        self.step += 1

    def state(self) -> dict[str, object]:
        return {"step": self.step}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.step = int(state["step"])

    def _normal(self, task: str) -> float:
        word = hashlib.blake2b(f"{self.seed}\0{self.step}\0{task}".encode(), digest_size=8).digest()
        return NormalDist().inv_cdf(((int.from_bytes(word, "big") >> 12) + 0.5) * 2.0**-52)  # 52 bits: never 0 or 1
