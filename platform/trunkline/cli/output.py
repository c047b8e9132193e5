"""What commands print: data on stdout, sentences for people on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

from trunkline.monitor.redact import redacted_text

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def data(text: str) -> None:
    """Text on stdout."""
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")


def json_data(value: Any) -> None:
    """One JSON value on stdout."""
    data(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def note(text: str) -> None:
    """A sentence on stderr, without what looks like a secret."""
    sys.stderr.write(f"{redacted_text(text)}\n")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Aligned columns on stdout, the last one as long as it is."""
    cells = [[str(cell) if cell is not None else "" for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        data("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def help_if_alone(context: typer.Context) -> None:
    """What a command group does without a command: its help."""
    if context.invoked_subcommand is None:
        data(context.get_help())
