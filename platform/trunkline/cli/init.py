"""`trunkline init`: a new project, ready to train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trunkline.cli.output import AsJson, data, json_data, note
from trunkline.errors import UsageError


def register(app: typer.Typer) -> None:
    app.command("init")(init)


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Write a new project, ready to train."""
    from trunkline.cli.starter import files
    from trunkline.document.reader import shown
    from trunkline.tasks.change import write_folder

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError("is not empty. Name a new folder.", where=shown(folder))
    contents = {name: text.encode() for name, text in files(folder.absolute().name).items()}
    write_folder(folder.absolute(), contents)
    if as_json:
        json_data({"path": shown(folder), "files": sorted(contents)})
    else:
        data("\n".join(str(folder / name) for name in sorted(contents)))
    note(f"Next: cd {folder} && trunkline train recipes/first.yaml")
