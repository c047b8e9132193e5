"""`trunkline report`: one page on runs and models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trunkline.cli.output import AsJson, data, json_data, note


def register(app: typer.Typer) -> None:
    app.command("report")(report)


def report(
    places: Annotated[
        list[Path],
        typer.Argument(help="Run folders, run ids of outputs/, model folders; several are compared.", show_default=False),
    ],
    to: Annotated[Path, typer.Option("--to", "-o", help="The HTML file to write.")] = Path("report.html"),
    examples: Annotated[
        int,
        typer.Option("--examples", min=0, help="Show so many training rows of each task. Only then does a text leave the data."),
    ] = 0,
    affinity: Annotated[
        Path | None,
        typer.Option("--affinity", help="What `affinity --json` wrote, to be shown beside the first.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write one self-contained HTML page on runs or models."""
    from trunkline.workflows.report import report as run

    made = run(places, to, note, examples=examples, affinity=affinity)
    json_data({"path": str(made), "size_bytes": made.stat().st_size}) if as_json else data(str(made))
