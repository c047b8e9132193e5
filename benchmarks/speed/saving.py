"""A checkpoint of 100M parameters with their moments: how long training waits, at once and beside training."""

from __future__ import annotations

import functools
import shutil
import tempfile
import time
from pathlib import Path

import torch

from trunkline import checkpoint
from trunkline.launch.saving import Saver

PARAMETERS, TENSORS = 100_000_000, 100


class Saving:
    """Seconds for which a save blocks; what it leaves to its thread is waited for after the clock, and removed."""

    def __init__(self) -> None:
        size = PARAMETERS // TENSORS
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

    def close(self) -> None:
        shutil.rmtree(self.folder)


def _write(folder: Path, step: int, tensors: dict[str, torch.Tensor], gather: checkpoint.Gather) -> Path:
    return checkpoint.save(folder, step, tensors, {}, {}, rank=0, gather=gather)
