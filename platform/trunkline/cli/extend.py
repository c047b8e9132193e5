"""`trunkline extend`: new tasks for a trained model, and a gate for the old ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trunkline.cli.output import AsJson, data, json_data, note, table

if TYPE_CHECKING:
    from trunkline.workflows.extend import Extended

Model = Annotated[Path, typer.Argument(help="A model folder, or a line of models (a folder with `current`).", show_default=False)]
TRANSFER = ("backward_transfer", "forward_transfer", "forgetting")
HEAD = ("task", "metric", "rows", "before", "after", "change", "95 %", "promised", "")


def register(app: typer.Typer) -> None:
    app.command("extend")(extend)
    app.command("refresh")(refresh)


def extend(
    model: Model,
    task: Annotated[list[str], typer.Option("--task", help="A task to add, from the catalog.", show_default=False)],
    strategy: Annotated[
        str, typer.Option("--strategy", help="isolate, fuse, replay, anchor, distill or full; replay+anchor.")
    ] = "isolate",
    protect: Annotated[str, typer.Option("--protect", help="task:points, how much an old task may lose.")] = "*:-1.0",
    steps: Annotated[int | None, typer.Option("--steps", help="By default 15 % of its own.", show_default=False, min=1)] = None,
    override: Annotated[
        list[str] | None, typer.Option("-s", "--set", help="key.key=value of the recipe, as often as needed.", show_default=False)
    ] = None,
    share: Annotated[
        float, typer.Option("--share", help="replay: share of rows drawn from old tasks.", min=0.01, max=0.99)
    ] = 0.3,
    rehearse: Annotated[int | None, typer.Option("--rehearse", help="replay: rows kept of each old task.", min=1)] = None,
    hard: Annotated[bool, typer.Option("--hard", help="replay: sooner rows that the model answers badly.")] = False,
    rank: Annotated[int, typer.Option("--rank", help="isolate, fuse: rank of the LoRA; 0 is the head alone.", min=0)] = 8,
    prompt: Annotated[int, typer.Option("--prompt", help="isolate, fuse: vectors of a prompt; 0 for none.", min=0)] = 0,
    anchor: Annotated[float, typer.Option("--anchor", help="anchor: share of the way back, each step.", min=0, max=1)] = 0.01,
    fisher: Annotated[int | None, typer.Option("--fisher", help="anchor: rows per old task for EWC.", min=1)] = None,
    split: Annotated[str, typer.Option("--split", help="The rows old tasks are judged on.")] = "validation",
    line: Annotated[Path | None, typer.Option("--line", help="The line where the new model becomes current.")] = None,
    catalog: Annotated[Path | None, typer.Option("--catalog", help="The folder of cards.", show_default=False)] = None,
    outputs: Annotated[Path | None, typer.Option("--outputs", help="Where run folders go.", show_default=False)] = None,
    in_process: Annotated[bool, typer.Option("--in-process", help="Train in this process, without Ray.")] = False,
    as_json: AsJson = False,
) -> None:
    """Add tasks to a trained model; old tasks are judged before and after."""
    from trunkline.workflows.extend import Job
    from trunkline.workflows.extend import extend as run
    from trunkline.workflows.strategies import Settings

    settings = Settings(share, rehearse, rank, anchor, fisher, prompt, "loss" if hard else "chance")
    job = Job(model, task, strategy, protect, settings, steps, override or (), catalog, outputs, line, in_process, split=split)
    show(run(job, note, show=not as_json), as_json)


def refresh(
    model: Model,
    task: Annotated[str, typer.Option("--task", help="The task the new rows are for.", show_default=False)],
    rows: Annotated[
        Path,
        typer.Option("--data", help="JSON lines, .csv or .tsv: labelled rows or corrections.", show_default=False),
    ],
    protect: Annotated[str, typer.Option("--protect", help="task:points, how much a task may lose.")] = "*:-1.0",
    steps: Annotated[int | None, typer.Option("--steps", help="By default 15 % of its own.", show_default=False, min=1)] = None,
    override: Annotated[
        list[str] | None, typer.Option("-s", "--set", help="key.key=value of the recipe, as often as needed.", show_default=False)
    ] = None,
    share: Annotated[float, typer.Option("--share", help="Share of rows drawn from old rows.", min=0.01, max=0.99)] = 0.5,
    rehearse: Annotated[int | None, typer.Option("--rehearse", help="Rows kept of each task.", min=1)] = None,
    hard: Annotated[bool, typer.Option("--hard", help="Sooner rows that the model answers badly.")] = False,
    line: Annotated[Path | None, typer.Option("--line", help="The line where the new model becomes current.")] = None,
    catalog: Annotated[Path | None, typer.Option("--catalog", help="The folder of cards.", show_default=False)] = None,
    outputs: Annotated[Path | None, typer.Option("--outputs", help="Where run folders go.", show_default=False)] = None,
    in_process: Annotated[bool, typer.Option("--in-process", help="Train in this process, without Ray.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model on new rows of one of its tasks."""
    from trunkline.workflows.extend import Job
    from trunkline.workflows.refresh import refresh as run
    from trunkline.workflows.strategies import Settings

    settings = Settings(share, rehearse, by="loss" if hard else "chance")
    job = Job(model, (), "replay", protect, settings, steps, override or (), catalog, outputs, line, in_process)
    show(run(job, task, rows, note, show=not as_json), as_json)


def show(done: Extended, as_json: bool) -> None:
    """The report, and exit code 9 if a promise was broken."""
    from trunkline.workflows.extend import rows_of_changes

    report = done.report
    if as_json:
        json_data({**report, "run": str(done.run)})
    else:
        table(HEAD, rows_of_changes(report["old"]))
        for row in report["new"]:
            data(f"new: {row['task']}  {row['metric']} {row['value']:.4f}, a constant guess {row['baseline']:.4f}")
        told = [f"{name.replace('_', ' ')} {report[name]:+.2f}" for name in TRANSFER if report.get(name) is not None]
        if told:
            data(f"{', '.join(told)} points")
        data(f"\nmodel: {done.model}\nreport: {done.run / 'report.json'}")
        if "current" in report:
            data(f"current: {report['current']}")
    if not done.kept:
        if not as_json:
            note(f"error: broken promises: {', '.join(report['broken'])}. The model before stays the current one.")
        raise typer.Exit(9)
