"""What weightings share that read the Gram matrix of the tasks' gradients."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trunkline.errors import ConfigError
from trunkline.weighting.base import Weighting, switch

# A task multiplied by 0 shows no gradient, and so would never come back. Floating point loses nothing at this size.
LEAST = 1e-6


class FromGram(Weighting):
    """A map from the tasks' Gram matrix to their coefficients, lagged: what a step shows is used from the next step on; or exact.

    `solve` is the map. It is given the Gram matrix [t, t] of the tasks seen, divided by the mean of its diagonal, so that no
    solver's threshold depends on the size of gradients. Only tasks seen in the step move: those with a gradient that is finite
    and not 0; a step that shows fewer than two of them changes nothing. Coefficients are 1 until then. What is below 1e-6 is
    1e-6, negative ones too: the coefficient reaches the task's head, which would climb its loss. The card's weight multiplies,
    and is not in the Gram matrix. every: whole steps from one look at gradients to the next, at least 1; looking costs time.
    exact: a step's own gradients decide its coefficients, by a look that goes back to the probe layers and no further.
    Raises ConfigError for fewer than two tasks or a value out of range.
    """

    def __init__(self, tasks: Sequence[str], weights: Sequence[float], *, every: int = 1, exact: bool = False) -> None:
        super().__init__(tasks, weights)
        if len(self.tasks) < 2:
            raise ConfigError(
                f"weighting.kind weighs the gradients of tasks against each other, and there is one task, '{self.tasks[0]}'. "
                "Take static, or add a task."
            )
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ConfigError(f"weighting.every must be a whole number of steps, at least 1, found {every!r}.")
        self.every, self._exact, self.step = every, switch("exact", exact), 0
        self.found = torch.ones(len(self.tasks), dtype=torch.float64)
        self.gram: Tensor | None = None

    @property
    def needs_gram(self) -> bool:
        return self.step % self.every == 0

    @property
    def exact(self) -> bool:
        return self._exact and self.needs_gram

    def coefficients(self) -> Tensor:
        return self.weights * self.found.clamp(min=LEAST)

    def see(self, gram: Tensor) -> None:
        self.gram = gram

    def observe(self, losses: Tensor, present: Tensor) -> None:
        gram, self.gram = self.gram, None
        self.step += 1
        if gram is None:
            return
        norms = gram.diagonal()
        seen = (present & torch.isfinite(norms) & (norms > 0)).nonzero().flatten()  # [t]
        if len(seen) < 2:
            return
        own = gram[seen][:, seen].double()
        found = self.solve(own / own.diagonal().mean(), seen, losses[seen].double())
        if torch.isfinite(found).all():
            self.found[seen] = found.double()

    @abstractmethod
    def solve(self, gram: Tensor, seen: Tensor, losses: Tensor) -> Tensor:
        """Coefficients [t] of the tasks numbered `seen` [t], 1 each where nothing is to be done. gram [t, t], losses [t]."""

    def state(self) -> dict[str, object]:
        return {"step": self.step, "found": dict(zip(self.tasks, self.found.tolist(), strict=True))}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.step = int(state["step"])
        for number, task in enumerate(self.tasks):
            self.found[number] = state["found"].get(task, 1.0)


def ordered(call: Any, gram: Tensor, seed: int, step: int) -> Tensor:
    """What `call` makes of the Gram matrix with torch's generator a function of (seed, step): alike on all ranks, and again."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(hashlib.blake2b(f"{seed} {step}".encode(), digest_size=7).digest(), "big"))
        found: Tensor = call(gram)
    return found


def whole_number(key: str, value: object) -> int:
    """`value` as it is. Raises ConfigError unless it is a whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"weighting.{key} must be a whole number, found {value!r}.")
    return value


def mean_one(found: Tensor) -> Tensor:
    """The same proportions with mean 1, negative ones as 0."""
    kept = found.clamp(min=0)
    return kept * len(kept) / kept.sum()
