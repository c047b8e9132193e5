"""`trunkline remove`, `diff`, `lineage`, `rollback`: what becomes of trained models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trunkline.cli.extend import Model
from trunkline.cli.output import AsJson, data, json_data, note


def register(app: typer.Typer) -> None:
    for command in (remove, merge, diff, lineage, rollback):
        app.command(command.__name__)(command)


def remove(
    model: Model,
    task: Annotated[list[str], typer.Option("--task", help="A task to take out.", show_default=False)],
    to: Annotated[Path, typer.Option("--to", help="Where the smaller model goes.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Write a model without some of its tasks."""
    from trunkline.workflows.line import opened
    from trunkline.workflows.surgery import without

    made = without(opened(model, None)[1], task, to)
    json_data({"model": str(made), "removed": task}) if as_json else data(str(made))


def merge(
    models: Annotated[list[Path], typer.Argument(help="Models with a common ancestor.", show_default=False)],
    to: Annotated[Path, typer.Option("--to", help="Where the merged model goes.", show_default=False)],
    method: Annotated[str, typer.Option("--method", help="average, arithmetic, ties or dare.")] = "average",
    scale: Annotated[float | None, typer.Option("--scale", help="Factor of the changes.", show_default=False)] = None,
    density: Annotated[float, typer.Option("--density", help="ties, dare: share of each change that is kept.")] = 0.2,
    as_json: AsJson = False,
) -> None:
    """Make one model of several that come from the same."""
    from trunkline.tasks.catalog import Catalog, nearest_folder
    from trunkline.workflows.line import opened
    from trunkline.workflows.merge import merge as run

    folders = [opened(model, None)[1] for model in models]
    near = nearest_folder(folders[0].resolve()) or nearest_folder(Path.cwd())
    made = run(folders, to, method, scale=scale, density=density, catalog=Catalog([near]) if near else None)
    json_data({"model": str(made), "method": method}) if as_json else data(str(made))


def diff(
    a: Annotated[Path, typer.Argument(help="A model folder.", show_default=False)],
    b: Annotated[Path, typer.Argument(help="Another.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Tell what two models have that differs."""
    from trunkline.workflows.line import opened
    from trunkline.workflows.surgery import difference

    found = difference(opened(a, None)[1], opened(b, None)[1])
    if as_json:
        json_data(found)
        return
    for line in found["told"]:
        data(line)


def lineage(model: Model, as_json: AsJson = False) -> None:
    """Draw where a model comes from."""
    from trunkline.workflows.line import opened
    from trunkline.workflows.surgery import ancestors, drawn

    found = ancestors(opened(model, None)[1])
    if as_json:
        json_data(found)
        return
    for line in drawn(found):
        data(line)


def rollback(
    line: Annotated[Path, typer.Argument(help="A line of models.", show_default=False)], as_json: AsJson = False
) -> None:
    """Make the version before the current one current again."""
    from trunkline.errors import ConfigError
    from trunkline.workflows.line import Line

    if not Line(line).exists:
        raise ConfigError("no line of models here: `current` is missing. `extend --line FOLDER` begins one.", where=str(line))
    now = Line(line).rollback()
    json_data({"current": str(now)}) if as_json else data(str(now))
    note(f"{line / 'current'} is {now.name}")
