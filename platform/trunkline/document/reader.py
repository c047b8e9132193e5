"""YAML as plain data plus the place of every value; nothing in the file can run, blow up or be read twice."""

from __future__ import annotations

import codecs
import difflib
import math
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trunkline.document.composer import MAX_DEPTH, MAX_VALUES, Node, Place, at, compose
from trunkline.errors import ConfigError, Problems

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_BYTES = 1_000_000

Key = str | int
Route = tuple[Key, ...]

WIDE = {
    "UTF-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    "UTF-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}


def route_text(route: Sequence[Key]) -> str:
    return ".".join(str(key) for key in route)


def shown(path: Path | str) -> str:
    """The path as people write it: relative to the working folder if it lies below it."""
    absolute = Path(path).absolute()
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(path)


@dataclass
class Document:
    """A mapping read from YAML. data: plain dicts, lists, str, int, float, bool, None. name: how messages call the file.

    text: the file as read. places and key_places: route -> where it stands, or what put it there (an override).
    """

    name: str
    text: str
    data: dict[str, Any]
    places: dict[Route, Place | str] = field(default_factory=dict)
    key_places: dict[Route, Place | str] = field(default_factory=dict)

    def where(self, route: Sequence[Key] = (), *, key: bool = False) -> str:
        """`file:line:col` of the value at `route` (of its key if `key`), or of the nearest thing around it that exists."""
        place = self.place(route, key=key)
        return place if isinstance(place, str) else f"{self.name}:{place.line}:{place.column}"

    def place(self, route: Sequence[Key], *, key: bool = False) -> Place | str:
        steps = tuple(route)
        if key and steps in self.key_places:
            return self.key_places[steps]
        while steps and steps not in self.places:
            steps = steps[:-1]
        if steps != tuple(route) and steps in self.key_places:
            return self.key_places[steps]
        return self.places.get(steps, Place(1, 1))

    def get(self, route: Sequence[Key]) -> Any:
        """The value at `route`, None where there is none."""
        value: Any = self.data
        for step in route:
            known = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
            if step not in known:
                return None
            value = value[step]
        return value

    def put(self, route: Sequence[Key], value: Any, where: str) -> None:
        """Sets the value at `route`, whose parent exists; messages about it will say `where`."""
        route = tuple(route)
        parent = self.get(route[:-1])
        parent[route[-1]] = value
        for places in (self.places, self.key_places):
            for known in [known for known in places if known[: len(route)] == route]:
                del places[known]
            places[route] = where


def read(path: Path | str) -> Document:
    """The document at `path`. Raises ConfigError: no such file, not UTF-8, too big, or anything `parse` refuses."""
    path = Path(path)
    name = shown(path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ConfigError("is a folder. Name the YAML file in it.", where=name)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError("is not a plain file. Name a YAML file.", where=name)
        if status.st_size > MAX_BYTES:
            raise ConfigError(f"has {status.st_size:,} bytes. The limit is {MAX_BYTES:,}.", where=name)
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(f"no such file. {_neighbours(path)}", where=name) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"can not be read: {reason}. Check the path.", where=repr(name)[1:-1]) from error
    return parse(_decode(content, name), name)


def parse(text: str, name: str) -> Document:
    """The document in `text`. Raises ConfigError `name:line:col` on anything but one plain mapping."""
    node = compose(text, name)
    if node is None or (node.shape == "scalar" and node.value is None):
        raise ConfigError("the file is empty. It must hold keys and values.", where=name)
    if node.shape != "mapping":
        found = "a list" if node.shape == "list" else "a single value"
        raise ConfigError(f"expected keys and values, found {found}.", where=at(name, node.place))
    document = Document(name, text, {})
    problems = Problems()
    document.data = _place(node, (), document, problems, [0])
    problems.raise_if_any()
    return document


def parse_value(text: str, name: str) -> Any:
    """One value as YAML writes it (a scalar, `[a, b]`, `{a: 1}`), for overrides. Raises ConfigError that names `name`."""
    node = compose(text, name)
    if node is None:
        return None
    problems = Problems()
    value = _place(node, (), Document(name, text, {}), problems, [0])
    problems.raise_if_any()
    return value


def _neighbours(path: Path) -> str:
    folder = path.parent
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"Did you mean '{shown(folder / close[0])}'?" if close else "Check the path."


def _decode(content: bytes, name: str) -> str:
    for encoding, marks in WIDE.items():
        if content.startswith(marks):
            raise ConfigError(f"is written in {encoding}. Save it as UTF-8.", where=f"{name}:1:1")
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8")
        place = Place(before.count("\n") + 1, len(before) - before.rfind("\n"))
        byte = content[error.start]
        raise ConfigError(f"byte 0x{byte:02x} is not UTF-8. Save the file as UTF-8.", where=at(name, place)) from error


def _place(node: Node, route: Route, document: Document, problems: Problems, count: list[int]) -> Any:
    """Plain data of `node`; notes where everything stands. count[0]: values made so far, aliases written out."""
    count[0] += 1
    if count[0] > MAX_VALUES:
        raise ConfigError(f"its aliases, written out, make more than {MAX_VALUES:,} values.", where=document.name)
    if len(route) > MAX_DEPTH:
        raise ConfigError(f"values are nested deeper than {MAX_DEPTH} levels.", where=at(document.name, node.place))
    document.places[route] = node.place
    if node.shape == "list":
        return [_place(item, (*route, index), document, problems, count) for index, item in enumerate(node.value)]
    if node.shape == "mapping":
        return _mapping(node, route, document, problems, count)
    _check_scalar(node, route, document, problems)
    return node.value


def _mapping(node: Node, route: Route, document: Document, problems: Problems, count: list[int]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    first: dict[str, Place] = {}
    for place, key, value in node.value:
        where = f"{at(document.name, place)}: {route_text((*route, str(key)) if not isinstance(key, Node) else route)}"
        if not isinstance(key, str):
            decimal = " A decimal number takes a point, not a comma." if isinstance(key, int) and value.value is None else ""
            hint = f" Write '{key}' in quotes if you mean it." if not isinstance(key, Node) else ""
            problems.add(ConfigError(f"a key must be text.{decimal or hint}", where=where))
        elif key in data:
            lines = f"in line {first[key].line} and in line {place.line}"
            problems.add(ConfigError(f"the key is given twice, {lines}. Keep one.", where=where))
        else:
            _check_text(key, where, problems)
            document.key_places[(*route, key)] = first[key] = place
            data[key] = _place(value, (*route, key), document, problems, count)
    return data


def _check_scalar(node: Node, route: Route, document: Document, problems: Problems) -> None:
    where = f"{at(document.name, node.place)}: {route_text(route)}" if route else at(document.name, node.place)
    if isinstance(node.value, float) and not math.isfinite(node.value):
        problems.add(ConfigError("expected a finite number, found one that is not. Write a number.", where=where))
    if isinstance(node.value, str):
        _check_text(node.value, where, problems)


def _check_text(text: str, where: str, problems: Problems) -> None:
    if any("\ud800" <= character <= "\udfff" for character in text):
        problems.add(ConfigError("holds half of a surrogate pair. Write the character itself.", where=where))
