"""A card's plugin.py: Python beside the card that registers the parts the card names."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from pathlib import Path

from trunkline.document.reader import shown
from trunkline.errors import ConfigError, Problems
from trunkline.registry import REGISTRIES, Listed, registered
from trunkline.tasks.card import Card


def module_name(card: Card) -> str:
    """The plugin's name among Python's modules: the task's, wherever the card lies (a run keeps a copy of it)."""
    return f"trunkline_plugin_{card.whole.name}"


def listed(folder: Path, problems: Problems) -> list[Listed]:
    """The parts that the plugins of a catalog register by decorator; the files are read, not run. Adds those that can not be."""
    rooms = {registry.table_name: registry for registry in REGISTRIES}
    found = []
    for path in sorted(folder.glob("*/plugin.py")):
        try:
            parts = registered(path)
        except (SyntaxError, ValueError) as error:
            problems.add(ConfigError(f"is no Python: {error}.", where=shown(path)))
            continue
        found += [
            Listed(rooms[table].room, name, rooms[table].noun, shown(path), shown(path), summary)
            for (table, name), summary in parts.items()
            if table in rooms
        ]
    return found


def load_plugin(card: Card) -> None:
    """Runs the plugin.py beside the card, once in a process unless its content changes; nothing happens without one.

    Raises ConfigError that tells the plugin's own error and its line.
    """
    path = card.plugin
    if path is None:
        return
    name, content = module_name(card), hashlib.sha256(path.read_bytes()).hexdigest()
    before = sys.modules.get(name)
    if before is not None and vars(before).get("content") == content:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs, as the import system does: dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        line = _line(error, path)
        said = f"{type(error).__name__}: {error}".rstrip(": .")
        raise ConfigError(
            f"the plugin of task '{card.name}' failed. {said}. Mend the plugin.", where=f"{shown(path)}:{line}"
        ) from error
    vars(module)["content"] = content


def _line(error: BaseException, path: Path) -> int:
    file = str(path.absolute())
    if isinstance(error, SyntaxError) and error.filename == file:
        return error.lineno or 1
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return (lines[-1] if lines else 1) or 1
