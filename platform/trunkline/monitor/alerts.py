"""What a person should hear of at once, out of a run's events and figures; never more than a few of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

EVERY_S = 600.0
MOST = 50
REGRESSION = 0.1  # share of a metric's best that is lost


@dataclass(frozen=True)
class Alert:
    """level: INFO, WARN or ERROR, as Weights & Biases knows them."""

    title: str
    text: str
    level: str = "WARN"


def _non_finite(details: Mapping[str, Any]) -> Alert:
    tasks = ", ".join(details.get("tasks") or ()) or "unknown tasks"
    what = details.get("what", "loss")
    return Alert("Step left out", f"The {what} of step {details.get('step')} is not finite, in {tasks}.")


def _spike(details: Mapping[str, Any]) -> Alert:
    tasks = ", ".join(details.get("tasks") or ()) or "unknown tasks"
    return Alert("Step left out", f"The loss of step {details.get('step')} leaps, in {tasks}.")


def _rolled_back(details: Mapping[str, Any]) -> Alert:
    return Alert(
        "Rolled back", f"After step {details.get('step')} training went on from the weights of step {details.get('to')}."
    )


def _checkpoint_failed(details: Mapping[str, Any]) -> Alert:
    return Alert("Checkpoint failed", f"No checkpoint of step {details.get('step')}: {details.get('reason')}.", "ERROR")


def _straggler(details: Mapping[str, Any]) -> Alert:
    return Alert("Straggler", f"Rank {details.get('rank')} is slower than the others at step {details.get('step')}.")


def _stopped(details: Mapping[str, Any]) -> Alert:
    return Alert("Stopped", f"Stopped with a checkpoint after step {details.get('step')}; it can be resumed.", "INFO")


def _finished(details: Mapping[str, Any]) -> Alert:
    return Alert("Finished", f"All {details.get('steps')} steps are done.", "INFO")


OF_EVENTS: dict[str, Callable[[Mapping[str, Any]], Alert]] = {
    "non_finite": _non_finite,
    "spike": _spike,
    "rolled_back": _rolled_back,
    "checkpoint_failed": _checkpoint_failed,
    "straggler": _straggler,
    "stopped": _stopped,
    "preempted": _stopped,
    "finished": _finished,
}


class Alerts:
    """directions: metric -> max or min. Alerts of one title come at most every `every_s`, and `most` of them in all.

    A metric regresses when it is worse than its own best by more than a tenth of that best.
    """

    def __init__(
        self,
        directions: Mapping[str, str],
        *,
        every_s: float = EVERY_S,
        most: int = MOST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directions = {name: way for name, way in directions.items() if way in ("max", "min")}
        self._every_s, self._left, self._clock = every_s, most, clock
        self._last: dict[str, float] = {}
        self._best: dict[str, float] = {}

    def of_event(self, name: str, details: Mapping[str, Any]) -> Alert | None:
        """What is to be said of an event, if anything."""
        return self._limited(OF_EVENTS[name](details)) if name in OF_EVENTS else None

    def of_figures(self, step: int, values: Mapping[str, float]) -> Alert | None:
        """What is to be said of an evaluation: the task that lost most."""
        lost: dict[str, float] = {}
        for name, value in values.items():
            if name in self._directions and name.startswith("eval/"):
                sign = 1 if self._directions[name] == "max" else -1
                best = self._best.setdefault(name, value)
                if sign * (best - value) > REGRESSION * abs(best):
                    lost[name] = sign * (best - value) / abs(best) if best else float("inf")
                self._best[name] = max(best, value) if sign > 0 else min(best, value)
        if not lost:
            return None
        worst = max(lost, key=lambda name: lost[name])
        text = f"{worst} is {values[worst]:.4g} at step {step}; its best was {self._best[worst]:.4g}."
        return self._limited(Alert("Regression", text))

    def of_failure(self) -> Alert | None:
        """What is to be said of a run that ends by an error."""
        return self._limited(Alert("Failed", "The run ended with an error; its log and events.jsonl say which.", "ERROR"))

    def _limited(self, alert: Alert) -> Alert | None:
        now = self._clock()
        if self._left <= 0 or now - self._last.get(alert.title, -self._every_s) < self._every_s:
            return None
        self._last[alert.title] = now
        self._left -= 1
        return alert
