"""Checkpoints written at once, or beside training: then a thread runs the commit protocol on a copy of the state."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from trunkline.checkpoint import Gather

Write = Callable[[Gather], Path]


def gather(value: Any, group: torch.distributed.ProcessGroup | None = None) -> list[Any]:
    """All ranks' values in rank order; also a barrier. group: None for the run's own."""
    found: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, value, group=group)
    return found


class Saver:
    """One save at a time. aside: in a thread, whose barriers run over a process group of their own (collective to make).

    Training has then to leave what is saved alone, so it is handed over as a copy; and every rank begins and settles at the same
    places, for the outcome is not known before. The protocol is the same: what a killed process began is no checkpoint.

    Source: Mohan et al., "CheckFreq", FAST 2021 (snapshot, then persist).
    """

    def __init__(self, *, aside: bool) -> None:
        self._pool = ThreadPoolExecutor(1, "checkpoint") if aside else None
        self._gather = functools.partial(gather, group=torch.distributed.new_group(backend="gloo")) if aside else gather
        self._begun: Future[Path] | None = None

    def begin(self, write: Write) -> None:
        """Runs `write`, or has it run; what was begun before has been settled."""
        assert self._begun is None
        if self._pool is not None:
            self._begun = self._pool.submit(write, self._gather)
            return
        self._begun = Future()
        try:
            self._begun.set_result(write(self._gather))
        except OSError as error:
            self._begun.set_exception(error)

    def settle(self) -> Path:
        """The checkpoint that was begun, once it stands. Raises the OSError of a disk that refused it."""
        begun, self._begun = self._begun, None
        assert begun is not None
        return begun.result()
