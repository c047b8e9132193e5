"""`trunkline predict`, `embed`: a model answers the rows of a file, or turns their texts into vectors."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trunkline.cli.output import note

if TYPE_CHECKING:
    from trunkline.predict import Model
    from trunkline.serve.files import Respond

ModelFolder = Annotated[Path, typer.Argument(help="The model folder of a finished run, or a line of models.", show_default=False)]
Rows = Annotated[
    str,
    typer.Argument(
        help="JSON lines, lines of text, .csv, .tsv, .parquet or .arrow; a glob; - for lines on stdin.", show_default=False
    ),
]
To = Annotated[
    Path | None, typer.Option("--to", "-o", help="A .jsonl, .csv or .parquet file instead of stdout.", show_default=False)
]
Keep = Annotated[list[str] | None, typer.Option("--keep", help="A column that comes along.", show_default=False)]
OnBad = Annotated[str, typer.Option("--on-bad", help="A row that can not be answered: error, or tell it in its place.")]


def register(app: typer.Typer) -> None:
    app.command("predict")(predict)
    app.command("embed")(embed)


def predict(
    model: ModelFolder,
    rows: Rows,
    task: Annotated[list[str], typer.Option("--task", help="Which task answers, or several.", show_default=False)],
    to: To = None,
    keep: Keep = None,
    on_bad: OnBad = "error",
) -> None:
    """Answer rows with a task: a JSON line for each, while they are read."""
    from trunkline.serve.files import columns_of, predictions

    opened = _opened(model)
    for name in task:
        if name not in opened.joint:
            opened.task(name)
    wanted, optional = columns_of(opened, task)
    _answer(rows, predictions(opened, task), wanted, [*optional, *(keep or [])], to, keep or [], on_bad)


def embed(
    model: ModelFolder,
    rows: Rows,
    column: Annotated[str, typer.Option("--column", help="Where rows with columns hold the text.")] = "text",
    task: Annotated[str | None, typer.Option("--task", help="A contrastive task: its own vectors.", show_default=False)] = None,
    pooling: Annotated[str, typer.Option("--pooling", help="Of the trunk's states: first, last, mean or max.")] = "mean",
    to: To = None,
    keep: Keep = None,
    on_bad: OnBad = "error",
) -> None:
    """Turn texts into vectors, while they are read."""
    from trunkline.serve.files import vectors

    opened = _opened(model)
    opened.embed([], pooling=pooling, task=task)
    _answer(rows, vectors(opened, column, pooling=pooling, task=task), [column], keep or [], to, keep or [], on_bad)


def _opened(model: Path) -> Model:
    from trunkline.build.model import load_model
    from trunkline.tasks.catalog import Catalog, nearest_folder
    from trunkline.workflows.line import opened

    near = nearest_folder(model.resolve()) or nearest_folder(Path.cwd())
    return load_model(opened(model, None)[1], Catalog([near]) if near else None)


def _answer(
    rows: str,
    respond: Respond,
    wanted: Collection[str],
    optional: Collection[str],
    to: Path | None,
    keep: Sequence[str],
    on_bad: str,
) -> None:
    from trunkline.errors import UsageError, nearest
    from trunkline.serve.files import answer_file
    from trunkline.serve.rows import read_rows
    from trunkline.serve.written import open_writer

    if on_bad not in ("error", "tell"):
        raise UsageError(f"found {on_bad!r}. {nearest(on_bad, ['error', 'tell'])}", where="--on-bad")
    with open_writer(to) as writer:
        count = answer_file(read_rows(rows, wanted, optional), respond, writer, keep=keep, failing=on_bad == "tell")
    if to is not None or count.failed:
        note(
            f"{count.answered:,} rows answered" + (f", {count.failed:,} could not be: see their `error`" if count.failed else "")
        )
