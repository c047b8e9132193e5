"""`trunkline checkpoint list|verify|prune`: what a run has saved, whether it is whole, and less of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli.output import AsJson, data, help_if_alone, json_data, table

if TYPE_CHECKING:
    from trunkline.launch.runs import RunFolder

Run = Annotated[Path, typer.Argument(help="A run folder, such as outputs/quick-261123103402-88fc.", show_default=False)]


def register(app: typer.Typer) -> None:
    group = typer.Typer(rich_markup_mode=None, help="List, verify and prune what a run has saved.")
    group.callback(invoke_without_command=True)(help_if_alone)
    for name, command in (("list", list_), ("verify", verify), ("prune", prune)):
        group.command(name)(command)
    app.add_typer(group, name="checkpoint")


def list_(run: Run, as_json: AsJson = False) -> None:
    """Step, size and whether it verifies, newest first."""
    found = [_state(path) for path in _committed(run)]
    if as_json:
        json_data(found)
        return
    table(
        ("checkpoint", "MiB", "state"), [(row["name"], f"{row['bytes'] / 2**20:.1f}", row["damage"] or "whole") for row in found]
    )


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
