"""Writes what is generated in the pages: parts from the registry, commands from the command line: `make readme`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from trunkline.cli.app import build
from trunkline.registry import REGISTRIES, Listed

ROOT = Path(__file__).parent.parent
README, PARTS, COMMANDS = ROOT / "README.md", ROOT / "docs" / "parts.md", ROOT / "docs" / "commands.md"


def own(room: str) -> list[Listed]:
    """What trunkline itself brings for a room."""
    return [line for registry in REGISTRIES if registry.room == room for line in registry.listing() if line.source == "trunkline"]


def by_room() -> str:
    """A line a room: the names of its parts, and where a user writes one."""
    lines = ["| room | parts | named by |", "|---|---|---|"]
    for registry in REGISTRIES:
        names = ", ".join(f"`{line.name}`" for line in own(registry.room))
        lines.append(f"| {registry.room} | {names} | {registry.named_by} |")
    return "\n".join(lines)


def one_by_one() -> str:
    """A section a room, a line a part: its name, what it says of itself first, its file."""
    sections = []
    for registry in REGISTRIES:
        head = f"## {registry.room}\n\nNamed by {registry.named_by}.\n\n| name | what it is | file |\n|---|---|---|\n"
        lines = [
            f"| `{line.name}` | {line.summary.replace('|', BAR)} | [{line.file.rpartition('/')[2]}](../platform/{line.file}) |"
            for line in own(registry.room)
        ]
        sections.append(head + "\n".join(lines))
    return "\n\n".join(sections)


def by_command() -> str:
    """A section a command: what it does, and a line for each argument and option."""
    sections = []
    for name, command in sorted(_commands(typer.main.get_command(build()), "trunkline")):
        rows = [_parameter(own) for own in command.params if own.name != "help" and not getattr(own, "hidden", False)]
        table = ["", "| | | default |", "|---|---|---|", *rows] if rows else []
        sections.append("\n".join([f"## {name}", "", command.help or "", *table]))
    return "\n\n".join(sections)


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for inner, own in command.commands.items():
            yield from _commands(own, f"{name} {inner}")
    elif not command.hidden:
        yield name, command


def _parameter(own: Any) -> str:
    option = own.param_type_name == "option"
    called = ", ".join(f"`{name}`" for name in [*own.opts, *own.secondary_opts]) if option else f"`{own.name.upper()}`"
    flag = getattr(own, "is_flag", False)
    default = "" if flag or own.default is None or own.default == () or callable(own.default) else f"`{own.default}`"
    needed = "needed" if own.required else default
    return f"| {called} | {(own.help or '').replace('|', BAR)} | {needed} |"


BAR = "\\|"  # a plain one would end the cell
TABLES = {README: ("parts", by_room), PARTS: ("every-part", one_by_one), COMMANDS: ("every-command", by_command)}


def written(page: Path) -> str:
    """The page with its table made anew, between its two markers."""
    name, table = TABLES[page]
    start, end = f"<!-- {name}:start -->\n", f"\n<!-- {name}:end -->"
    before, rest = page.read_text(encoding="utf-8").split(start)
    return before + start + table() + end + rest.split(end)[1]


if __name__ == "__main__":
    for page in TABLES:
        page.write_text(written(page), encoding="utf-8")
