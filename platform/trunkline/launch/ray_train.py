"""Workers inside Ray Train: an embedded Ray on this machine, one TorchTrainer per attempt."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trunkline.config import Recipe
from trunkline.errors import TrunklineError
from trunkline.launch.runs import RunFolder

RESTARTS = 3  # worker failures survived in one `trunkline train`; a resumed run counts anew
# Ray's own defaults poll for minutes; a lost worker on one machine is seen within seconds.
ENVIRONMENT = {
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "60",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # 15 by default: anything else on the machine would starve the training
}


def run_with_ray(run: RunFolder, recipe: Recipe) -> None:
    """Trains the prepared run on `recipe.workers.count` workers; returns when it is finished.

    Raises the worker's own TrunklineError if that is what ended it, after no retry: a wrong recipe stays wrong.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import logging

    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    workers = recipe.workers
    backend = "nccl" if workers.gpus else "gloo"
    owned = not ray.is_initialized()
    if owned:
        ray.init(
            num_cpus=max(1, workers.count * workers.cpus),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=100 * 1024 * 1024,
        )
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        trainer = TorchTrainer(
            in_worker,
            train_loop_config={"run": str(run.path.resolve()), "cpus": workers.cpus, "driver": os.getpid()},
            torch_config=TorchConfig(backend=backend, timeout_s=600),
            scaling_config=ScalingConfig(
                num_workers=workers.count,
                use_gpu=workers.gpus > 0,
                resources_per_worker={"CPU": workers.cpus, "GPU": workers.gpus},
            ),
            run_config=RunConfig(
                name=f"{run.run_id}-a{_attempt(run)}",
                storage_path=str((run.path / "ray").resolve()),
                failure_config=FailureConfig(max_failures=RESTARTS),
            ),
        )
        trainer.fit()
    except Exception as error:
        raise _cause(error) from error
    finally:
        if owned:
            ray.shutdown()


def in_worker(config: Mapping[str, Any]) -> None:
    """Runs in each Ray worker. A user's mistake is written down and ends the run without a retry."""
    os.environ["LOCAL_SIZE"] = os.environ.get("LOCAL_WORLD_SIZE", "1")
    if not _has_gpu():
        os.environ["DS_ACCELERATOR"] = "cpu"
    else:
        import ray.train.torch
        import torch

        torch.cuda.set_device(ray.train.torch.get_device())
    threading.Thread(target=_leave_with, args=(int(config["driver"]),), daemon=True).start()
    from trunkline.launch.worker import work

    work(config)


def _attempt(run: RunFolder) -> int:
    """One more than the attempts this run has had; a reused name would silently restore Ray's own state."""
    folder = run.path / "ray"
    return 1 + (len([path for path in folder.iterdir() if path.is_dir()]) if folder.is_dir() else 0)


def _leave_with(driver: int) -> None:
    """Ends this worker when its driver on the same machine is gone: an orphan must not write into a resumed run."""
    while True:
        time.sleep(1)
        if not Path(f"/proc/{driver}").exists():
            os._exit(1)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _cause(error: BaseException) -> BaseException:
    """The TrunklineError at the bottom of Ray's wrappers, if there is one."""
    seen: list[BaseException] = [error]
    while seen:
        current = seen.pop()
        if isinstance(current, TrunklineError):
            return current
        inner = [current.__cause__, getattr(current, "cause", None), *getattr(current, "worker_failures", {}).values()]
        seen += [item for item in inner if isinstance(item, BaseException) and item is not current]
    return error
