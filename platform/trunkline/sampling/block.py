"""One task in each step, drawn by lot."""

from __future__ import annotations

import bisect
import hashlib
import itertools
from collections.abc import Mapping
from typing import Any

from trunkline.errors import ConfigError
from trunkline.registry import SAMPLERS
from trunkline.sampling.base import Around, Horizon, whole


@SAMPLERS.register("block")
class Block(Around):
    """Every step holds rows of one task only, on all ranks; which one is drawn by lot, anew every `length` steps.

        chance of a task = rate * mean tokens of its rows / sum over tasks of the same

    For losses that want a step to themselves, at any rates. A step is filled up to tokens_per_step, so that these chances give
    each task its share of rows. of: the rates, a sampling schedule. seed: of the lots, its own; the lot is a function of (seed,
    step). length: steps in a row of one task, >= 1. Raises ConfigError when out of range.
    """

    def __init__(
        self, sizes: Mapping[str, int], horizon: Horizon, *, of: str | Mapping[str, Any] = "proportional", length: int = 1,
        seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(sizes, horizon, of)
        self.length, self.seed = whole("length", length), seed
        if self.needs_gram:
            raise ConfigError("sampling.of compares the tasks' gradients, and every step has one task. Take another reward.")

    def rates(self, step: int) -> Mapping[str, float]:
        number = (step - 1) // self.length
        found = self.of.rates(number * self.length + 1)
        ends = list(itertools.accumulate(rate * self.horizon.row_tokens[task] for task, rate in found.items()))
        word = int.from_bytes(hashlib.blake2b(f"{self.seed} {number}".encode(), digest_size=7).digest(), "big")
        turn = list(found)[min(bisect.bisect_right(ends, word / 2**56 * ends[-1]), bisect.bisect_left(ends, ends[-1]))]
        return {task: float(task == turn) for task in found}
