"""The cards of a project: folders that hold `<name>/card.yaml`, read only when asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trunkline.document import reader
from trunkline.document.reader import shown
from trunkline.errors import ConfigError, nearest
from trunkline.tasks.card import NAME, Card, load_card
from trunkline.tasks.glance import at_a_glance
from trunkline.tasks.sharing import resolved

FOLDER = "tasks"


@dataclass(frozen=True)
class Listed:
    """One line of `task list`. problem: why the card can not be read, if so."""

    name: str
    kind: str | None
    summary: str | None
    path: Path
    problem: str | None = None


def nearest_folder(start: Path) -> Path | None:
    """The `tasks/` folder in `start` or the nearest folder above it."""
    start = start.absolute()
    return next((folder / FOLDER for folder in (start, *start.parents) if (folder / FOLDER).is_dir()), None)


def catalog_for(recipe: Path, folders: Sequence[str] | None, *, where: str | None = None) -> Catalog:
    """The catalog of the recipe at `recipe`: its own `catalog:` folders (relative to it), or the nearest `tasks/`."""
    if folders is not None:
        return Catalog([recipe.parent / folder for folder in folders], where=where)
    found = nearest_folder(recipe.parent)
    if found is None:
        message = (
            f"no folder '{FOLDER}' in {shown(recipe.parent)} or above it. Run `trunkline task new`, or name folders in catalog:."
        )
        raise ConfigError(message, where=where or shown(recipe))
    return Catalog([found])


class Catalog:
    """Cards by name. folders: each holds `<name>/card.yaml`; a name may stand in one of them only."""

    def __init__(self, folders: Iterable[Path | str], *, where: str | None = None) -> None:
        self.folders = [Path(folder) for folder in folders]
        self.folders = list({folder.resolve(): folder for folder in self.folders}.values())
        for folder in self.folders:
            if not folder.is_dir():
                raise ConfigError(f"no catalog folder {shown(folder)}. Check the path.", where=where)

    def paths(self) -> dict[str, Path]:
        """Name -> card file, sorted by name. Raises ConfigError on a name that stands in two folders."""
        found: dict[str, Path] = {}
        for folder in self.folders:
            for entry in sorted(folder.iterdir()):
                card = entry / "card.yaml"
                if entry.name.startswith(".") or not card.is_file():
                    continue
                if entry.name in found:
                    both = f"{shown(found[entry.name])} and {shown(card)}"
                    raise ConfigError(f"task '{entry.name}' stands in two catalogs: {both}. Remove one.")
                found[entry.name] = card
        return dict(sorted(found.items()))

    def names(self) -> list[str]:
        return list(self.paths())

    def path(self, name: str, *, where: str | None = None) -> Path:
        """The card file of that name. Raises ConfigError with the nearest names if there is none."""
        found = [folder / name / "card.yaml" for folder in self.folders if NAME.fullmatch(name)]
        found = [path for path in found if path.is_file()]
        if len(found) != 1:
            paths = self.paths()  # raises if the name stands in two folders
            folders = ", ".join(shown(folder) for folder in self.folders)
            known = nearest(name, paths) if paths else f"The catalog {folders} is empty."
            raise ConfigError(f"no task named '{name[:80]}'. {known}", where=where)
        return found[0]

    def get(self, name: str, *, where: str | None = None) -> Card:
        """The card of that name, or of a joint card's part, with the data of the task it shares rows with.

        Raises ConfigError if there is none or it is wrong.
        """
        return self.resolved(self._load(name, where))

    def resolved(self, card: Card) -> Card:
        """The card with the data of the task its `rows_of` names. Raises ConfigError if there is none, or it goes in a circle."""
        return resolved(card, self._load)

    def _load(self, name: str, where: str | None) -> Card:
        part = None if self._holds(name) else self._part(name)
        if part is not None:
            return part
        card = load_card(self.path(name, where=where))
        check_folder_name(card)
        return card

    def _part(self, name: str) -> Card | None:
        """The part of a joint card that bears this name."""
        words = name.split("_")
        wholes = ["_".join(words[:size]) for size in range(len(words) - 1, 0, -1)]
        cards = (load_card(self.path(whole)) for whole in wholes if self._holds(whole))
        return next((part for card in cards for part in card.parts.values() if part.name == name), None)

    def _holds(self, name: str) -> bool:
        return bool(NAME.fullmatch(name)) and any((folder / name / "card.yaml").is_file() for folder in self.folders)

    def list(self) -> list[Listed]:
        """Every card, broken ones with their problem; runs no plugin and checks no names."""
        return [listed(name, path) for name, path in self.paths().items()]


def check_folder_name(card: Card) -> None:
    """Raises ConfigError unless the card's folder bears its name: a catalog finds it by that alone."""
    folder = card.path.absolute().parent.name
    if folder != card.name:
        raise ConfigError(f"'{card.name}' lies in a folder named '{folder}'. Give both one name.", where=card.where("name"))


def listed(name: str, path: Path) -> Listed:
    """What a listing shows of one card: read by eye if it is plain (about 30 times faster), by the YAML reader if not."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        text = ""
    try:
        stated, kind, summary = at_a_glance(text) or _read(path)
    except ConfigError as error:
        return Listed(name, None, None, path, str(error))
    problem = None if stated == name else f"{shown(path)}: its name is '{stated}' but its folder '{name}'. Give both one name."
    return Listed(name, kind, summary, path, problem)


def _read(path: Path) -> tuple[str, str | None, str | None]:
    data = reader.read(path).data
    head = data.get("head")
    kind = head.get("kind") if isinstance(head, dict) else head
    summary = data.get("summary")
    return str(data.get("name")), kind if isinstance(kind, str) else None, summary if isinstance(summary, str) else None
