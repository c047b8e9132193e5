"""`trunkline config`: recipes resolved, and the schemas of the files."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from trunkline.cli.output import AsJson, data, help_if_alone, json_data

Recipe = Annotated[Path, typer.Argument(help="The recipe file.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="Override, such as train.steps=100.", show_default=False),
]


class FileKind(StrEnum):
    """The files that have a schema."""

    recipe = "recipe"
    card = "card"
    cluster = "cluster"


def register(app: typer.Typer) -> None:
    group = typer.Typer(rich_markup_mode=None, help="Show recipes resolved, and schemas.")
    group.callback(invoke_without_command=True)(help_if_alone)
    group.command("render")(render)
    group.command("schema")(schema)
    app.add_typer(group, name="config")


def render(recipe: Recipe, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Print a recipe with all defaults."""
    from trunkline.config.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    if as_json:
        json_data(loaded.model_dump(mode="json"))
    else:
        data(loaded.render())


def schema(
    file: Annotated[FileKind, typer.Argument(help="Which file.")] = FileKind.recipe,
    as_json: AsJson = False,
) -> None:
    """Print the JSON schema of a file."""
    del as_json  # a schema is JSON either way
    if file is FileKind.recipe:
        from trunkline.config.recipe import json_schema
    elif file is FileKind.cluster:
        from trunkline.cluster import json_schema
    else:
        from trunkline.tasks.card import json_schema
    json_data(json_schema())
