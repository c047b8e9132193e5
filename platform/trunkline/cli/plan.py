"""`trunkline plan`: what a recipe would draw, hold, take and cost, before it is trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trunkline.cli.output import AsJson, data, json_data, note, table

if TYPE_CHECKING:
    from trunkline.planning.calibrate import Calibration
    from trunkline.planning.forecast import Forecast

MIB = 2**20


def register(app: typer.Typer) -> None:
    app.command("plan")(plan)


def plan(
    recipe: Annotated[Path, typer.Argument(help="The recipe file.", show_default=False)],
    override: Annotated[
        list[str] | None, typer.Option("-s", "--set", help="key.key=value, as often as needed.", show_default=False)
    ] = None,
    cluster: Annotated[
        str | None, typer.Option("--cluster", help="A cluster of the project, for its nodes and prices.", show_default=False)
    ] = None,
    gpus: Annotated[
        int | None, typer.Option("--gpus", min=1, max=100_000, help="Workers of one GPU each.", show_default=False)
    ] = None,
    gpu: Annotated[str, typer.Option("--gpu", help="v100, a100 or h100.")] = "h100",
    nvlink: Annotated[
        float | None, typer.Option("--nvlink", min=0.001, help="GB/s of a GPU within its node, one way.", show_default=False)
    ] = None,
    network: Annotated[
        float | None, typer.Option("--network", min=0.001, help="GB/s of a node to others, one way [12.5].", show_default=False)
    ] = None,
    calibrate: Annotated[bool, typer.Option("--calibrate", help="Train 20 steps here, and measure the prediction.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a recipe would draw, hold, take and cost; trains nothing."""
    import dataclasses

    from trunkline.build.prepare import project_folder
    from trunkline.cluster import find_cluster
    from trunkline.config.recipe import load_recipe
    from trunkline.errors import UsageError, nearest
    from trunkline.planning.forecast import Assumed, forecast
    from trunkline.planning.hardware import DEVICES

    if gpu not in DEVICES:
        raise UsageError(f"--gpu: no GPU '{gpu[:60]}'. {nearest(gpu, DEVICES)}")
    stated = load_recipe(recipe, [*(override or []), *([f"workers.count={gpus}", "workers.gpus=1"] if gpus else [])])
    place = find_cluster(cluster, project_folder(recipe)) if cluster else None
    assumed = Assumed(gpu, *(None if rate is None else rate * 1e9 for rate in (nvlink, network)))
    found = forecast(stated, note, place, assumed, calibrated=calibrate)
    if as_json:
        json_data(dataclasses.asdict(found))
        return
    _tasks(found)
    _worker(found)
    _curve(found)
    if found.calibration is not None:
        _calibration(found.calibration)


def _tasks(found: Forecast) -> None:
    table(
        ("task", "training rows", "tokens a row", "drawn rows", "of rows", "of tokens", "passes"),
        [
            (
                own.task,
                f"{own.available:,}",
                f"{own.row_tokens:.1f}",
                f"{own.rows:,.0f}",
                f"{own.row_share:.1%}",
                f"{own.token_share:.1%}",
                f"{own.passes:.2f}",
            )
            for own in found.tasks
        ],
    )


def _worker(found: Forecast) -> None:
    """What one of the workers holds, and what a step of it is made of."""
    held, step = found.memory, found.step
    rows = [(name, f"{getattr(held, name) / MIB:,.1f}") for name in ("weights", "gradients", "moments", "activations", "working")]
    data("")
    table(("memory of a worker", "MiB"), [*rows, ("at its peak", f"{held.peak / MIB:,.1f}")])
    data("")
    names = ("compute", "launch", "optimizer", "communication", "host")
    table(
        ("a step", "ms"),
        [*((name, f"{1000 * getattr(step, name):,.2f}") for name in names), ("in all", f"{1000 * step.total:,.2f}")],
    )
    data(found.bound)


def _curve(found: Forecast) -> None:
    """Cost where the cluster file has prices."""
    priced = found.currency is not None
    rows = [
        (
            f"{own.workers:,}",
            f"{1000 * own.step_s:,.2f}",
            f"{own.tokens_per_s:,.0f}",
            f"{own.efficiency:.0%}",
            f"{own.peak_bytes / MIB:,.0f}",
            f"{own.hours:,.2f}",
            *([f"{own.cost:,.2f}"] if own.cost is not None else []),
            own.bound,
        )
        for own in found.curve
    ]
    data("")
    cost = (f"{found.currency} a run",) if priced else ()
    table(("workers", "ms a step", "tokens a second", "efficiency", "MiB at its peak", "hours a run", *cost, "bound by"), rows)


def _calibration(found: Calibration) -> None:
    data("")
    data(
        f"calibrated: the first 10 of 20 steps say {found.predicted_s:.4f} s a step, the others took {found.measured_s:.4f} "
        f"({found.error_s:+.1%}); memory grew by {found.measured_bytes / MIB:,.1f} MiB, predicted "
        f"{found.predicted_bytes / MIB:,.1f} ({found.error_bytes:+.1%})"
    )
