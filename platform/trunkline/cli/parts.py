"""`trunkline parts`: every part by name."""

from __future__ import annotations

from typing import Annotated

import typer

from trunkline.cli.output import AsJson, json_data, table
from trunkline.errors import UsageError, nearest


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
    if as_json:
        json_data([{"room": line.room, "name": line.name, "source": line.source} for line in found])
    else:
        table(("room", "name", "from"), [(line.room, line.name, line.source) for line in found])
