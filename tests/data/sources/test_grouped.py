from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from trunkline.data.sources.base import Source, SourceContext
from trunkline.data.sources.chunk import Chunk, chunked
from trunkline.data.sources.grouped import Grouped
from trunkline.data.sources.reading import Reading
from trunkline.data.sources.split import HashSplit
from trunkline.errors import ConfigError, DataError

NAMES = ("id", "query", "candidate", "grade")
LINES = [(2, "b", "b1", 0), (1, "a", "a1", 1), (2, "b", "b2", 1), (1, "other", "a2", 0), (3, "c", "c1", 5)]


class Flat(Source):
    def __init__(self, context: SourceContext, *, lines: Sequence[tuple[Any, ...]] = LINES, size: int = 2) -> None:
        super().__init__(context)
        self.lines, self.size = lines, size

    def files(self) -> list[str]:
        return []

    def read(self, split: str) -> Iterator[Chunk]:
        yield from chunked(NAMES, self.lines, where=lambda row: f"flat.csv:{row + 2}", size=self.size)


def grouped(context: SourceContext, *, by: Sequence[str] = ("id",), reading: Reading | None = None, **given: Any) -> Grouped:
    return Grouped(Flat(context, **given), by, ("candidate", "grade"), reading or Reading())


def rows(source: Source, split: str = "rows") -> list[tuple[Any, ...]]:
    return [row for chunk in source.read(split) for row in zip(*(chunk.columns[name] for name in NAMES), strict=True)]


@pytest.mark.parametrize("size", [1, 2, 100])
def test_lines_of_the_same_values_become_one_row_wherever_they_stand(size: int, context: SourceContext) -> None:
    assert rows(grouped(context, size=size)) == [
        (2, "b", ["b1", "b2"], [0, 1]),
        (1, "a", ["a1", "a2"], [1, 0]),
        (3, "c", ["c1"], [5]),
    ]
    (chunk,) = grouped(context, size=size).read("rows")
    assert chunk.where is not None and [chunk.where(row) for row in range(3)] == ["flat.csv:2", "flat.csv:3", "flat.csv:6"]


def test_several_columns_together_tell_a_list_from_another(context: SourceContext) -> None:
    found = rows(grouped(context, by=("id", "query")))
    assert [(query, candidates) for _, query, candidates, _ in found] == [
        ("b", ["b1", "b2"]),
        ("a", ["a1"]),
        ("other", ["a2"]),
        ("c", ["c1"]),
    ]


def test_many_lists_come_in_chunks_and_none_is_torn(context: SourceContext) -> None:
    lines = [(number % 600, "q", f"{number}", 0) for number in range(1800)]
    chunks = list(grouped(context, lines=lines, size=100).read("rows"))
    assert [len(chunk) for chunk in chunks] == [256, 256, 88]
    assert all(len(own) == 3 for chunk in chunks for own in chunk.columns["candidate"])
    assert chunks[1].where is not None and chunks[1].where(1) == "flat.csv:259"


def test_the_splits_are_of_whole_lists(context: SourceContext) -> None:
    lines = [(number % 50, f"query {number % 50}", f"{number}", 0) for number in range(200)]
    split = HashSplit(grouped(context, lines=lines), "query", 20, 20)
    parts = {name: {row[0] for row in rows(split, name)} for name in split.splits()}
    assert sum(map(len, parts.values())) == 50 and all(parts.values())
    assert all(len(row[2]) == 4 for name in parts for row in rows(split, name))


def test_a_line_without_a_value_is_named_or_left_out_of_its_list(context: SourceContext) -> None:
    lines = [(1, "a", "a1", 1), (1, "a", None, 0), (1, "a", "NA", 0), (2, "b", "b1", float("nan"))]
    with pytest.raises(
        DataError, match=r"2 line\(s\) of lists have no value in 'id' or 'candidate' or 'grade': flat.csv:3, flat.csv:5"
    ):
        rows(grouped(context, lines=lines, size=9))
    source = grouped(context, lines=lines, reading=Reading(on_null="drop", nulls=["NA"]))
    assert rows(source) == [(1, "a", ["a1"], [1])]
    assert next(iter(source.read("rows"))).notes["null_dropped"] == 3


def test_a_column_that_is_not_there_is_named_with_the_nearest(context: SourceContext) -> None:
    with pytest.raises(DataError, match=r"flat.csv: data.gather: no column 'idd'. Did you mean 'id'"):
        rows(grouped(context, by=("idd",)))


@pytest.mark.parametrize(("by", "lists"), [((), ("a",)), (("a",), ()), (("a", "b"), ("b",))])
def test_what_makes_no_list_is_refused(by: tuple[str, ...], lists: tuple[str, ...], context: SourceContext) -> None:
    with pytest.raises(ConfigError, match=r"data\.gather: `by` names what the lines of a list share"):
        Grouped(Flat(context), by, lists, Reading())


def test_the_fingerprint_holds_what_decides_the_rows(context: SourceContext, tmp_path: Path) -> None:
    prints = {
        grouped(context, by=by, reading=reading).fingerprint("rows")
        for by in (("id",), ("id", "query"))
        for reading in (Reading(), Reading(on_null="drop"), Reading(nulls=["NA"]))
    }
    assert len(prints) == 6 and Flat(context).fingerprint("rows") not in prints
    assert grouped(context).fingerprint("rows") in prints
