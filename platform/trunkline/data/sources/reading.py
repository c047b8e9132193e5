"""How a card reads its source: which columns, what is no value, and what of a row is running text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from trunkline.data.fingerprint import digest
from trunkline.data.sources.chunk import Chunk, Refused, is_null
from trunkline.errors import ConfigError, DataError, nearest

SHOWN = 5


@dataclass(frozen=True)
class Reading:
    """How a card reads its source. columns: name wanted -> name in the file. on_null: `error`, or `drop` the row.

    lists: name wanted -> what stands between the items of its text, which becomes a list. nulls: texts that mean no value.
    on_bad: `error`, or `quarantine` for rows that can not be used; max_bad: at most this share of a split's rows (see `Intake`).
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    on_null: str = "error"
    lists: Mapping[str, str] = field(default_factory=dict)
    nulls: Sequence[str] = ()
    on_bad: str = "error"
    max_bad: float = 0.05

    def __post_init__(self) -> None:
        for key, value, known in (("on_null", self.on_null, "drop, error"), ("on_bad", self.on_bad, "error, quarantine")):
            if value not in known.split(", "):
                raise ConfigError(f"data.{key}: found {value!r}. Known: {known}.")
        empty = [name for name, separator in self.lists.items() if not separator]
        if empty:
            raise ConfigError(f"data.lists.{empty[0]}: what stands between the items is needed, such as ','.")

    def key(self) -> str:
        stated = [dict(self.columns), self.on_null, dict(self.lists), list(self.nulls)]
        # Of rows that were all good nothing else comes; and how many may be bad changes none of those kept.
        return digest([*stated, self.on_bad] if self.on_bad != "error" else stated)

    def is_null(self, value: Any) -> bool:
        """Whether this is no value: none, NaN, or a text that means none."""
        return is_null(value) or (isinstance(value, str) and value in self.nulls)

    def select(self, chunk: Chunk, wanted: Sequence[str], optional: Sequence[str] = ()) -> Chunk:
        """The wanted columns without nulls, and optional ones, where a null is None.

        Raises DataError for a missing column, and for a null in a wanted one unless they are dropped or, like lines that could
        not be read, set aside.
        """
        if self.on_bad == "error":
            chunk.raise_refused()
        if not len(chunk):
            return Chunk({name: [] for name in (*wanted, *optional)}, chunk.where, Counter(chunk.notes), 0, chunk.refused)
        columns: dict[str, Sequence[Any]] = {}
        for name in dict.fromkeys((*wanted, *optional)):
            stored = self.columns.get(name, name)
            if stored not in chunk.columns:
                place = chunk.where(0).rsplit(":", 1)[0] if chunk.where else None
                asked = f"'{stored}'" if stored == name else f"'{stored}' (asked for as '{name}')"
                raise DataError(f"no column {asked}. {nearest(stored, chunk.columns)} `data.columns` maps names.", where=place)
            columns[name] = self._values(name, chunk.columns[stored])
        picked = Chunk(columns, chunk.where, Counter(chunk.notes), len(chunk), chunk.refused)
        for name in set(optional) - set(wanted):
            columns[name] = [None if is_null(value) else value for value in columns[name]]
        bad = sorted({row for name in wanted for row, value in enumerate(columns[name]) if is_null(value)})
        if not bad:
            return picked
        place_of = chunk.where or (lambda row: f"row {row}")
        if self.on_null == "drop":
            picked.notes["null_dropped"] += len(bad)
        elif self.on_bad == "error":
            places = ", ".join(place_of(row) for row in bad[:SHOWN])
            more = f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
            names = " or ".join(f"'{name}'" for name in wanted)
            raise DataError(
                f"{len(bad)} row(s) have no value in {names}: {places}{more}. Mend them, or set data.on_null: drop.",
                where=place_of(bad[0]),
            )
        else:
            empty = [
                Refused(place_of(row), f"no value in {_without_value({name: columns[name] for name in wanted}, row)}")
                for row in bad
            ]
            picked = replace(picked, refused=[*picked.refused, *empty])
        gone = set(bad)
        return picked.take([row for row in range(len(picked)) if row not in gone])

    def _values(self, name: str, values: Sequence[Any]) -> Sequence[Any]:
        if self.nulls:
            none = set(self.nulls)
            values = [None if isinstance(value, str) and value in none else value for value in values]
        separator = self.lists.get(name)
        if separator is None:
            return values
        return [_items(value, separator) if isinstance(value, str) else value for value in values]


def running_text(value: Any) -> str | None:
    """A text as it is, a list of words joined; None for anything else."""
    if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        return join_words(value)
    return value if isinstance(value, str) else None


def join_words(words: Sequence[str]) -> str:
    """Words as running text: no spaces between Chinese, Japanese or Korean characters."""
    return ("" if all(len(word) == 1 and word >= "\u2e80" for word in words) else " ").join(words)


def _items(text: str, separator: str) -> list[str]:
    items = [item.strip() for item in text.split(separator)]
    return [item for item in items if item]


def _without_value(columns: Mapping[str, Sequence[Any]], row: int) -> str:
    return " or ".join(f"'{name}'" for name, values in columns.items() if is_null(values[row]))
