"""A run's figures as metrics of Ray, which Prometheus reads from every node: see deploy/prometheus and deploy/grafana."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trunkline.monitor.jsonl import EVENTS_FILE

# Name -> (what it says, labels beside `run`). Ray exports each as ray_<name>.
GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "trunkline_step": ("the last step that was logged", ()),
    "trunkline_step_seconds": ("seconds of a step, evaluations and checkpoints included", ()),
    "trunkline_last_step_time_seconds": ("when the last step was logged, seconds since 1970", ()),
    "trunkline_tokens_per_s": ("tokens in a second, in steps", ()),
    "trunkline_task_loss": ("a task's training loss", ("task",)),
    "trunkline_task_metric": ("a task's metric", ("task", "metric")),
    "trunkline_restarts": ("attempts of this run that failed", ()),
    "trunkline_effective_share": ("share of this attempt's time that was spent in steps", ()),
}
COUNTERS: dict[str, tuple[str, str]] = {
    "trunkline_steps_left_out": ("steps whose loss or gradient was not finite", "non_finite"),
    "trunkline_checkpoints_failed": ("checkpoints that could not be written", "checkpoint_failed"),
}
Make = Callable[..., Any]


def ray_metrics(folder: Path) -> list[RayMetrics]:
    """The monitor of a worker inside Ray; none elsewhere."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return []
    from ray.util import metrics

    return [RayMetrics(folder, metrics.Gauge, metrics.Counter)]


class RayMetrics:
    """make_gauge, make_counter: as ray.util.metrics.Gauge and Counter."""

    def __init__(self, folder: Path, make_gauge: Make, make_counter: Make, clock: Callable[[], float] = time.time) -> None:
        self._run, self._clock, self._began = folder.name, clock, clock()
        self._gauges = {
            name: make_gauge(name, description=said, tag_keys=("run", *labels)) for name, (said, labels) in GAUGES.items()
        }
        self._counters = {
            event: make_counter(name, description=said, tag_keys=("run",)) for name, (said, event) in COUNTERS.items()
        }
        self._last: tuple[int, float] | None = None
        self._tokens: float | None = None
        self._in_steps_s = 0.0
        self._set("trunkline_restarts", _failed_attempts(folder / EVENTS_FILE))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        now = self._clock()
        self._set("trunkline_step", step)
        self._set("trunkline_last_step_time_seconds", now)
        if self._last is not None and step > self._last[0]:
            self._set("trunkline_step_seconds", (now - self._last[1]) / (step - self._last[0]))
        if self._last is None or step > self._last[0]:
            self._last = (step, now)
        self._speed(values, now)
        for name, value in values.items():
            room, _, rest = name.partition("/")
            task, _, what = rest.rpartition("/")
            if room == "train" and what == "loss" and task:
                self._set("trunkline_task_loss", value, task=task)
            elif room == "eval" and task:
                self._set("trunkline_task_metric", value, task=task, metric=what)

    def event(self, name: str, **details: object) -> None:
        del details
        if name in self._counters:
            self._counters[name].inc(1, tags={"run": self._run})

    def close(self, *, failed: bool = False) -> None:
        """Ray forgets the metrics of a worker that ends."""
        del failed

    def _speed(self, values: Mapping[str, float], now: float) -> None:
        rate, tokens = values.get("system/tokens_per_s"), values.get("train/tokens")
        if rate:
            self._set("trunkline_tokens_per_s", rate)
        if rate and tokens is not None and self._tokens is not None and now > self._began:
            self._in_steps_s += (tokens - self._tokens) / rate
            self._set("trunkline_effective_share", min(1.0, self._in_steps_s / (now - self._began)))
        self._tokens = tokens if tokens is not None else self._tokens

    def _set(self, name: str, value: float, **labels: str) -> None:
        self._gauges[name].set(float(value), tags={"run": self._run, **labels})


def _failed_attempts(events: Path) -> int:
    lines = events.read_text(encoding="utf-8", errors="replace").splitlines() if events.is_file() else []
    whole = (json.loads(line) for line in lines if '"attempt_failed"' in line and line.endswith("}"))
    return sum(record.get("event") == "attempt_failed" for record in whole)
