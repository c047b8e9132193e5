"""`python -m benchmarks.load`: what trunkline holds under load, figures L1 to L18, into docs/figures.md.

Each figure is measured in a process of its own and kept as benchmarks/results/load/<id>.json; naming figures measures those anew.
The table is written of all that is kept.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Annotated

import typer
from benchmarks.circumstances import circumstances
from benchmarks.load.table import FIGURES, MEASURED, RESULTS, write_page

from trunkline.errors import UsageError, nearest


def main(
    only: Annotated[list[str] | None, typer.Argument(help="Only these figures.")] = None,
    measure: Annotated[bool, typer.Option(help="Measure; else only write the table.")] = True,
    here: Annotated[bool, typer.Option(help="In this process; else each figure in its own.", hidden=True)] = False,
) -> None:
    """Measures and writes the table."""
    for name in only or ():
        if name not in MEASURED:
            raise UsageError(f"no figure '{name}' is measured here. {nearest(name, MEASURED)}")
    failed = []
    for name in (only or MEASURED) if measure else ():
        if here:
            keep(name)
        elif subprocess.run([sys.executable, "-m", "benchmarks.load", "--here", name], check=False).returncode:
            failed.append(name)
    if not here:
        write_page()
    if failed:
        typer.echo(f"not measured, see above: {', '.join(failed)}", err=True)
        raise typer.Exit(1)


def keep(name: str) -> None:
    """Measures a figure and keeps it. load: processes that waited for a core, of the minute before it began."""
    from benchmarks.load.measures import measured

    load, since = os.getloadavg()[0], time.monotonic()
    found = measured(name)
    stated = {"schema_version": 1, "id": name, "figure": FIGURES[name].what, "target": FIGURES[name].target, **found}
    stated |= {"command": f"python -m benchmarks.load {name}", **circumstances()}
    stated |= {"load": round(load, 1), "seconds": round(time.monotonic() - since)}
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(stated, indent=1) + "\n")
    typer.echo(f"{name}: {found['got']} ({'met' if found['met'] else 'not met'})")


if __name__ == "__main__":
    typer.run(main)
