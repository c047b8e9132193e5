"""The same steps in a Ray Train worker and in a plain process, each told through files when to take one."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from benchmarks.speed.ours import Ours
from benchmarks.speed.work import WORKS, work

ROWS, STEPS, LIMIT_S = 128, 4, 300


class Side:
    """Takes a step where the files in `folder` tell it to: <n>.go in, <n>.done with the CPU seconds of the process out."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number = folder, 0

    def step(self) -> float:
        """CPU seconds of one step over there."""
        self.number += 1
        (self.folder / f"{self.number}.go").touch()
        return float(_awaited(self.folder / f"{self.number}.done"))

    def end(self) -> None:
        (self.folder / f"{self.number + 1}.go").write_text("end")

    @staticmethod
    def serve(folder: Path) -> None:
        """Over there, until it is told to end."""
        torch.set_num_threads(1)
        ours, number = Ours(work(WORKS["W1"], steps=STEPS, rows=ROWS)), 0
        while True:
            number += 1
            if _awaited(folder / f"{number}.go", empty=True) == "end":
                return
            before = time.process_time()
            ours.step()
            done = folder / f"{number}.part"
            done.write_text(str(time.process_time() - before))
            done.rename(folder / f"{number}.done")


def _awaited(path: Path, *, empty: bool = False) -> str:
    """What stands in a file, once it is there."""
    since = time.monotonic()
    while not path.exists():
        time.sleep(0.02)
        if time.monotonic() - since > LIMIT_S:
            raise TimeoutError(f"{path.name}: the other side did not answer in {LIMIT_S} s")
    text = path.read_text()
    assert empty or text
    return text


@contextlib.contextmanager
def plain(folder: Path) -> Iterator[Side]:
    """A process of its own."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.speed.processes", str(folder)])
    side = Side(folder)
    try:
        yield side
    finally:
        side.end()
        process.wait(60)


@contextlib.contextmanager
def in_ray(folder: Path) -> Iterator[Side]:
    """A worker of Ray Train, in a Ray as `trunkline train` starts one."""
    from trunkline.launch.ray_train import ENVIRONMENT

    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"folder": str(folder)},
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(num_workers=1),
        run_config=RunConfig(name="bench", storage_path=str(folder)),
    )
    waiting, side = threading.Thread(target=trainer.fit, daemon=True), Side(folder)
    waiting.start()
    try:
        yield side
    finally:
        side.end()
        waiting.join(60)
        ray.shutdown()


def _worker(config: dict[str, Any]) -> None:
    os.environ["DS_ACCELERATOR"] = "cpu"
    Side.serve(Path(config["folder"]))


@contextlib.contextmanager
def both() -> Iterator[tuple[Side, Side]]:
    """The Ray Train worker and the plain process."""
    with contextlib.ExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2)]
        yield stack.enter_context(in_ray(folders[0])), stack.enter_context(plain(folders[1]))


if __name__ == "__main__":
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    Side.serve(Path(sys.argv[1]))
