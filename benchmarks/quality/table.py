"""The quality table: floor, alone at equal budget, together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.quality.cells import TOGETHER, Bench

COLUMNS = ("task", "metric", "rows", "floor", "alone", "together", "beats its floor")


def table(bench: Bench) -> dict[str, Any]:
    """One row a task, from the stored cells; a cell that was not run leaves null."""
    together = bench.stored(TOGETHER)
    rows = [_row(bench, task, together) for task in bench.tasks]
    facts = {key: together[key] for key in ("date", "commit", "machine", "versions", "training_s")} if together else {}
    return {"schema_version": 1, "command": f"python -m benchmarks.quality {bench.name}", **facts, "tasks": rows}


def _row(bench: Bench, task: str, together: dict[str, Any] | None) -> dict[str, Any]:
    floor = bench.floors["tasks"][task]
    values = {cell: _value(found, task, floor["metric"]) for cell, found in ((TOGETHER, together), ("alone", bench.stored(task)))}
    beats = None if floor.get("floor") is None or values[TOGETHER] is None else values[TOGETHER]["value"] > floor["floor"]
    drawn = together["drawn"][task] if together else {}
    return {
        "task": task,
        "metric": floor["metric"],
        "rows": values[TOGETHER]["rows"] if values[TOGETHER] else None,
        "floor": floor.get("floor"),
        "floor_from": floor["from"],
        "alone": values["alone"]["value"] if values["alone"] else None,
        "together": values[TOGETHER]["value"] if values[TOGETHER] else None,
        "beats_floor": beats,
        "drawn": drawn,
    }


def _value(found: dict[str, Any] | None, task: str, metric: str) -> dict[str, Any] | None:
    if found is None:
        return None
    row = next(row for row in found["tasks"] if row["task"] == task)
    return {"value": row["metrics"][metric], "rows": row["rows"]}


def markdown(found: dict[str, Any]) -> str:
    """The table as people read it."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---|---|---:|---:|---:|---:|---|"]
    for row in found["tasks"]:
        beats = {True: "yes", False: "no", None: "no floor measured"}[row["beats_floor"]]
        shown = [_shown(row[key]) for key in ("floor", "alone", "together")]
        rows = "" if row["rows"] is None else f"{row['rows']:,}"
        lines.append(f"| {row['task']} | {row['metric']} | {rows} | {' | '.join(shown)} | {beats} |")
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def written(page: str, name: str, found: dict[str, Any]) -> str:
    """The page with the table of this name made anew, between its two markers."""
    return section(page, name, markdown(found))


def section(page: str, name: str, text: str) -> str:
    """The page with this text between the two markers of that name."""
    start, end = f"<!-- {name}:start -->\n", f"<!-- {name}:end -->"
    before, rest = page.split(start)
    return before + start + text + "\n" + end + rest.split(end, 1)[1]


def write_section(page: Path, name: str, text: str) -> None:
    page.write_text(section(page.read_text(encoding="utf-8"), name, text), encoding="utf-8")
