"""`trunkline baseline`, `affinity`, `mix`: what tasks reach alone, who helps whom, and which rates and weights to train at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from trunkline.cli.output import AsJson, data, json_data, note, table

RecipeFile = Annotated[Path, typer.Argument(help="The recipe file.", show_default=False)]
Overrides = Annotated[
    list[str] | None, typer.Option("-s", "--set", help="key.key=value, as often as needed.", show_default=False)
]
InProcess = Annotated[bool, typer.Option("--in-process", help="Train in this process, without Ray.")]


def register(app: typer.Typer) -> None:
    app.command("baseline")(baseline)
    app.command("affinity")(affinity)
    app.command("mix")(mix)


def baseline(
    recipe: RecipeFile,
    override: Overrides = None,
    against: Annotated[
        Path | None, typer.Option("--against", help="A finished run folder to compare with.", show_default=False)
    ] = None,
    in_process: InProcess = False,
    as_json: AsJson = False,
) -> None:
    """Train each task of a recipe alone, once, and compare a run with them."""
    from trunkline.errors import UsageError
    from trunkline.launch.runs import RunFolder
    from trunkline.workflows.baseline import as_rows, baselines, differences

    run = RunFolder(against) if against is not None else None
    if run is not None and not run.finished:
        raise UsageError("no finished run: it has no result.json.", where=str(against))
    alone = baselines(recipe, override or [], in_process=in_process, say=note)
    found, mean = differences(run, alone, note) if run is not None else ([], None)
    if as_json:
        rows = [{**vars(own), "run": str(own.run)} for own in alone]
        json_data({"alone": rows, "differences": as_rows(found), "delta_m": as_rows([mean])[0] if mean else None})
        return
    if mean is None:
        shown = [(own.task, own.metric or "-", "-" if own.value is None else f"{own.value:.4f}", own.run) for own in alone]
        table(("task", "metric", "alone", "run"), shown)
        return
    cells = [
        (o.task, o.metric, f"{o.alone:.4f}", f"{o.together:.4f}", f"{o.percent:+.2f} %", _interval(o.low, o.high)) for o in found
    ]
    table(("task", "metric", "alone", "together", "difference", "95 %"), cells)
    data(f"\ndelta_m {mean.percent:+.2f} %, 95 % {_interval(mean.low, mean.high)}, one seed")


def _interval(low: float, high: float) -> str:
    return f"{low:+.2f} to {high:+.2f}"


def affinity(
    recipe: RecipeFile,
    override: Overrides = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps of the short run.")] = 100,
    every: Annotated[int, typer.Option("--every", min=1, help="Steps from one lookahead to the next.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Tell which tasks help or hurt each other, and propose what to keep together."""
    from trunkline.workflows.affinity import affinity as run
    from trunkline.workflows.affinity import as_document

    found = run(recipe, override or [], steps=steps, every=every, say=note)
    if as_json:
        json_data(as_document(found))
        return
    matrices = {
        "cosine of gradients": found.cosine,
        "lookahead, thousandths of the loss": found.lookahead,
        "shared part of their spaces": found.shared,
    }
    for title, matrix in matrices.items():
        table((title, *found.tasks), [(task, *(f"{v:+.2f}" for v in row)) for task, row in zip(found.tasks, matrix, strict=True)])
        data("")
    for number, group in enumerate(found.groups, start=1):
        data(f"group {number}: {', '.join(group)}")
    for task, said in found.proposals.items():
        data(f"  {task}: {said}")


def mix(
    recipe: RecipeFile,
    override: Overrides = None,
    trials: Annotated[int, typer.Option("--trials", help="How many proxy runs.")] = 12,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps of a proxy run.")] = 200,
    over: Annotated[
        Literal["both", "rates", "weights"], typer.Option("--over", help="What the proxies vary: rates, weights or both.")
    ] = "both",
    to: Annotated[
        Path | None,
        typer.Option("--to", help="The recipe to write; by default <recipe>-mixed.yaml beside it.", show_default=False),
    ] = None,
    in_process: InProcess = False,
    as_json: AsJson = False,
) -> None:
    """Find rates and weights by short proxy runs and write a recipe with them."""
    from trunkline.errors import UsageError
    from trunkline.workflows.mix import mix as run

    place = to or recipe.with_name(f"{recipe.stem}-mixed.yaml")
    if place.exists():
        raise UsageError("is there already. Name another with --to.", where=str(place))
    found, mixed = run(recipe, override or [], trials=trials, steps=steps, over=over, in_process=in_process, say=note)
    place.write_text(mixed.render(), encoding="utf-8")
    if as_json:
        json_data({**vars(found), "recipe": str(place)})
        return
    table(("task", "rate", "weight"), [(t, f"{rate:.3f}", f"{found.weights[t]:.3f}") for t, rate in found.rates.items()])
    data(f"\npredicted mean skill {found.score:.3f} ({found.low:.3f} to {found.high:.3f}), {found.even:.3f} at even rates")
    data(f"written to {place}; validate it with a run of full length")
