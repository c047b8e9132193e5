"""`trunkline parts`: every part by name."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trunkline.cli.output import AsJson, json_data, note, table
from trunkline.errors import Problems, UsageError, nearest

if TYPE_CHECKING:
    from trunkline.registry import Listed


def register(app: typer.Typer) -> None:
    app.command("parts")(parts)


def parts(
    room: Annotated[str | None, typer.Argument(help="Only this room, such as heads.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """List every part by name."""
    from trunkline.registry import REGISTRIES

    rooms = [registry.room for registry in REGISTRIES]
    if room is not None and room not in rooms:
        raise UsageError(f"no room '{room}'. {nearest(room, rooms)}")
    found = [line for registry in REGISTRIES if room in (None, registry.room) for line in registry.listing()]
    found += [line for line in _of_plugins() if room in (None, line.room)]
    if as_json:
        json_data([asdict(line) for line in found])
    else:
        table(("name", "kind", "from", "file"), [(line.name, line.kind, line.source, line.file) for line in found])


def _of_plugins() -> list[Listed]:
    """Those of the project around the current folder."""
    from trunkline.tasks.catalog import nearest_folder
    from trunkline.tasks.plugin import listed

    folder = nearest_folder(Path.cwd())
    problems = Problems()
    found = listed(folder, problems) if folder else []
    for problem in problems.errors:
        note(f"warning: {problem}")
    return found
