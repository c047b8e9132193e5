"""`trunkline tune`: settings found by short runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli.output import AsJson, data, json_data, note, table

if TYPE_CHECKING:
    from trunkline.workflows.tune import Trial, Tuned


def register(app: typer.Typer) -> None:
    app.command("tune")(tune)


def tune(
    recipe: Annotated[Path, typer.Argument(help="The recipe file.", show_default=False)],
    search: Annotated[
        Path, typer.Option("--search", help="The YAML file of what to try, or `dimension`: widths.", show_default=False)
    ],
    override: Annotated[
        list[str] | None, typer.Option("-s", "--set", help="key.key=value, as often as needed.", show_default=False)
    ] = None,
    together: Annotated[int, typer.Option("--together", min=1, help="Trials at once, each in a process of its own.")] = 1,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="The recipe to write; by default <recipe>-tuned.yaml beside it.", show_default=False),
    ] = None,
    in_process: Annotated[bool, typer.Option("--in-process", help="One trial after the other in this process.")] = False,
    draws: Annotated[int, typer.Option("--draws", min=0, help="Of the bootstrap that compares best and default.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """Try settings by short runs and write a recipe with the best."""
    from trunkline.errors import UsageError
    from trunkline.report.parallel import parallel
    from trunkline.workflows.tune import compared
    from trunkline.workflows.tune import tune as run

    place = to or recipe.with_name(f"{recipe.stem}-tuned.yaml")
    if place.exists():
        raise UsageError("is there already. Name another with --to.", where=str(place))
    found = run(recipe, search, override or [], together=together, in_process=in_process, say=note)
    against = compared(found, recipe, draws, note)
    place.write_text(found.recipe.render(), encoding="utf-8")
    plot = place.with_suffix(".svg")
    plot.write_text(parallel(*_coordinates(found)), encoding="utf-8")
    if as_json:
        trials = [vars(trial) for trial in found.trials]
        named = {"best": vars(found.best), "default": vars(found.default), "front": list(found.front)}
        json_data({"recipe": str(place), "plot": str(plot), **named, "against": against, "trials": trials})
        return
    rungs = max(len(trial.scores) for trial in found.trials)
    paths = list(dict.fromkeys(path for trial in found.trials for path in trial.point))
    heads = ("trial", *(f"rung {number + 1}" for number in range(rungs)), "front", "hurt", *paths)
    table(heads, [_row(trial, rungs, paths, found.front) for trial in found.trials])
    data(f"\n{_verdict(against)}\nwritten to {place} and {plot}")


def _row(trial: Trial, rungs: int, paths: Sequence[str], front: Sequence[int]) -> list[object]:
    scores = [_figure(score) for score in trial.scores] + [""] * (rungs - len(trial.scores))
    hurt = ", ".join(f"{task} by {more:.3f}" for task, more in trial.broken.items())
    best = "yes" if trial.number in front else ""
    return [trial.number, *scores, best, hurt, *(trial.point.get(path, "as it is") for path in paths)]


def _coordinates(found: Tuned) -> tuple[list[str], list[list[Any]], int]:
    """Of the plot: its axes, a line for each trial that reached the last rung, and which line is the best."""
    axes = [*found.stated, *found.best.skills, "objective"]
    lines = [
        [*({**found.stated, **trial.point}.values()), *(trial.skills[task] for task in found.best.skills), trial.scores[-1]]
        for trial in found.trials
        if len(trial.scores) == len(found.best.scores) and trial.skills
    ]
    return axes, lines, 0


def _figure(score: float | None) -> str:
    return "diverged" if score is None else f"{score:.4f}"


def _verdict(against: dict[str, Any] | None) -> str:
    if against is None:
        return "the recipe as it is came out best"
    told = [f"{task} {row['verdict']} ({row['difference']:+.4f})" for task, row in against.items()]
    return "best against the recipe as it is, by task: " + ", ".join(told)
