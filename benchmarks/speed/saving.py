"""A checkpoint of 100M parameters with their moments, and a plain torch.save of the same: how long training waits."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import torch

from trunkline import checkpoint

PARAMETERS, TENSORS = 100_000_000, 100


class Saving:
    """Both sides write to one folder, and what they wrote is removed after."""

    def __init__(self) -> None:
        size = PARAMETERS // TENSORS
        keys = ("param", "exp_avg", "exp_avg_sq")
        self.state = {f"{key}/layer_{number}": torch.rand(size) for number in range(TENSORS) for key in keys}
        self.folder, self.done = Path(tempfile.mkdtemp()), 0

    def ours(self) -> None:
        """As the loop saves: a copy of the state, then files, hashes and COMMIT."""
        self.done += 1
        copied = {name: value.clone() for name, value in self.state.items()}
        shutil.rmtree(checkpoint.save(self.folder, self.done, copied, {}, {}, rank=0, gather=lambda value: [value]))

    def theirs(self) -> None:
        """torch.save, on the disk when it returns."""
        path = self.folder / "plain.pt"
        with path.open("wb") as file:
            torch.save(self.state, file)
            file.flush()
            os.fsync(file.fileno())
        path.unlink()

    def close(self) -> None:
        shutil.rmtree(self.folder)
