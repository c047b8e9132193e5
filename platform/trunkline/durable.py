"""Files that survive a crash: written aside, synced, then visible under their name, whole or not at all."""

from __future__ import annotations

import collections
import os
import signal
from pathlib import Path

CRASH_AT = "TRUNKLINE_CRASH_AT"
_passed: collections.Counter[str] = collections.Counter()


def crash_point(name: str) -> None:
    """Where a process may be killed, so that a test can kill it there; nothing happens unless the environment asks for it.

    TRUNKLINE_CRASH_AT=name kills it as SIGKILL does when it comes by, name:n when it comes by for the n-th time.
    """
    wanted, _, times = os.environ.get(CRASH_AT, "").partition(":")
    if wanted == name:
        _passed[name] += 1
        if _passed[name] == int(times or 1):
            os.kill(os.getpid(), signal.SIGKILL)


def sync(path: Path) -> None:
    """Makes a file's content, or a folder's names, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: Path, content: bytes) -> None:
    """A new file, durable once this returns; for folders that are renamed as a whole afterwards."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def commit(temporary: Path, path: Path) -> None:
    """Gives what was written aside its name, replacing what bore it. Both lie in one folder."""
    sync(temporary)
    os.replace(temporary, path)
    sync(path.parent)


def replace(path: Path, text: str) -> None:
    """The file with this text instead of what it held; a crash leaves the old or the new."""
    put(path, text.encode())


def put(path: Path, content: bytes) -> None:
    """As `replace`, of bytes."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    commit(temporary, path)
