"""Files that survive a crash: written aside, synced, then visible under their name, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


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
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    commit(temporary, path)
