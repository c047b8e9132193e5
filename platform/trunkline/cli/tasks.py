"""`trunkline task`: the cards of a project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.cli.output import AsJson, data, help_if_alone, json_data, note, table

if TYPE_CHECKING:
    from trunkline.tasks.card import Card
    from trunkline.tasks.catalog import Catalog

CatalogFolder = Annotated[
    Path | None, typer.Option("--catalog", help="The folder of cards; by default tasks/ here or above.", show_default=False)
]
Name = Annotated[str, typer.Argument(help="The task's name.", show_default=False)]
NameOrPath = Annotated[str, typer.Argument(help="The task's name, or a card.yaml or its folder.", show_default=False)]


def register(app: typer.Typer) -> None:
    group = typer.Typer(rich_markup_mode=None, help="Start, check, list and share task cards.")
    group.callback(invoke_without_command=True)(help_if_alone)
    for name, command in (("new", new), ("check", check), ("add", add), ("list", list_), ("show", show), ("remove", remove)):
        group.command(name)(command)
    group.command("publish")(publish)
    group.command("fetch")(fetch)
    group.command("history")(history)
    app.add_typer(group, name="task")


def new(
    name: Name,
    kind: Annotated[str, typer.Option("--kind", help="The kind of task.")] = "classification",
    catalog: CatalogFolder = None,
    as_json: AsJson = False,
) -> None:
    """Write a card with example rows."""
    from trunkline.document.reader import shown
    from trunkline.tasks.catalog import FOLDER, nearest_folder
    from trunkline.tasks.change import new_card

    path = new_card(catalog or nearest_folder(Path.cwd()) or Path(FOLDER), name, kind)
    _tell({"path": shown(path)}, shown(path), as_json)
    note(f"Now replace the rows beside it, and check it: trunkline task check {name}")


def check(task: NameOrPath, catalog: CatalogFolder = None, as_json: AsJson = False) -> None:
    """Check a card, its parts, its first rows."""
    from trunkline.build.task import check_task
    from trunkline.registry import TOKENIZERS
    from trunkline.tasks.catalog import Catalog, nearest_folder

    card = _card(task, catalog)
    beside = catalog or nearest_folder(card.folder)
    words = TOKENIZERS.get("words")().build(())  # the rows' shape is checked, not a recipe's vocabulary
    report = check_task(card, Catalog([beside]) if beside else None, words)
    _tell({"task": card.name, "path": str(card.path), "report": report}, "\n".join(report), as_json)
    note(f"task '{card.name}' is sound.")


def add(
    path: Annotated[Path, typer.Argument(help="A card.yaml or its folder.", show_default=False)],
    catalog: CatalogFolder = None,
    as_json: AsJson = False,
) -> None:
    """Copy a card and its plugin here."""
    from trunkline.document.reader import shown
    from trunkline.tasks.change import add_card

    added = add_card(_catalog(catalog).folders[0], path)
    files = [shown(file) for file in added.data]
    _tell({"path": shown(added.path), "changed": added.changed, "data": files}, shown(added.path), as_json)
    if not added.changed:
        note("The same card is in the catalog already; nothing changed.")
    if added.changed and files:
        note(f"Its data files stay where they are, and the card in the catalog points there: {', '.join(files)}")


def list_(catalog: CatalogFolder = None, as_json: AsJson = False) -> None:
    """List the cards of the catalog."""
    from trunkline.document.reader import shown

    found = _catalog(catalog).list()
    if as_json:
        json_data([{**vars(line), "path": shown(line.path)} for line in found])
    else:
        table(("name", "kind", "summary"), [(line.name, line.kind or "?", line.summary) for line in found])
    for line in found:
        if line.problem is not None:
            note(f"warning: {line.problem}")


def show(task: NameOrPath, catalog: CatalogFolder = None, as_json: AsJson = False) -> None:
    """Print a card."""
    from trunkline.document.reader import shown

    card = _card(task, catalog)
    note(shown(card.path))
    _tell({**card.model_dump(mode="json"), "path": shown(card.path)}, card.text, as_json)


def remove(
    name: Name,
    catalog: CatalogFolder = None,
    with_files: Annotated[bool, typer.Option("--with-files", help="Also delete data files in its folder.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take a card out of the catalog."""
    from trunkline.document.reader import shown
    from trunkline.tasks.change import remove_card

    path = _catalog(catalog).path(name)
    remove_card(path, with_files=with_files)
    _tell({"removed": name, "path": shown(path)}, name, as_json)


def publish(
    task: NameOrPath,
    to: Annotated[str, typer.Option("--to", help="The team's catalog: a folder, or a URI such as s3://...", show_default=False)],
    catalog: CatalogFolder = None,
    as_json: AsJson = False,
) -> None:
    """Put a card into a team's catalog; every version is kept."""
    import dataclasses
    import getpass
    import socket

    from trunkline.tasks.team import TeamCatalog

    entry, new = TeamCatalog(to).publish(_card(task, catalog).path, f"{getpass.getuser()}@{socket.gethostname()}")
    text = f"version {entry.version} by {entry.who}{'' if new else ' is there already'}"
    _tell({**dataclasses.asdict(entry), "new": new}, text, as_json)


def fetch(
    name: Name,
    source: Annotated[str, typer.Option("--from", help="The team's catalog.", show_default=False)],
    version: Annotated[str | None, typer.Option("--version", help="Instead of the newest.", show_default=False)] = None,
    catalog: CatalogFolder = None,
    as_json: AsJson = False,
) -> None:
    """Take a card from a team's catalog; its plugin too, to be read before it is used."""
    import dataclasses

    from trunkline.tasks.team import TeamCatalog

    folder = _catalog(catalog).folders[0]
    entry = TeamCatalog(source).fetch(name, folder, version)
    _tell({**dataclasses.asdict(entry), "path": str(folder / name)}, f"version {entry.version} by {entry.who}", as_json)
    if "plugin.py" in entry.files:
        note(f"It has Python of its own. Read {folder / name / 'plugin.py'} before it is used.")


def history(
    name: Name,
    source: Annotated[str, typer.Option("--from", help="The team's catalog.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Every version of a card in a team's catalog: who, when, after which."""
    import dataclasses

    from trunkline.tasks.team import TeamCatalog

    entries = TeamCatalog(source).history(name)
    if as_json:
        json_data([dataclasses.asdict(entry) for entry in entries])
        return
    table(("version", "when", "who", "after"), [(own.version, own.when[:19], own.who, " ".join(own.after)) for own in entries])


def _tell(value: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        json_data(value)
    else:
        data(text)


def _catalog(folder: Path | None) -> Catalog:
    from trunkline.errors import UsageError
    from trunkline.tasks.catalog import FOLDER, Catalog, nearest_folder

    found = folder or nearest_folder(Path.cwd())
    if found is None:
        raise UsageError(f"no folder '{FOLDER}' here or above. Run this in a project, or pass --catalog FOLDER.")
    return Catalog([found])


def _card(task: str, folder: Path | None) -> Card:
    from trunkline.tasks.card import NAME, load_card

    if not NAME.fullmatch(task) or (folder is None and Path(task, "card.yaml").is_file()):
        return load_card(task)
    return _catalog(folder).get(task)
