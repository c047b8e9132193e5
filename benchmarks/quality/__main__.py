"""`python -m benchmarks.quality NAME`: trains NAME.yaml together and task by task, and writes the table. Resumable per cell.

The first cell, `together`, is the recipe as it stands. Then each task alone, from the same start, for as many tokens of its
own as it saw in the first (`alone.tokens_per_step` in NAME.floors.yaml). Each finished cell is a file in
benchmarks/results/NAME/, kept as long as recipe and cards are the same; an unfinished one goes on from its newest checkpoint.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from benchmarks.quality.cells import Bench
from benchmarks.quality.table import markdown, table, written


def main(
    name: Annotated[str, typer.Argument(help="A recipe in benchmarks/quality, such as core12.")],
    only: Annotated[list[str] | None, typer.Option(help="Only these cells: together, or a task.")] = None,
    train: Annotated[bool, typer.Option(help="Train what is missing; else only write the table.")] = True,
) -> None:
    """Trains what is missing, writes benchmarks/results/NAME.json and the table in docs/quality.md; it goes to stdout too."""
    bench = Bench(Path(__file__).parent, name)
    for cell in bench.cells() if train else ():
        if not only or cell in only:
            bench.run(cell, lambda line: typer.echo(line, err=True))
    found = table(bench)
    bench.summary.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    page = Path(__file__).parents[2] / "docs" / "quality.md"
    if f"<!-- {name}:start -->" in page.read_text(encoding="utf-8"):
        page.write_text(written(page.read_text(encoding="utf-8"), name, found), encoding="utf-8")
    typer.echo(markdown(found))


if __name__ == "__main__":
    typer.run(main)
