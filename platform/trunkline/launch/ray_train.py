"""Workers inside Ray Train: an embedded Ray on this machine, one TorchTrainer per attempt."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from trunkline.build.memory import shrink
from trunkline.config.recipe import Recipe
from trunkline.errors import EnvironmentProblem, Hung, OutOfMemory, TrunklineError
from trunkline.launch.output import kept
from trunkline.launch.runs import RunFolder
from trunkline.launch.signals import ASKED, TRAINING
from trunkline.launch.watchdog import verdict
from trunkline.monitor.jsonl import METRICS_FILE, Jsonl

WATCH_S = 0.25
RESTARTS = 3  # worker failures survived in one `trunkline train`; a resumed run counts anew
# What is said of a worker that is gone, by Ray or by the ranks that were connected to it.
LOST = (
    *("ActorDied", "actor died", "actor is dead", "ActorUnavailable", "is temporarily unavailable", "NodeDied", "HealthCheck"),
    *("Connection closed by peer", "Connection reset by peer"),
)
# Ray's own defaults poll for minutes; a lost worker on one machine is seen within seconds.
ENVIRONMENT = {
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "60",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # 15 by default: anything else on the machine would starve the training
}


@contextlib.contextmanager
def embedded_ray(recipe: Recipe) -> Iterator[None]:
    """A Ray of our own on this machine while the block runs; one this process is connected to already is used and left.

    With RAY_ADDRESS, as in a submitted job, the cluster at that address. Raises EnvironmentProblem if Ray does not come up.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    owned = not ray.is_initialized()
    if owned:
        address = os.environ.get("RAY_ADDRESS")
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **({"address": address} if address else _own(recipe)))
        except Exception as error:  # Ray raises no class of its own where a node is too slow
            where = f"can not be reached at {address}" if address else "does not start here"
            raise EnvironmentProblem(f"Ray {where}: {error}. Train without it: --in-process.") from error
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        with same_folder():
            yield
    finally:
        if owned:
            ray.shutdown()


@contextlib.contextmanager
def same_folder() -> Iterator[None]:
    """After the block this process works where it did before.

    The folder of a job may be removed and laid anew while it runs: by another node of the same machine, which unpacks it too.
    """
    here = os.getcwd()
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.chdir(here)


def _own(recipe: Recipe) -> dict[str, Any]:
    cpus = max(1, recipe.workers.on(os.cpu_count() or 1) * recipe.workers.cpus)
    return {"num_cpus": cpus, "object_store_memory": 100 * 1024 * 1024, "include_dashboard": False}


def run_with_ray(run: RunFolder, recipe: Recipe, placement: str = "pack") -> None:
    """Trains the prepared run on `recipe.workers.count` workers of the Ray that is up; returns when it is finished.

    With `at_least`, on as many as there is room for when an attempt begins; where there is room for more later, Ray ends the
    workers and begins with more, from the newest checkpoint.

    placement: pack the workers on few nodes, or spread them over many.

    A lost worker is replaced: a new attempt goes on from the newest checkpoint, up to `RESTARTS` times. A TrunklineError of
    a worker is raised as itself, after no retry: a wrong recipe stays wrong. So is Hung, when a rank made no progress, and an
    error that comes twice at the same step. Where memory was short, the next attempt takes passes of half the tokens.
    """
    now: tuple[int, str] | None = None
    for attempt in range(RESTARTS + 1):
        try:
            with ThreadPoolExecutor(1) as aside:  # in the main thread Ray would take SIGINT for itself
                aside.submit(_trainer(run, recipe, placement).fit).result()
            return
        except Exception as error:
            if said := verdict(run.stacks):
                raise Hung(said) from error
            cause = _cause(error)
            smaller = shrink(run.path) if isinstance(cause, OutOfMemory) else None
            before, now = now, (steps_reached(run), last_line(error))
            again = before == now and not lost(error)
            if smaller is None and (isinstance(cause, TrunklineError) or attempt == RESTARTS or again):
                raise cause from error
            tell(run, "attempt_failed", attempt=attempt + 1, of=RESTARTS + 1, tokens_per_pass=smaller, error=now[1][-500:])


def steps_reached(run: RunFolder) -> int:
    """The last step that was logged."""
    path = run.path / METRICS_FILE
    lines = path.read_text().splitlines() if path.is_file() else []
    return int(json.loads(lines[-1])["step"]) if lines and lines[-1].endswith("}") else 0


def lost(error: BaseException) -> bool:
    """Whether a worker is gone, with its node or alone, and did not raise."""
    return any(word in str(error) for word in LOST)


def last_line(error: BaseException) -> str:
    """What an error says in the end, without what differs from attempt to attempt: addresses, processes."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"0x[0-9a-f]+|\d+", "N", lines[-1].strip())


def tell(run: RunFolder, name: str, **details: object) -> None:
    """An event of the driver's own."""
    events = Jsonl(run.path)
    events.event(name, **details)
    events.close()


def _trainer(run: RunFolder, recipe: Recipe, placement: str) -> Any:
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from trunkline.launch.ray_backend import ListeningConfig

    workers = recipe.workers
    each = {"CPU": workers.cpus, "GPU": workers.gpus}
    driver = (ray.get_runtime_context().get_node_id(), os.getpid())
    return TorchTrainer(
        in_worker,
        train_loop_config={"run": str(run.path.resolve()), "cpus": workers.cpus, "driver": driver},
        torch_config=ListeningConfig(backend="nccl" if workers.gpus else "gloo", timeout_s=round(recipe.train.hang_s) + 600),
        scaling_config=ScalingConfig(
            num_workers=(workers.at_least, workers.count) if workers.elastic else workers.count,
            elastic_resize_monitor_interval_s=workers.grow_every_s,
            use_gpu=workers.gpus > 0,
            resources_per_worker=each,
            placement_strategy=placement.upper(),
        ),
        run_config=RunConfig(
            name=f"{run.run_id}-a{_attempt(run)}",
            storage_path=str((run.path / "ray").resolve()),
            failure_config=FailureConfig(max_failures=0),
        ),
    )


def in_worker(config: Mapping[str, Any]) -> None:
    """Runs in each Ray worker."""
    import ray.train

    os.environ["LOCAL_SIZE"] = os.environ.get("LOCAL_WORLD_SIZE", "1")
    if not _has_gpu():
        os.environ["DS_ACCELERATOR"] = "cpu"
    else:
        import ray.train.torch
        import torch

        torch.cuda.set_device(ray.train.torch.get_device())
    run, context = RunFolder(Path(config["run"])), ray.train.get_context()
    driver = _on_this_node(*config["driver"])
    threading.Thread(target=_watch, args=(driver, run.stop), daemon=True).start()
    with kept(run.logs, context.get_world_rank(), context.get_world_size()):
        from trunkline.launch.worker import work

        TRAINING.set()
        try:
            work(config, ASKED.is_set)
        finally:
            TRAINING.clear()


def _attempt(run: RunFolder) -> int:
    """One more than the attempts this run has had; a reused name would silently restore Ray's own state."""
    folder = run.path / "ray"
    return 1 + (len([path for path in folder.iterdir() if path.is_dir()]) if folder.is_dir() else 0)


def _on_this_node(node: str, driver: int) -> int | None:
    """The driver's process id where that means something; on other nodes Ray ends the workers of a driver that is gone."""
    import ray

    return driver if ray.get_runtime_context().get_node_id() == node else None


def _watch(driver: int | None, stop: Path) -> None:
    """Ends this worker when its driver on the same machine is gone: an orphan must not write into a resumed run.

    stop: the file by which the driver asks it to stop.
    """
    while True:
        time.sleep(WATCH_S)
        if stop.exists():
            ASKED.set()
        if driver is not None and not Path(f"/proc/{driver}").exists():
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
