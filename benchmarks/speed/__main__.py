"""`python -m benchmarks.speed`: our step beside what a user would pick instead, as ratios; see docs/performance.md.

One thread a side, CPU seconds of the process, steps in turn, the losses of both sides compared. Each case is kept as
benchmarks/results/speed/<case>.json; naming cases measures those anew; the table, with what other benches measured (R12 to R14,
R18), goes into docs/performance.md.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from benchmarks.quality.cells import circumstances
from benchmarks.speed.elsewhere import extension, weightings

from trunkline.errors import UsageError, nearest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "speed"
START, END = "<!-- speed:start -->\n", "\n<!-- speed:end -->"


CASES = ("R1", "R2", "R4", "R6", "R7-R8", "R9", "R10", "R11", "R15", "R16", "R17")


def rows() -> list[dict[str, Any]]:
    """Everything that was measured, in the order of the figures."""
    found: list[dict[str, Any]] = []
    for case in CASES:
        path = RESULTS / f"{case}.json"
        if path.is_file():
            kept = json.loads(path.read_text())
            found += [{**own, **{key: kept[key] for key in ("date", "commit", "machine")}} for own in kept["rows"]]
    return sorted(found + weightings() + extension(), key=lambda own: int(own["id"][1:]))


def markdown(found: list[dict[str, Any]]) -> str:
    lines = ["| id | measure | must | got | 95 % interval | met | date | machine |", "|---|---|---:|---:|---:|---|---|---|"]
    for own in found:
        low, high = own["interval"]
        met, limit = "yes" if own["met"] else "no", "at most " if own.get("at_most") else ""
        values = f"{limit}{own['must']:.2f} | {own['got']:.2f} | {low:.2f} to {high:.2f}"
        lines.append(f"| {own['id']} | {own['measure']} | {values} | {met} | {own['date']} | {own['machine']} |")
    return "\n".join(lines)


def main(
    only: Annotated[list[str] | None, typer.Argument(help="Only these cases.")] = None,
    rounds: Annotated[int, typer.Option(help="Pairs of steps that are kept.")] = 7,
    measure: Annotated[bool, typer.Option(help="Measure; else only write the table.")] = True,
) -> None:
    """Measures and writes the table."""
    for case in only or ():
        if case not in CASES:
            raise UsageError(f"no case '{case}'. {nearest(case, CASES)}")
    for case in (only or CASES) if measure else ():
        typer.echo(markdown(measured(case, rounds)))
    page = ROOT / "docs" / "performance.md"
    before, rest = page.read_text(encoding="utf-8").split(START)
    page.write_text(before + START + markdown(rows()) + END + rest.split(END)[1], encoding="utf-8")


def measured(case: str, rounds: int) -> list[dict[str, Any]]:
    """Measures a case and keeps it. load: processes that waited for a core, of the minute before it began."""
    from benchmarks.speed.cases import CASES as MEASURED

    if not torch.distributed.is_initialized():
        torch.set_num_threads(1)
        torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    load, since = os.getloadavg()[0], time.monotonic()
    own = MEASURED[case](rounds)
    document = {"schema_version": 1, "command": f"python -m benchmarks.speed {case}", **circumstances()}
    document |= {"rounds": rounds, "threads": 1, "load": round(load, 1), "seconds": round(time.monotonic() - since), "rows": own}
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{case}.json").write_text(json.dumps(document, indent=1) + "\n")
    return [{**found, "date": document["date"], "machine": document["machine"]} for found in own]


if __name__ == "__main__":
    typer.run(main)
