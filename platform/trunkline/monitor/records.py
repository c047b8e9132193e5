"""What a run writes down while it trains, record by record: from its folder, and through the log of a job on a cluster."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from trunkline.monitor.jsonl import EVENTS_FILE, METRICS_FILE

POLL_S = 0.25
MARK = "@trunkline "  # what stands before a record in a job's log


def relay(folder: str | Path, stop: threading.Event, stream: TextIO | None = None, *, skip_existing: bool = False) -> None:
    """Writes each record of the run in `folder` as a line of JSON behind a mark, until `stop` is set. Blocks.

    stream: default stderr. skip_existing: not what is there already.
    """
    stream = sys.stderr if stream is None else stream
    tails = tails_of(Path(folder))
    if skip_existing:
        news(tails)
    for record in until(stop, tails):
        stream.write(f"{MARK}{json.dumps(record, ensure_ascii=True)}\n")
        stream.flush()


def record_of(line: str) -> dict[str, Any] | None:
    """The record that `relay` wrote as this line; None for any other line."""
    if not line.startswith(MARK):
        return None
    return next(_parsed(line.removeprefix(MARK).encode()), None)


def tails_of(folder: Path) -> list[Tail]:
    """Of the metrics and the events of the run in `folder`."""
    return [Tail(folder / METRICS_FILE), Tail(folder / EVENTS_FILE)]


def until(stop: threading.Event, tails: Sequence[Tail]) -> Iterator[dict[str, Any]]:
    """New records as they come; after `stop` those still unread."""
    stopped = False
    while not stopped:
        stopped = stop.wait(POLL_S)
        yield from news(tails)


def news(tails: Sequence[Tail]) -> list[dict[str, Any]]:
    """New records of all files, by their time."""
    return sorted((record for tail in tails for record in tail.read()), key=lambda record: float(record.get("time", 0.0)))


class Tail:
    """New whole lines of a file that another process appends to, creates late, or replaces (a resumed run drops records)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._inode = -1
        self._offset = 0
        self._seen: set[int] = set()

    def read(self) -> Iterator[dict[str, Any]]:
        try:
            with self.path.open("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                if inode != self._inode:
                    self._inode, self._offset = inode, 0
                file.seek(self._offset)
                chunk = file.read()
        except OSError:
            return
        whole = chunk[: chunk.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            if hash(line) not in self._seen:  # a replaced file is read again from its start
                self._seen.add(hash(line))
                yield from _parsed(line)


def _parsed(line: bytes) -> Iterator[dict[str, Any]]:
    try:
        record = json.loads(line)
    except ValueError:
        return
    if isinstance(record, dict):
        yield record
