"""What a rank writes on its standard output and error, kept in the run folder: it outlives the rank's node."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from trunkline.errors import TrunklineError

STREAMS = (1, 2)


def file_of(folder: Path, rank: int) -> Path:
    """The file of a rank in a run's `logs`."""
    return folder / f"rank-{rank:05d}.txt"


@contextlib.contextmanager
def kept(folder: Path, rank: int, world: int) -> Iterator[None]:
    """While the block runs, what this process writes, its libraries in C included, is added to the rank's file.

    Each attempt begins with a line that says where it ran; an error of the block is written there too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = os.open(file_of(folder, rank), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    _flush()
    before = [os.dup(stream) for stream in STREAMS]
    try:
        for stream in STREAMS:
            os.dup2(file, stream)
        now = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        os.write(file, f"--- rank {rank} of {world}: process {os.getpid()} on {socket.gethostname()}, {now} UTC\n".encode())
        try:
            yield
        except BaseException as error:
            traceback.print_exc(limit=0 if isinstance(error, TrunklineError) else None)  # a stop is no accident
            raise
    finally:
        _flush()
        for stream, own in zip(STREAMS, before, strict=True):
            os.dup2(own, stream)
            os.close(own)
        os.close(file)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
