"""Changes of a catalog: add, remove and start cards; each happens whole or not at all."""

from __future__ import annotations

import difflib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trunkline.document import writer
from trunkline.document.composer import Place
from trunkline.document.reader import Route, shown
from trunkline.errors import ConfigError, UsageError
from trunkline.tasks.card import NAME, NAME_RULE, Card, load_card
from trunkline.tasks.skeleton import skeleton

OWN_FILES = ("card.yaml", "plugin.py")


@dataclass(frozen=True)
class Added:
    """path: the card in the catalog. changed: False if it stood there already. data: files that stay where they are."""

    path: Path
    changed: bool
    data: list[Path]


def add_card(folder: Path, source: Path | str) -> Added:
    """Copies a checked card (and its plugin.py) into the catalog `folder`.

    Data files stay where they are; the copy's relative paths are rewritten to reach them. The same card again changes
    nothing. Raises ConfigError with a diff if another card of that name is there.
    """
    card = load_card(source)
    target = folder / card.name
    if target.exists() and target.samefile(card.folder):
        return Added(target / "card.yaml", False, [])
    text, data = _moved(card, target, folder)
    files = {"card.yaml": text.encode()}
    if card.plugin is not None:
        files["plugin.py"] = card.plugin.read_bytes()
    if target.exists():
        _refuse_changed(card, target, files)
        return Added(target / "card.yaml", False, data)
    write_folder(target, files)
    return Added(target / "card.yaml", True, data)


def remove_card(card_path: Path, *, with_files: bool = False) -> None:
    """Takes a card out of its catalog. Raises UsageError if its folder holds other files, unless `with_files`."""
    folder = card_path.parent
    others = sorted(entry.name for entry in folder.iterdir() if entry.name not in (*OWN_FILES, "__pycache__"))
    if others and not with_files:
        message = f"the folder also holds {', '.join(others[:5])}. Move them away, or pass --with-files to delete them too."
        raise UsageError(message, where=shown(folder))
    aside = folder.with_name(f".removed-{folder.name}-{os.getpid()}")
    folder.rename(aside)
    shutil.rmtree(aside)


def new_card(folder: Path, name: str, kind: str) -> Path:
    """A card of that kind with a few example rows, ready for `task check`. Raises UsageError if the name is taken."""
    if not NAME.fullmatch(name):
        raise UsageError(f"{name[:80]!r} is not a task name. {NAME_RULE}")
    target = folder / name
    if target.exists():
        raise UsageError("is already there. Choose another name.", where=shown(target))
    write_folder(target, {file: text.encode() for file, text in skeleton(name, kind).items()})
    return target / "card.yaml"


def write_folder(target: Path, files: Mapping[str, bytes]) -> None:
    """All files under `target`, which must not exist or be empty, or nothing: written aside, synced, renamed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".adding-", dir=target.parent))
    try:
        for file, content in files.items():
            path = aside / file
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as out:
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
        aside.chmod(0o755)
        if target.is_dir() and not any(target.iterdir()):
            # Somebody may stand in the empty folder: fill it, do not replace it.
            for entry in sorted(aside.iterdir()):
                entry.rename(target / entry.name)
            aside.rmdir()
        else:
            aside.rename(target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _moved(card: Card, target: Path, catalog: Path) -> tuple[str, list[Path]]:
    """The card's text for its new folder, and the data files it names there."""
    document = card.document
    edits: list[tuple[Place, str]] = []
    data: list[Path] = []
    for split, paths in card.data.files().items():
        for index, path in enumerate(paths):
            if "://" in path or Path(path).is_absolute():
                continue
            route: Route = ("data", split)
            place = document.place(route if isinstance(document.get(route), str) else (*route, index))
            assert isinstance(place, Place)
            file = card.folder.absolute() / path
            data.append(file)
            edits.append((place, writer.render_value(_reach(file, target, catalog))))
    text = card.text
    for place, replacement in sorted(set(edits), reverse=True):
        text = text[: place.start] + replacement + text[place.end :]
    return text, data


def _reach(file: Path, target: Path, catalog: Path) -> str:
    """The file as seen from `target`: relative inside one project, absolute from outside."""
    project = catalog.absolute().parent
    file = Path(os.path.normpath(file))
    return os.path.relpath(file, target.absolute()) if file.is_relative_to(project) else str(file)


def _refuse_changed(card: Card, target: Path, files: Mapping[str, bytes]) -> None:
    diff: list[str] = []
    for file in OWN_FILES:
        there, new = target / file, files.get(file, b"").decode("utf-8", "replace")
        old = there.read_text(encoding="utf-8", errors="replace") if there.is_file() else ""
        diff += difflib.unified_diff(old.splitlines(), new.splitlines(), shown(there), shown(card.folder / file), lineterm="")
    if diff:
        listing = "\n".join(diff)
        message = f"another card named '{card.name}' is in the catalog. Rename this one, or remove that first.\n{listing}"
        raise ConfigError(message, where=card.where("name"))
