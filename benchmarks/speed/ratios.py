"""Paired times of two sides, their ratio with an interval, and the row that is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Step = Callable[[], object]
CLOSE = 1e-4  # of the summed losses of a step


@dataclass(frozen=True)
class Pair:
    """Seconds of one side and the other in the same rounds."""

    ours: Sequence[float]
    theirs: Sequence[float]

    def ratio(self, *, draws: int = 2000) -> tuple[float, float, float]:
        """How many times as long the other side takes: median over rounds, and its 95 % bootstrap interval."""
        each, rng = np.array(self.theirs) / np.array(self.ours), np.random.default_rng(0)
        again = np.median(each[rng.integers(0, len(each), (draws, len(each)))], 1)
        low, high = np.quantile(again, [0.025, 0.975])
        return float(np.median(each)), float(low), float(high)


class Clock:
    """CPU seconds of this process between calls."""

    def __init__(self) -> None:
        self.last = time.process_time()

    def lap(self) -> float:
        now = time.process_time()
        passed, self.last = now - self.last, now
        return passed


def taking_turns(ours: Step, theirs: Step, *, rounds: int, warm: int = 2) -> Pair:
    """A step of each in turn, the first side changing from round to round; `warm` rounds are left out."""
    found: Mapping[str, list[float]] = {"ours": [], "theirs": []}
    for number in range(rounds + warm):
        sides: list[tuple[str, Step]] = [("ours", ours), ("theirs", theirs)]
        for name, step in sides if number % 2 else sides[::-1]:
            clock = Clock()
            step()
            if number >= warm:
                found[name].append(clock.lap())
    return Pair(found["ours"], found["theirs"])


def row(
    number: str, measured: tuple[float, ...], must: float, stretch: float, what: str, *, at_most: bool = False, **more: Any
) -> dict[str, Any]:
    """What is kept of a ratio (median, low, high). met: the median reaches the must, or with `at_most` does not pass it."""
    got, low, high = (round(value, 4) for value in measured)
    met = got <= must if at_most else got >= must
    stated = {"id": number, "measure": what, "must": must, "stretch": stretch, **({"at_most": True} if at_most else {})}
    return {**stated, "got": got, "interval": [low, high], "met": met, **more}


def agreed(apart: float) -> float:
    """Raises AssertionError where two sides did not train the same."""
    assert apart < CLOSE, f"the losses of the two sides are {apart} apart"
    return apart
