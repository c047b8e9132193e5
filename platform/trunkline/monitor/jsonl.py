"""metrics.jsonl and events.jsonl of a run: always written, the source of plots, tests and reports."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path

from trunkline import durable
from trunkline.monitor.redact import redacted
from trunkline.monitor.shield import sentence

METRICS_FILE, EVENTS_FILE = "metrics.jsonl", "events.jsonl"
logger = logging.getLogger(__name__)


class Jsonl:
    """Appends `{"step", "time", <name>: number, ...}` to metrics.jsonl and `{"time", "event", ...}` to events.jsonl.

    folder: the run's, made if missing. resume_step: the step a resumed run starts from; metric records of later steps are
    removed in one rename, so that the file ends up as the straight run's (times apart). Events are history and stay. A
    line torn by a crash is dropped from either.

    Each record is one write at the end of the file, so readers see whole lines. Times are seconds since 1970. A number that
    is not finite is written null. When the disk is full (or the folder cannot be written) the run goes on: one warning,
    records are left out until there is room again, and what is in the file stays whole lines.
    """

    def __init__(self, folder: str | Path, *, resume_step: int | None = None) -> None:
        self.folder = Path(folder)
        self._warned = False
        self._descriptors: dict[str, int] = {}
        limits = {METRICS_FILE: math.inf if resume_step is None else resume_step, EVENTS_FILE: math.inf}
        for name, last_step in limits.items():
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                _keep_until(self.folder / name, last_step)
            except OSError as error:
                self._warn(name, error)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        numbers = {name: float(value) for name, value in values.items()}
        finite = {name: number if math.isfinite(number) else None for name, number in numbers.items()}
        self.append(METRICS_FILE, {"step": int(step), "time": round(time.time(), 3), **finite})

    def event(self, name: str, **details: object) -> None:
        plain = {key: redacted(value, key) for key, value in details.items()}
        self.append(EVENTS_FILE, {"time": round(time.time(), 3), "event": name, **plain})

    def close(self, *, failed: bool = False) -> None:
        """Closes the files; a later record opens them again."""
        del failed  # the files say what happened themselves
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def append(self, name: str, record: Mapping[str, object]) -> None:
        """A line of a file of the folder."""
        line = (json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "backslashreplace")
        try:
            if name not in self._descriptors:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                self._descriptors[name] = os.open(self.folder / name, flags, 0o644)
            _write_whole(self._descriptors[name], line)
        except OSError as error:
            self._warn(name, error)

    def _warn(self, name: str, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("%s can not be written, training goes on without it: %s", self.folder / name, sentence(error))


def _write_whole(descriptor: int, line: bytes) -> None:
    """All of the line or nothing: a disk that fills up half-way would leave a torn one."""
    size = os.fstat(descriptor).st_size
    if os.write(descriptor, line) != len(line):
        os.ftruncate(descriptor, size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _keep_until(path: Path, last_step: float) -> None:
    """Drops lines that are torn or of a later step; the file is replaced by one rename, and only if it must."""
    if not path.exists():
        return
    with path.open("rb") as lines:
        if all(_stands(line, last_step) for line in lines):
            return
    kept = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with path.open("rb") as lines, kept.open("wb") as new:
            new.writelines(line for line in lines if _stands(line, last_step))
        durable.commit(kept, path)
    finally:
        kept.unlink(missing_ok=True)


def _stands(line: bytes, last_step: float) -> bool:
    if not line.endswith(b"\n"):
        return False
    try:
        record = json.loads(line)
    except ValueError:
        return False
    return isinstance(record, dict) and record.get("step", 0) <= last_step
