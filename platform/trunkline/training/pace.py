"""How long each rank takes for its own part of a step, and which one holds up the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from statistics import median
from typing import Any

WINDOW, FACTOR, LEAST_S = 20, 2.0, 0.02


class Pace:
    """Seconds of every rank's forward passes, which wait for nobody at ZeRO 0 to 2; told when a rank is `FACTOR` times slower.

    Under ZeRO-3 a forward waits for the others' parameters, and on a GPU the host's time is what is seen.
    """

    def __init__(self) -> None:
        self.seen: deque[Sequence[float]] = deque(maxlen=WINDOW)

    def see(self, seconds: Sequence[float]) -> dict[str, Any] | None:
        """The details of an event, if a rank held up the others through the last `WINDOW` steps; then it starts anew."""
        self.seen.append(seconds)
        if len(seconds) < 2 or len(self.seen) < WINDOW:
            return None
        usual = [median(step[rank] for step in self.seen) for rank in range(len(seconds))]
        slowest = max(range(len(usual)), key=usual.__getitem__)
        others = median(value for rank, value in enumerate(usual) if rank != slowest)
        if usual[slowest] < max(FACTOR * others, LEAST_S):
            return None
        self.seen.clear()
        times = round(usual[slowest] / max(others, 1e-9), 1)
        return {"rank": slowest, "times": times, "seconds": round(usual[slowest], 4), "others": round(others, 4)}
