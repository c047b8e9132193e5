"""Training on this machine: prepare, then run the workers inside an embedded Ray or in this process."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trunkline.build.memory import shrink
from trunkline.build.prepare import prepare, project_folder
from trunkline.config.recipe import Recipe, load_recipe
from trunkline.errors import OutOfMemory, Stopped, UsageError
from trunkline.launch.ray_train import embedded_ray, run_with_ray, tell
from trunkline.launch.runs import RunFolder, RunLock, check_unchanged, find_run, new_run, submitted_run
from trunkline.launch.signals import Signals


@dataclass(frozen=True)
class Result:
    """What a training left. run: its folder; model: the model folder; tasks: one mapping per task (see result.json)."""

    run: Path
    model: Path
    tasks: list[dict[str, Any]]


def train(
    recipe: str | Path,
    *,
    overrides: Sequence[str] = (),
    resume: bool | str = False,
    keep_recipe: bool = False,
    in_process: bool = False,
    outputs: str | Path | None = None,
    say: Callable[[str], None] | None = None,
    show: bool | Literal["records"] = False,
    run_id: str | None = None,
    placement: str = "pack",
) -> Result:
    """See `trunkline.train`. show: follow the run on stderr while it trains, as a line of JSON per record if `records`.

    run_id: of a run that was submitted: it goes on if it is there; its data is stored beside it, where all nodes see it.
    """
    path = Path(recipe)
    place = Path(outputs) if outputs is not None else project_folder(path) / "outputs"
    tell = say or (lambda _: None)
    if resume and overrides:
        raise UsageError("a resumed run keeps its recipe: -s and --resume do not go together. Start a new run to change it.")
    if run_id is not None:
        kept = submitted_run(place, run_id)
    else:
        kept = find_run(place, resume if isinstance(resume, str) else None, path) if resume else None
    if kept and not keep_recipe and run_id is None:
        check_unchanged(kept, path)
    stated = load_recipe(kept.recipe) if kept else load_recipe(path, overrides)
    in_process = in_process or stated.workers.count == 0
    if in_process and stated.workers.count > 1:
        tell(f"training in this process alone: workers.count {stated.workers.count} is not used")
    run = kept or _prepared(stated, path, overrides, place, tell, run_id)
    with RunLock(run):
        if run.finished:
            tell(f"run {run.run_id} is finished already")
        else:
            if kept:
                _check_stored(kept)
            tell(f"{'resuming' if kept else 'run'} {run.run_id}")
            try:
                _follow(run, stated, in_process=in_process, show=show, resumed=kept is not None, placement=placement)
            except KeyboardInterrupt:
                tell(f"stopped. It goes on from its newest checkpoint with: trunkline train {path} --resume {run.run_id}")
                raise
            except Stopped as error:
                raise Stopped(f"{error.message} It goes on with: trunkline train {path} --resume {run.run_id}") from error
    return Result(run.path, run.model, json.loads(run.result.read_text())["tasks"])


def _prepared(
    recipe: Recipe, path: Path, overrides: Sequence[str], outputs: Path, tell: Callable[[str], None], run_id: str | None
) -> RunFolder:
    """A new run folder; nothing is left of it if the recipe, a card or the data is wrong."""
    run = new_run(outputs, path, overrides, run_id)
    store = outputs / ".store" if run_id is not None else project_folder(path) / ".trunkline" / "store"
    try:
        prepare(recipe, run.path, store, tell)
    except BaseException:
        _remove(run.path)
        raise
    return run


def _check_stored(run: RunFolder) -> None:
    """Raises IntegrityError if rows that the run was started with are others now. Reads all of them."""
    from trunkline.data.store import StoredSplit

    for splits in json.loads(run.prepared.read_text())["splits"].values():
        for path in splits.values():
            StoredSplit.open(path).verify()


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _watcher(run: RunFolder, recipe: Recipe, stop: threading.Event, *, records: bool, resumed: bool) -> threading.Thread:
    if records:
        from trunkline.monitor.records import relay

        return threading.Thread(target=relay, args=(run.path, stop), kwargs={"skip_existing": resumed}, daemon=True)
    from trunkline.monitor.console import follow

    details = {"evaluate_every": recipe.train.evaluate_every, "skip_existing": resumed}
    return threading.Thread(target=follow, args=(run.path, recipe.train.steps, stop), kwargs=details, daemon=True)


def _follow(
    run: RunFolder, recipe: Recipe, *, in_process: bool, show: bool | Literal["records"], resumed: bool, placement: str
) -> None:
    stop = threading.Event()
    watcher = _watcher(run, recipe, stop, records=show == "records", resumed=resumed)
    if show:
        watcher.start()
    _remove(run.stacks)
    try:
        if in_process:
            asked = threading.Event()
            with _stoppable(asked.set):
                run_here(run, recipe, asked.is_set)
        else:
            run.stop.unlink(missing_ok=True)
            with embedded_ray(recipe), _stoppable(run.stop.touch):
                run_with_ray(run, recipe, placement)
    finally:
        run.stop.unlink(missing_ok=True)
        stop.set()
        if show:
            watcher.join(timeout=10)
            sys.stderr.flush()


@contextlib.contextmanager
def _stoppable(ask: Callable[[], object]) -> Iterator[None]:
    """Signals ask the run to stop; one that stops on Ctrl-C raises KeyboardInterrupt, otherwise Stopped."""
    with Signals(ask) as signals:
        try:
            yield
        except Stopped:
            if signals.interrupted:
                raise KeyboardInterrupt from None
            raise


def run_here(run: RunFolder, recipe: Recipe, asked: Callable[[], bool]) -> None:
    """The worker function in this process, as the only rank; for tests, debugging and small runs."""
    from trunkline.launch.worker import work

    with alone():
        while True:
            try:
                return work({"run": str(run.path), "cpus": recipe.workers.cpus}, asked)
            except OutOfMemory:
                smaller = shrink(run.path)
                if smaller is None:
                    raise
                tell(run, "attempt_failed", tokens_per_pass=smaller, error="memory")


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """This process is the only rank; torch's threads and its choice of kernels are put back after."""
    import torch

    os.environ.setdefault("LOCAL_RANK", "0")
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    if not torch.distributed.is_initialized():
        # Stays up until the process ends: DeepSpeed remembers the first one it sees.
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        torch.distributed.init_process_group(backend, store=torch.distributed.HashStore(), rank=0, world_size=1)
    threads, exact = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(exact)
