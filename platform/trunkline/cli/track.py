"""`trunkline track sync`: runs that W&B recorded offline, sent to it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trunkline.cli.output import AsJson, data, help_if_alone, json_data


def register(app: typer.Typer) -> None:
    group = typer.Typer(rich_markup_mode=None, help="Runs recorded by Weights & Biases.")
    group.callback(invoke_without_command=True)(help_if_alone)
    group.command("sync")(sync)
    app.add_typer(group, name="track")


def sync(
    run: Annotated[str | None, typer.Argument(metavar="[RUN-ID]", help="Only this run.", show_default=False)] = None,
    outputs: Annotated[Path | None, typer.Option("--outputs", help="Where run folders are.", show_default=False)] = None,
    again: Annotated[bool, typer.Option("--again", help="Also what was sent before.")] = False,
    dry: Annotated[bool, typer.Option("--dry-run", help="Only list what would be sent.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send offline runs to Weights & Biases, with the key of WANDB_API_KEY or ~/.netrc."""
    from trunkline.errors import EnvironmentProblem, UsageError, nearest
    from trunkline.monitor.sync import offline_runs, send
    from trunkline.tasks.catalog import nearest_folder

    tasks = nearest_folder(Path.cwd())
    place = outputs or (tasks.parent if tasks else Path.cwd()) / "outputs"
    there = offline_runs(place)
    if run is not None and run not in {own.run_id for own in there}:
        known = nearest(run, {own.run_id for own in there}) if there else "It has none."
        raise UsageError(f"no offline run '{run}' in {place}. {known}")
    wanted = [own for own in there if (again or not own.sent) and run in (None, own.run_id)]
    problems = {} if dry else {own.path: problem for own in wanted if (problem := send(own))}
    if as_json:
        json_data([{"run": own.run_id, "path": str(own.path), "problem": problems.get(own.path)} for own in wanted])
    else:
        for own in wanted:
            state = "would be sent" if dry else problems.get(own.path, "sent")
            data(f"{own.run_id}  {state}")
        if not wanted:
            data("nothing to send")
    if problems and as_json:
        raise typer.Exit(EnvironmentProblem.exit_code)
    if problems:
        raise EnvironmentProblem(f"{len(problems)} of {len(wanted)} could not be sent. Check the key and the network.")
