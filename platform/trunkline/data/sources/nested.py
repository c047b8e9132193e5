"""Rows from one JSON document: an array of objects, however deep their values lie."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from trunkline.data.sources.base import SourceContext
from trunkline.data.sources.chunk import Chunk, chunked
from trunkline.data.sources.files import FileSource, Location, Paths
from trunkline.errors import DataError, nearest
from trunkline.registry import SOURCES


@SOURCES.register("json")
class Json(FileSource):
    """One JSON document a file. at: key of the array of rows (`data.items`: a key in a key); by default the document itself.

    A value inside an object is a column of its own, named with a dot: userInput.text. A list of objects becomes a list for
    each of their keys: labels.slot. What a row lacks is null.
    """

    def __init__(
        self,
        context: SourceContext,
        *,
        train: Paths = None,
        validation: Paths = None,
        test: Paths = None,
        rows: Paths = None,
        at: str = "",
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(context, train=train, validation=validation, test=test, rows=rows)
        self.at, self.encoding = at, encoding

    def read_file(self, location: Location) -> Iterator[Chunk]:
        found = load_json(location, self.encoding)
        for key in self.at.split(".") if self.at else ():
            if not isinstance(found, dict) or key not in found:
                known = list(found) if isinstance(found, dict) else []
                raise DataError(f"data.at: no key '{key}' here. {nearest(key, known)}", where=location.shown)
            found = found[key]
        if not isinstance(found, list):
            raise DataError(
                f"no array of rows, found {type(found).__name__}. `data.at` names the key where they lie.", where=location.shown
            )
        rows = [self._flat(row, f"{location.shown}:row {number}") for number, row in enumerate(found)]
        names = list(dict.fromkeys(name for row in rows for name in row))
        values = ([row.get(name) for name in names] for row in rows)
        yield from chunked(names, values, where=lambda row: f"{location.shown}:row {row}")

    @staticmethod
    def _flat(row: Any, where: str) -> dict[str, Any]:
        if not isinstance(row, dict) or not row:
            raise DataError(f"not a JSON object with keys, found {type(row).__name__}.", where=where)
        return flatten(row)


def load_json(location: Location, encoding: str) -> Any:
    """The document in a file. Raises DataError with the line where it breaks off."""
    with location.text(encoding) as stream:
        try:
            return json.load(stream)
        except json.JSONDecodeError as error:
            raise DataError(
                f"not JSON: {error.msg} at column {error.colno}.", where=f"{location.shown}:{error.lineno}"
            ) from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"not JSON: {error}.", where=location.shown) from error


def flatten(row: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Values by dotted key. Of a list of objects, the list of each dotted key's values, null where an object lacks it."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        name = f"{before}{key}"
        if isinstance(value, dict):
            flat |= flatten(value, f"{name}.")
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            items = [flatten(item, f"{name}.") for item in value]
            names = dict.fromkeys(inner for item in items for inner in item)
            flat |= {inner: [item.get(inner) for item in items] for inner in names}
        else:
            flat[name] = value
    return flat
