"""Signals while a run trains: the first asks it to stop after its step, so that it leaves a checkpoint.

SIGTERM          ends with 75; further ones change nothing
SIGINT (Ctrl-C)  ends with 130; one more, after whichever signal, ends at once
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

INTERRUPTED = 130
TRAINING, ASKED = threading.Event(), threading.Event()  # in a Ray worker: it trains; it was asked to stop
SHOW_CURSOR = "\x1b[?25h"


class Signals:
    """Takes SIGTERM and SIGINT while the block runs, if it runs in the main thread; `ask` is called on the first.

    interrupted: the first was SIGINT.
    """

    def __init__(self, ask: Callable[[], object]) -> None:
        self._ask = ask
        self._first: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def interrupted(self) -> bool:
        return self._first == signal.SIGINT

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._take) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, _: FrameType | None) -> None:
        if self._first is None:
            self._first = number
            self._ask()
        elif number == signal.SIGINT:
            if sys.stderr.isatty():
                sys.stderr.write(SHOW_CURSOR)  # a live view hides it
                sys.stderr.flush()
            os._exit(INTERRUPTED)


def listen() -> None:
    """In the main thread of a Ray worker: SIGTERM asks it to stop while it trains. Ray's own handler would end it in mid-step."""
    before = signal.getsignal(signal.SIGTERM)

    def take(number: int, frame: FrameType | None) -> None:
        if TRAINING.is_set():
            ASKED.set()
        elif callable(before):
            before(number, frame)

    signal.signal(signal.SIGTERM, take)
