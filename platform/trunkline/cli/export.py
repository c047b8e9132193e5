"""`trunkline export`: a model for other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trunkline.cli.output import AsJson, data, json_data, note

Form = Annotated[
    str,
    typer.Option("--format", help="hf, hf-classifier, sentence-transformers, onnx or word2vec.", show_default=False),
]


def register(app: typer.Typer) -> None:
    app.command("export")(export)


def export(
    model: Annotated[Path, typer.Argument(help="The model folder of a finished run, or a line of models.", show_default=False)],
    form: Form,
    to: Annotated[Path, typer.Option("--to", "-o", help="The folder to write; it must not be there.", show_default=False)],
    task: Annotated[
        list[str] | None, typer.Option("--task", help="A task whose head (and LoRA) is taken.", show_default=False)
    ] = None,
    pooling: Annotated[str, typer.Option("--pooling", help="Of the trunk's vectors: first, last, mean or max.")] = "mean",
    as_json: AsJson = False,
) -> None:
    """Write a model in the form of another library, with a model card."""
    from trunkline.build.export import export as run
    from trunkline.workflows.line import opened

    made = run(opened(model, None)[1], form, to, tasks=task or [], pooling=pooling, say=note)
    json_data({"path": str(made), "format": form, "tasks": task or []}) if as_json else data(str(made))
