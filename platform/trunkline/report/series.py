"""What a run logged, as curves."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POINTS = 320  # of a drawn curve; more than a screen shows


@dataclass(frozen=True)
class Curve:
    """A named line: steps and values, in order."""

    name: str
    steps: Sequence[float]
    values: Sequence[float]

    def smoothed(self, stretches: int = 40) -> Curve:
        """The mean around each point, over a fortieth of the curve; short ones as they are."""
        half = len(self.values) // (2 * stretches)
        if not half:
            return self
        sums = [0.0, *itertools.accumulate(self.values)]
        edges = [(max(0, row - half), min(len(self.values), row + half + 1)) for row in range(len(self.values))]
        return Curve(self.name, self.steps, [(sums[stop] - sums[start]) / (stop - start) for start, stop in edges])

    def thinned(self, most: int = POINTS) -> Curve:
        """At most `most` points: the lowest and the highest of each stretch, so that no peak is lost."""
        if len(self.steps) <= most:
            return self
        stretch = math.ceil(2 * len(self.steps) / most)
        kept: list[int] = []
        for start in range(0, len(self.steps), stretch):
            own = range(start, min(start + stretch, len(self.steps)))
            low, high = min(own, key=self.values.__getitem__), max(own, key=self.values.__getitem__)
            kept += sorted({low, high})
        return Curve(self.name, [self.steps[row] for row in kept], [self.values[row] for row in kept])


def read_series(path: Path) -> dict[str, Curve]:
    """Name -> curve of a metrics.jsonl, without what is no number; nothing where there is no file."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for record in records(path):
        step = record.get("step")
        if not isinstance(step, int | float):
            continue
        for name, value in record.items():
            if (
                name in ("step", "time")
                or isinstance(value, bool)
                or not isinstance(value, int | float)
                or not math.isfinite(value)
            ):
                continue
            steps, values = found.setdefault(name, ([], []))
            steps.append(float(step))
            values.append(float(value))
    return {name: Curve(name, *own) for name, own in found.items()}


def records(path: Path) -> Iterable[Mapping[str, Any]]:
    """The whole lines of a JSON-lines file."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record


def seconds(events: Iterable[Mapping[str, Any]]) -> float:
    """In training, by an events.jsonl: between the first and the last event of each attempt."""
    total, began, last = 0.0, None, None
    for event in events:
        if event.get("event") == "training":
            total += last - began if began is not None and last is not None else 0.0
            began = event["time"]
        last = event.get("time", last)
    return total + (last - began if began is not None and last is not None else 0.0)
