"""Real gloo ranks for the parity laws: processes that stay up and run functions by name."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import tempfile
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


def _send(pipe: Connection, value: object) -> None:
    """By value: the pipe's own pickling would share tensors through sockets in a TMPDIR that ends with the test."""
    pipe.send_bytes(pickle.dumps(value))


def _receive(pipe: Connection) -> Any:
    return pickle.loads(pipe.recv_bytes())


def _serve(pipe: Connection, rank: int, world: int, store: str) -> None:
    os.environ |= {"LOCAL_RANK": str(rank), "LOCAL_SIZE": str(world), "DS_ACCELERATOR": "cpu", "RANK": str(rank)}
    os.environ |= {"WORLD_SIZE": str(world)}
    import datetime

    import torch

    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=world, timeout=datetime.timedelta(seconds=240)
    )
    while True:
        call = _receive(pipe)
        if call is None:
            break
        function, arguments, settings = call
        try:
            _send(pipe, (True, function(*arguments, **settings)))
        except BaseException:
            _send(pipe, (False, traceback.format_exc()))


class RankError(AssertionError):
    """A rank raised; the message is its traceback."""


class Ranks:
    """`Ranks(2)(function, ...)` runs a module-level function on both ranks at once and returns their results."""

    def __init__(self, world: int) -> None:
        self.world = world
        context = multiprocessing.get_context("spawn")
        self.folder = tempfile.TemporaryDirectory(prefix="ranks")
        self.pipes: list[Connection] = []
        self.processes = []
        for rank in range(world):
            mine, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, rank, world, f"{self.folder.name}/store"), daemon=True)
            process.start()
            self.pipes.append(mine)
            self.processes.append(process)

    def __call__(self, function: Callable[..., Any], *arguments: Any, timeout_s: float = 300, **settings: Any) -> list[Any]:
        for pipe in self.pipes:
            _send(pipe, (function, arguments, settings))
        results = []
        for rank, pipe in enumerate(self.pipes):
            if not pipe.poll(timeout_s):
                self.close()
                raise RankError(f"rank {rank} gave no answer within {timeout_s} s: a hang")
            results.append(_receive(pipe))
        failed = [text for fine, text in results if not fine]
        if failed:
            raise RankError("\n".join(failed))
        return [value for _, value in results]

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()
        self.folder.cleanup()
