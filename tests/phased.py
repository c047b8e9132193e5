"""Runs of the small project on real ranks, and what their checkpoints hold: for laws about what is trained when."""

from __future__ import annotations

import functools
import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trunkline import checkpoint
from trunkline.build.prepare import prepare
from trunkline.config.recipe import load_recipe
from trunkline.launch import worker
from trunkline.launch.restored import by_name
from trunkline.launch.runs import RunFolder
from trunkline.training import loop
from trunkline.training import step as steps
from trunkline.training.freezing import Freezing

Entries = dict[str, dict[str, Tensor]]


def prepared(recipe: Path, run: Path, overrides: Sequence[str]) -> Path:
    """A run folder that is ready to be trained."""
    run.mkdir(parents=True)
    prepare(load_recipe(recipe, overrides), run, recipe.parent.parent / ".trunkline" / "store", lambda _: None)
    return run


def on_rank(run: str, fault: str = "", bad: Sequence[int] = ()) -> None:
    """One rank of the run; `fault` plants a mistake that the law must reject. bad: steps whose gradient is no number."""
    hold, load = Freezing.hold, worker.Engine.load_moments
    if fault == "frozen rows decay":
        Freezing.hold = staticmethod(_decaying)
    if fault == "moments reset":
        worker.Engine.load_moments = lambda engine, state: load(engine, {})
    named, begin = worker.Engine.named_state, worker.Saver.begin
    if fault == "saved without a copy":
        worker.Engine.named_state = _live
        worker.Saver.begin = lambda saver, write: begin(saver, lambda own: time.sleep(0.3) or write(own))
    run_step, tell = loop.run_step, steps.tell
    loop.run_step = functools.partial(_step, run_step, tell, bad)
    try:
        worker.work({"run": run, "cpus": 1}, lambda: False)
    finally:
        Freezing.hold, worker.Engine.load_moments = staticmethod(hold), load
        worker.Engine.named_state, worker.Saver.begin = named, begin
        loop.run_step, steps.tell = run_step, tell


def _step(run_step: Any, tell: Any, bad: Sequence[int], engine: Any, packs: Any, *more: Any, **settings: Any) -> Any:
    factor = float("nan") if packs.step in bad else 1.0
    steps.tell = lambda sums, norm, *others: tell(sums, norm * factor, *others)
    return run_step(engine, packs, *more, **settings)


def _live(engine: worker.Engine, keep: Callable[[str], bool] = lambda _: True) -> Entries:
    """What is trained itself, in place of a copy."""
    state = engine._inner.state
    found = {}
    for name, parameter in engine.parameters.items():
        moments = {key: value for key, value in state[parameter].items() if key != "step"}
        found[name] = {"param": parameter.detach(), **moments, "step": state[parameter]["step"]}
    return {name: entry for name, entry in found.items() if keep(name)}


def _decaying(model: torch.nn.Module, frozen: frozenset[str]) -> None:
    """The field's way to freeze: the gradient is cut off, the optimizer still holds the parameter (traps 8 and 16)."""
    for name, parameter in model.named_parameters():
        if name in frozen:
            parameter.register_hook(torch.zeros_like)


def state(run: Path, step: int) -> Entries:
    """What the checkpoint of a step holds, by parameter."""
    return by_name(checkpoint.load(run / "checkpoints" / checkpoint.name_of(step)).tensors)


def cut_back(run: Path, to: Path, step: int) -> Path:
    """A copy of the run as if it had been killed right after the checkpoint of `step`."""
    shutil.copytree(run, to)
    folder = RunFolder(to)
    folder.result.unlink()
    shutil.rmtree(folder.model)
    for path in checkpoint.committed(folder.checkpoints):
        if path.name > checkpoint.name_of(step):
            shutil.rmtree(path)
    return to


def events(run: Path, name: str) -> list[dict[str, object]]:
    found = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return [event for event in found if event["event"] == name]
