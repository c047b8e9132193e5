"""`trunkline checkpoint list|verify|prune|model`: what a run has saved, whether it is whole, less of it, and a model of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli.output import AsJson, data, help_if_alone, json_data, table

if TYPE_CHECKING:
    from trunkline.launch.runs import RunFolder

Run = Annotated[Path, typer.Argument(help="A run folder, such as outputs/quick-261123103402-88fc.", show_default=False)]


def register(app: typer.Typer) -> None:
    group = typer.Typer(rich_markup_mode=None, help="List, verify, prune and open what a run has saved.")
    group.callback(invoke_without_command=True)(help_if_alone)
    for name, command in (("list", list_), ("verify", verify), ("prune", prune), ("model", model)):
        group.command(name)(command)
    app.add_typer(group, name="checkpoint")


def list_(run: Run, as_json: AsJson = False) -> None:
    """Step, size, what it is the best of, and whether it verifies, newest first."""
    found = [_state(path) for path in _committed(run)]
    best = _best(run, found)
    for row in found:
        row["best_of"] = [name for name, step in best.items() if step == row["step"]]
    if as_json:
        json_data(found)
        return
    cells = [(row["name"], f"{row['bytes'] / 2**20:.1f}", ", ".join(row["best_of"]), row["damage"] or "whole") for row in found]
    table(("checkpoint", "MiB", "best of", "state"), cells)


def verify(run: Run, as_json: AsJson = False) -> None:
    """Every file of every checkpoint against its size and SHA-256; exit code 5 if one is damaged."""
    from trunkline.errors import IntegrityError

    found = [_state(path) for path in _committed(run)]
    damaged = [row for row in found if row["damage"]]
    if damaged:
        good = next((row["name"] for row in found if not row["damage"]), None)
        way = f"A resumed run goes on from {good}." if good else "None of them is whole: start a new run."
        raise IntegrityError(" ".join(row["damage"] for row in damaged) + f" {way}")
    if as_json:
        json_data(found)
        return
    data(f"{len(found)} checkpoint(s), all whole; the newest is {found[0]['name']}" if found else "no checkpoint yet")


def prune(
    run: Run,
    keep: Annotated[int, typer.Option("--keep", min=1, help="How many of the newest stay; the best one stays too.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Remove all but the newest that verify and the best, and what killed saves left; not while the run trains."""
    from trunkline import checkpoint
    from trunkline.errors import IntegrityError
    from trunkline.launch.runs import RunLock

    folder = _folder(run)
    with RunLock(folder):
        newest, _ = checkpoint.newest(folder.checkpoints)
        if newest is None and checkpoint.committed(folder.checkpoints):
            raise IntegrityError("no checkpoint here verifies: nothing is removed.", where=str(folder.checkpoints))
        wanted = [newest.step, *newest.state.get("keep", [int(newest.state["best"]["step"])])] if newest else []
        gone = checkpoint.prune(folder.checkpoints, keep, wanted) + checkpoint.tidy(folder.checkpoints)
    names = [path.name for path in gone]
    if as_json:
        json_data(names)
        return
    data(f"removed {', '.join(names)}" if names else "nothing to remove")


def model(
    run: Run,
    to: Annotated[Path, typer.Option("--to", help="The model folder to write; it must not be there.", show_default=False)],
    best: Annotated[str, typer.Option("--best", help="A task, or aggregate: the checkpoint best for it.")] = "aggregate",
    step: Annotated[int | None, typer.Option("--step", help="The checkpoint of this step instead.", show_default=False)] = None,
) -> None:
    """Write the model of a checkpoint: the best for a task, the best over all of them, or that of a step."""
    from trunkline.errors import UsageError, nearest
    from trunkline.launch.outcome import model_of

    if to.exists():
        raise UsageError("something is there already. Name a new folder.", where=str(to))
    found = [_state(path) for path in _committed(run)]
    known = _best(run, found)
    if step is None and best not in known:
        raise UsageError(f"no best of '{best}' in this run. {nearest(best, list(known))}", where="--best")
    wanted = known[best] if step is None else step
    if wanted not in [row["step"] for row in found]:
        whose = f"step {wanted}" if step is not None else f"step {wanted}, the best of '{best}',"
        there = ", ".join(str(row["step"]) for row in found) or "none"
        raise UsageError(f"{whose} has no checkpoint any more, found {there}. `train.keep_best: tasks` keeps each task's best.")
    model_of(_folder(run), wanted, to)
    data(f"model of step {wanted}: {to}")


def _best(run: Path, found: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """What a step is the best of -> the step, as the newest checkpoint that verifies says."""
    from trunkline import checkpoint
    from trunkline.config.recipe import AGGREGATE

    newest = next((row["name"] for row in found if not row["damage"]), None)
    if newest is None:
        return {}
    said = json.loads((_folder(run).checkpoints / newest / checkpoint.STATE).read_bytes())
    steps = {**said.get("best_tasks", {}), AGGREGATE: said.get("best", {"step": 0})}
    return {name: int(steps[name]["step"]) for name in (AGGREGATE, *steps) if steps[name]["step"]}


def _folder(run: Path) -> RunFolder:
    from trunkline.errors import UsageError
    from trunkline.launch.runs import RunFolder

    if not (run / "run.json").is_file():
        raise UsageError("no run folder: it has no run.json. Name a folder below outputs/.", where=str(run))
    return RunFolder(run)


def _committed(run: Path) -> list[Path]:
    from trunkline import checkpoint

    return checkpoint.committed(_folder(run).checkpoints)


def _state(path: Path) -> dict[str, Any]:
    from trunkline import checkpoint
    from trunkline.errors import IntegrityError

    size = sum(item.stat().st_size for item in path.iterdir() if item.is_file())
    try:
        step, damage = checkpoint.verify(path)["step"], None
    except IntegrityError as error:
        step, damage = None, str(error)
    return {"name": path.name, "step": step, "bytes": size, "damage": damage}
