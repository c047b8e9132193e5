"""Several monitors as one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from trunkline.monitor.shield import sentence, shielded

if TYPE_CHECKING:
    from trunkline.batch import Monitor

logger = logging.getLogger(__name__)


class Group:
    """Hands everything to each monitor in turn. One that raises is switched off with one warning; the others go on.

    The others are told by an event `monitor_failed`. A monitor switched off is still closed.
    """

    def __init__(self, monitors: Sequence[Monitor]) -> None:
        self._all = list(monitors)
        self._on = list(monitors)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._each(lambda monitor: monitor.log(step, values))

    def event(self, name: str, **details: object) -> None:
        self._each(lambda monitor: monitor.event(name, **details))

    def close(self, *, failed: bool = False) -> None:
        for monitor in self._all:
            self._call(monitor, lambda monitor: monitor.close(failed=failed))

    def _each(self, action: Callable[[Monitor], None]) -> None:
        for monitor in self._all:
            if monitor in self._on:  # asked each time: one monitor's failure can be the end of the next
                self._call(monitor, action)

    def _call(self, monitor: Monitor, action: Callable[[Monitor], None]) -> None:
        failures: list[Exception] = []
        with shielded(failures.append):
            action(monitor)
        if failures and monitor in self._on:
            self._on.remove(monitor)
            name = type(monitor).__name__
            logger.warning("monitor %s failed and is switched off, training goes on: %s", name, sentence(failures[0]))
            self.event("monitor_failed", monitor=name, error=sentence(failures[0]))
