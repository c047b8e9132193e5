"""`-s key.key=value`: what a command line puts in place of what a recipe says."""

from __future__ import annotations

from collections.abc import Collection

from trunkline.document import reader
from trunkline.document.reader import Document, Route
from trunkline.document.schema import SECRET, shown_value
from trunkline.errors import UsageError


def override(document: Document, stated: str, parts: Collection[str]) -> None:
    """Puts `key.key=value` into the document. parts: sections that may be written short, as the name of a kind.

    Raises UsageError where it can not be applied.
    """
    name, equals, text = stated.partition("=")
    told = "a value" if SECRET.search(name.rpartition(".")[2].strip()) else text
    label = f"-s {shown_value(f'{name}{equals}{told}')[1:-1]}"
    if not equals:
        raise UsageError("an override needs '='. Write key.key=value, such as train.steps=100.", where=label)
    steps = [step.strip() for step in name.split(".")]
    if not all(steps):
        raise UsageError("the part before '=' must be a key such as train.steps.", where=label)
    if "[" in name:
        raise UsageError("list entries take points. Write tasks.0.weight=2, not tasks[0].weight=2.", where=label)
    route = _existing_route(document, steps, label, parts)
    document.put(route, reader.parse_value(text, label), label)


def _existing_route(document: Document, steps: list[str], label: str, parts: Collection[str]) -> Route:
    """The override's route; parents that are missing or written short are made mappings on the way."""
    route: Route = ()
    for position, step in enumerate(steps):
        parent = document.get(route)
        if isinstance(parent, list):
            if not step.isdecimal() or int(step) >= len(parent):
                known = f"{reader.route_text(route)} has entries 0 to {len(parent) - 1}"
                raise UsageError(f"{known}, not '{step}'. Name one of them.", where=label)
            route = (*route, int(step))
        else:
            route = (*route, step)
        if position < len(steps) - 1:
            _make_mapping(document, route, label, parts)
    return route


def _make_mapping(document: Document, route: Route, label: str, parts: Collection[str]) -> None:
    value = document.get(route)
    if value is None:
        document.put(route, {}, label)
    elif isinstance(value, str) and (route[0] in parts or route[0] == "tasks"):
        document.put(route, {"task" if route[0] == "tasks" else "kind": value}, label)
    elif not isinstance(value, dict | list):
        raise UsageError(f"{reader.route_text(route)} is {shown_value(value, route)} and has no keys below it.", where=label)
