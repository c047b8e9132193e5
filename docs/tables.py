"""Writes the tables of parts in README.md and docs/parts.md from what the registry lists: `make readme`."""

from __future__ import annotations

from pathlib import Path

from trunkline.registry import REGISTRIES, Listed

ROOT = Path(__file__).parent.parent
README, PARTS = ROOT / "README.md", ROOT / "docs" / "parts.md"


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


BAR = "\\|"  # a plain one would end the cell
TABLES = {README: ("parts", by_room), PARTS: ("every-part", one_by_one)}


def written(page: Path) -> str:
    """The page with its table made anew, between its two markers."""
    name, table = TABLES[page]
    start, end = f"<!-- {name}:start -->\n", f"\n<!-- {name}:end -->"
    before, rest = page.read_text(encoding="utf-8").split(start)
    return before + start + table() + end + rest.split(end)[1]


if __name__ == "__main__":
    for page in TABLES:
        page.write_text(written(page), encoding="utf-8")
