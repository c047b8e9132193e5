"""`trunkline plan`: what a recipe would draw, before it is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trunkline.cli.output import AsJson, json_data, note, table


def register(app: typer.Typer) -> None:
    app.command("plan")(plan)


def plan(
    recipe: Annotated[Path, typer.Argument(help="The recipe file.", show_default=False)],
    override: Annotated[
        list[str] | None, typer.Option("-s", "--set", help="key.key=value, as often as needed.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show how much of each task a recipe would draw; trains nothing."""
    import dataclasses

    from trunkline.config.recipe import load_recipe
    from trunkline.plan import plan as run

    found = run(load_recipe(recipe, override or []), note)
    if as_json:
        json_data([dataclasses.asdict(own) for own in found])
        return
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
            for own in found
        ],
    )
