"""YAML text -> nodes with their places; refuses what a configuration never needs before it can do harm."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from trunkline.errors import ConfigError

MAX_DEPTH = 40
MAX_VALUES = 20_000

INTEGER = re.compile(r"[-+]?[0-9]{1,40}|0o[0-7]{1,40}|0x[0-9a-fA-F]{1,40}")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
CONSTANTS = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")
}


class Place(NamedTuple):
    """Where something stands in the text: line and column from 1, and the offsets of its first and last character."""

    line: int
    column: int
    start: int = 0
    end: int = 0


@dataclass(frozen=True)
class Node:
    """One value of the file: a scalar, a list of nodes, or (key place, key, node) of a mapping."""

    place: Place
    value: Any
    shape: str


def scalar(text: str) -> Any:
    """What a plain (unquoted) scalar means in YAML 1.2; 1e-3 is a number, yes and no are text."""
    if text in CONSTANTS:
        return CONSTANTS[text]
    if INTEGER.fullmatch(text):
        return int(text, 0 if text[:2] in ("0o", "0x") else 10)
    if FLOAT.fullmatch(text):
        return float(text)
    if NOT_FINITE.fullmatch(text):
        return math.nan if text.lower().endswith("nan") else math.copysign(math.inf, -1 if text[0] == "-" else 1)
    return text


def at(name: str, place: Place) -> str:
    """`file:line:col`."""
    return f"{name}:{place.line}:{place.column}"


def compose(text: str, name: str) -> Node | None:
    """The root node of `text`, None if it holds nothing. Raises ConfigError `name:line:col` on anything refused."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.reader import ReaderError

    directive = re.search(r"^%", text, re.MULTILINE)
    if directive:
        line = text.count("\n", 0, directive.start()) + 1
        raise ConfigError("a line that starts with '%' is a YAML directive. Remove it.", where=f"{name}:{line}:1")
    try:
        return Composer(YAML(typ="safe", pure=True).parse(text), name).document()
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        character = error.character if isinstance(error.character, int) else ord(error.character)
        where = f"{name}:{line}:{column}"
        raise ConfigError(f"character U+{character:04X} is not allowed in YAML. Remove it.", where=where) from error
    except MarkedYAMLError as error:
        raise _syntax(error, text, name) from error
    except (YAMLError, ValueError, OverflowError) as error:
        raise ConfigError(f"this is not YAML: {error}.", where=name) from error


def _syntax(error: Any, text: str, name: str) -> ConfigError:
    mark = error.problem_mark or error.context_mark
    place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
    lines = text.split("\n")
    line = lines[place.line - 1] if place.line <= len(lines) else ""
    if "\\t" in (error.problem or "") or "\t" in line[: len(line) - len(line.lstrip())]:
        return ConfigError("a tab indents this line. Use spaces.", where=at(name, place))
    context = f" {error.context}" if error.context else ""
    opened = error.context_mark
    since = f" that begins in line {opened.line + 1}" if opened and opened.line + 1 != place.line else ""
    return ConfigError(f"this is not YAML: {error.problem}{context}{since}.", where=at(name, place))


class Composer:
    """Events -> nodes, refusing what a configuration never needs: tags, merge keys, several documents, great depth."""

    def __init__(self, events: Iterator[Any], name: str) -> None:
        self.events, self.name = events, name
        self.anchors: dict[str, Node] = {}
        self.count = 0

    def document(self) -> Node | None:
        root: Node | None = None
        for event in self.events:
            kind = type(event).__name__
            if kind == "DocumentStartEvent":
                if root is not None:
                    raise self._refuse(event, "a second document begins here. Keep one document in a file.")
                root = self._node(next(self.events), 0)
        return root

    def _refuse(self, event: Any, message: str) -> ConfigError:
        return ConfigError(message, where=at(self.name, self._where(event)))

    def _where(self, event: Any) -> Place:
        start, end = event.start_mark, event.end_mark
        return Place(start.line + 1, start.column + 1, start.index, end.index)

    def _node(self, event: Any, depth: int) -> Node:
        kind = type(event).__name__
        self.count += 1
        if self.count > MAX_VALUES:
            raise self._refuse(event, f"the file holds more than {MAX_VALUES:,} values.")
        if depth > MAX_DEPTH:
            raise self._refuse(event, f"values are nested deeper than {MAX_DEPTH} levels.")
        if kind == "AliasEvent":
            if event.anchor not in self.anchors:
                raise self._refuse(event, f"no anchor '&{event.anchor}' is complete above this alias.")
            return self.anchors[event.anchor]
        if event.tag is not None:
            raise self._refuse(event, "tags ('!...') are not read. Write the plain value.")
        place = self._where(event)
        if kind == "ScalarEvent":
            node = Node(place, scalar(event.value) if event.implicit[0] else event.value, "scalar")
        elif kind == "SequenceStartEvent":
            node = Node(place, self._items(depth), "list")
        else:
            node = Node(place, self._pairs(depth), "mapping")
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def _items(self, depth: int) -> list[Node]:
        items = []
        while type(event := next(self.events)).__name__ != "SequenceEndEvent":
            items.append(self._node(event, depth + 1))
        return items

    def _pairs(self, depth: int) -> list[tuple[Place, Any, Node]]:
        pairs = []
        while type(event := next(self.events)).__name__ != "MappingEndEvent":
            if type(event).__name__ == "ScalarEvent" and event.value == "<<" and event.implicit[0]:
                raise self._refuse(event, "merge keys ('<<') are not read. Write the keys out.")
            key = self._node(event, depth + 1)
            value = self._node(next(self.events), depth + 1)
            pairs.append((self._where(event), key.value if key.shape == "scalar" else key, value))
        return pairs
