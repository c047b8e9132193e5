"""A checkpoint of parameters with their moments: how long training waits, at once and beside training, and plain torch.save."""

from __future__ import annotations

import functools
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from trunkline import checkpoint
from trunkline.launch.saving import Saver

PARAMETERS, TENSORS = 100_000_000, 100


@dataclass(frozen=True)
class Spent:
    """Seconds of the clock, and of the processor."""

    seconds: float
    cpu: float


class Saving:
    """Seconds for which a save blocks; what it leaves to its thread is waited for after the clock, and removed."""

    def __init__(self, parameters: int = PARAMETERS) -> None:
        size = parameters // TENSORS
        keys = ("param", "exp_avg", "exp_avg_sq")
        self.state = {f"{key}/layer_{number}": torch.rand(size) for number in range(TENSORS) for key in keys}
        self.folder, self.done = Path(tempfile.mkdtemp()), 0
        self.savers = {aside: Saver(aside=aside) for aside in (True, False)}

    def blocked(self, *, aside: bool) -> float:
        """As the loop saves: a copy of the state, then files, hashes and COMMIT."""
        self.done += 1
        since = time.perf_counter()
        copied = {name: value.clone() for name, value in self.state.items()}
        self.savers[aside].begin(functools.partial(_write, self.folder, self.done, copied))
        seconds = time.perf_counter() - since
        shutil.rmtree(self.savers[aside].settle())
        return seconds

    def written(self) -> Spent:
        """The commit protocol alone."""
        self.done += 1
        return _timed(lambda: _write(self.folder, self.done, self.state, lambda value: [value]))

    def plain(self) -> Spent:
        """torch.save to one file, which is neither hashed nor synced."""
        return _timed(lambda: _saved(self.folder / "plain.pt", self.state))

    def close(self) -> None:
        shutil.rmtree(self.folder)


def _timed(write: Callable[[], Path]) -> Spent:
    since, cpu = time.perf_counter(), time.process_time()
    path = write()
    spent = Spent(time.perf_counter() - since, time.process_time() - cpu)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    return spent


def _saved(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    torch.save(tensors, path)
    return path


def _write(folder: Path, step: int, tensors: dict[str, torch.Tensor], gather: checkpoint.Gather) -> Path:
    return checkpoint.save(folder, step, tensors, {}, {}, rank=0, gather=gather)
