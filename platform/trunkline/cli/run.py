"""`trunkline train`: a recipe becomes a model."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli.output import AsJson, data, json_data, note

if TYPE_CHECKING:
    from trunkline.launch.local import Result


def register(app: typer.Typer) -> None:
    app.command("train")(train)


def train(
    recipe: Annotated[Path, typer.Argument(help="The recipe file.", show_default=False)],
    override: Annotated[
        list[str] | None, typer.Option("-s", "--set", help="key.key=value, as often as needed.", show_default=False)
    ] = None,
    run_id: Annotated[
        str | None, typer.Argument(help="With --resume: which run, by default the newest unfinished.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    keep_recipe: Annotated[
        bool, typer.Option("--keep-recipe", help="With --resume: go on though the recipe file has changed since.")
    ] = False,
    in_process: Annotated[bool, typer.Option("--in-process", help="Train in this process, without Ray.")] = False,
    outputs: Annotated[Path | None, typer.Option("--outputs", help="Where run folders go.", show_default=False)] = None,
    submitted: Annotated[str | None, typer.Option("--run-id", hidden=True)] = None,
    placement: Annotated[str, typer.Option("--placement", hidden=True)] = "pack",
    records: Annotated[bool, typer.Option("--records", hidden=True)] = False,
    as_json: AsJson = False,
) -> None:
    """Train a recipe on this machine."""
    from trunkline.errors import UsageError
    from trunkline.workflows.stages import train as run

    if run_id is not None and not resume:
        raise UsageError(f"'{run_id}' is no recipe to train. To go on with a run: trunkline train {recipe} --resume {run_id}.")
    result = run(
        recipe,
        overrides=override or [],
        resume=run_id or resume,
        keep_recipe=keep_recipe,
        in_process=in_process,
        outputs=outputs,
        say=note,
        show="records" if records else True,
        run_id=submitted,
        placement=placement,
    )
    alone = _compared(result, recipe, override or [], in_process)
    if as_json:
        json_data({"run": str(result.run), "model": str(result.model), "tasks": result.tasks, **alone})
        return
    _show(result, recipe)


def _compared(result: Result, recipe: Path, overrides: list[str], in_process: bool) -> dict[str, Any]:
    """With `single_task: true`, each task's difference to itself alone, into result.json and the table too."""
    from trunkline.config.recipe import load_recipe

    if not load_recipe(result.run / "recipe.yaml").single_task:
        return {}
    from trunkline.workflows.baseline import compare

    return compare(result, recipe, overrides, in_process=in_process, say=note)


def _show(result: Result, recipe: Path) -> None:
    from rich.console import Console

    from trunkline.monitor.console import result_table

    Console(file=sys.stdout).print(result_table(result.tasks))
    model, run = _short(result.model), _short(result.run)
    first = result.tasks[0]["task"] if result.tasks else "TASK"
    data(f"\nrun folder: {run}\n\nnext:")
    for line in (
        f"evaluate {model}",
        f"predict {model} ROWS.jsonl --task {first}",
        f"task show {first}",
        "task new NAME --kind classification",
        f"train {recipe} --resume    # after a run was stopped: goes on where it was",
    ):
        data(f"  {_program()} {line}")


def _program() -> str:
    """What to type to start this program again."""
    return "trunkline" if shutil.which("trunkline") else _short(Path(sys.executable).parent / "trunkline")


def _short(path: Path) -> str:
    """Relative to here where that is shorter."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
