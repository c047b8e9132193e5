"""`python -m benchmarks.speed`: our step beside what a user would pick instead, as ratios; see docs/performance.md.

One thread a side, CPU seconds of the process, steps in turn, the losses of both sides compared. Each case is kept as
benchmarks/results/speed/<case>.json; `--only` measures some anew; the table goes into docs/performance.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from benchmarks.quality.cells import circumstances

from trunkline.errors import UsageError, nearest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "speed"
START, END = "<!-- speed:start -->\n", "\n<!-- speed:end -->"


CASES = ("R1", "R2", "R4", "R6", "R7-R8", "R9", "R15", "R16")


def rows() -> list[dict[str, Any]]:
    """Everything that was measured, in the order of the cases."""
    found: list[dict[str, Any]] = []
    for case in CASES:
        path = RESULTS / f"{case}.json"
        if path.is_file():
            kept = json.loads(path.read_text())
            found += [{**own, **{key: kept[key] for key in ("date", "commit", "machine")}} for own in kept["rows"]]
    return found


def markdown(found: list[dict[str, Any]]) -> str:
    lines = ["| id | measure | must | got | 95 % interval | met | date |", "|---|---|---:|---:|---:|---|---|"]
    for own in found:
        low, high = own["interval"]
        met = "yes" if own["met"] else "no"
        values = f"{own['must']:.2f} | {own['got']:.2f} | {low:.2f} to {high:.2f}"
        lines.append(f"| {own['id']} | {own['measure']} | {values} | {met} | {own['date']} |")
    return "\n".join(lines)


def main(
    only: Annotated[list[str] | None, typer.Option(help="Only these cases.")] = None,
    rounds: Annotated[int, typer.Option(help="Pairs of steps that are kept.")] = 7,
    measure: Annotated[bool, typer.Option(help="Measure; else only write the table.")] = True,
) -> None:
    """Measures and writes the table."""
    from benchmarks.speed.cases import CASES as MEASURED

    for case in only or ():
        if case not in CASES:
            raise UsageError(f"no case '{case}'. {nearest(case, CASES)}")
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    for case in (only or CASES) if measure else ():
        document = {"schema_version": 1, "command": f"python -m benchmarks.speed --only {case}", **circumstances()}
        document |= {"rounds": rounds, "threads": 1, "rows": MEASURED[case](rounds)}
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{case}.json").write_text(json.dumps(document, indent=1) + "\n")
        typer.echo(markdown([{**own, "date": document["date"]} for own in document["rows"]]))
    page = ROOT / "docs" / "performance.md"
    before, rest = page.read_text(encoding="utf-8").split(START)
    page.write_text(before + START + markdown(rows()) + END + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
