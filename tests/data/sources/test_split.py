from __future__ import annotations

from collections.abc import Iterator

import pytest

from trunkline.data.sources.base import Source, SourceContext, text_bucket
from trunkline.data.sources.chunk import Chunk, chunked
from trunkline.data.sources.split import HashSplit
from trunkline.data.sources.text import Text
from trunkline.errors import ConfigError, DataError


class Numbers(Source):
    def __init__(self, context: SourceContext, *, count: int = 10_000) -> None:
        super().__init__(context)
        self.count = count

    def files(self) -> list[str]:
        return []

    def read(self, split: str) -> Iterator[Chunk]:
        rows = ((f"text {number}", ["w", str(number)], number) for number in range(self.count))
        yield from chunked(("text", "words", "number"), rows, where=lambda row: f"numbers:{row}")


def numbers(split: HashSplit, name: str) -> list[int]:
    return [number for chunk in split.read(name) for number in chunk.columns["number"]]


def test_every_row_stands_in_one_split_and_in_order(context: SourceContext) -> None:
    split = HashSplit(Numbers(context), "text", 10, 10)
    parts = {name: numbers(split, name) for name in split.splits()}
    assert sorted(number for part in parts.values() for number in part) == list(range(10_000))
    assert all(part == sorted(part) for part in parts.values())
    # A tenth each: 1,000, standard deviation 30.
    assert all(abs(len(parts[name]) - 1000) < 150 for name in ("validation", "test"))


def test_a_row_keeps_its_split_when_others_come(context: SourceContext) -> None:
    few, many = HashSplit(Numbers(context, count=500), "text", 10, 10), HashSplit(Numbers(context), "text", 10, 10)
    for name in few.splits():
        assert numbers(few, name) == [number for number in numbers(many, name) if number < 500]


def test_the_test_rows_do_not_depend_on_how_many_are_held_out_beside_them(context: SourceContext) -> None:
    one, other = HashSplit(Numbers(context), "text", 5, 10), HashSplit(Numbers(context), "text", 30, 10)
    assert numbers(one, "test") == numbers(other, "test")
    assert set(numbers(one, "validation")) < set(numbers(other, "validation"))


def test_the_split_is_that_of_the_stated_hash(context: SourceContext) -> None:
    split = HashSplit(Numbers(context, count=1000), "text", 20, 10)
    assert numbers(split, "test") == [n for n in range(1000) if text_bucket(f"text {n}") < 10]
    assert numbers(split, "validation") == [n for n in range(1000) if 10 <= text_bucket(f"text {n}") < 30]


def test_rows_are_read_alike_the_first_time_and_later(context: SourceContext) -> None:
    split = HashSplit(Numbers(context), ["text", "words"], 10, 10)
    first = numbers(split, "validation")
    assert numbers(split, "validation") == first == numbers(HashSplit(Numbers(context), ["text", "words"], 10, 10), "validation")


def test_two_columns_split_differently_from_one(context: SourceContext) -> None:
    by = [numbers(HashSplit(Numbers(context), columns, 10, 10), "test") for columns in ("text", "words", ["text", "words"])]
    assert len({tuple(rows) for rows in by}) == 3


def test_places_are_those_of_the_source(context: SourceContext) -> None:
    for chunk in HashSplit(Numbers(context), "text", 10, 10).read("test"):
        assert chunk.where is not None
        assert [chunk.where(row) for row in range(len(chunk))] == [f"numbers:{number}" for number in chunk.columns["number"]]


def test_the_fingerprint_holds_rows_columns_and_percentages(context: SourceContext) -> None:
    made = [
        HashSplit(Numbers(context, count=count), by, validation, 10).fingerprint(name)
        for count in (10, 11)
        for by in ("text", "words")
        for validation in (10, 20)
        for name in ("train", "test")
    ]
    assert len(set(made)) == len(made)


def test_a_split_of_0_percent_does_not_exist(context: SourceContext) -> None:
    assert HashSplit(Numbers(context), "text", 10, 0).splits() == ("train", "validation")


@pytest.mark.parametrize(("validation", "test"), [(60, 40), (-1, 10), (100, 0)])
def test_percentages_must_leave_rows_to_train_on(validation: int, test: int, context: SourceContext) -> None:
    with pytest.raises(ConfigError, match=r"data\.split"):
        HashSplit(Numbers(context), "text", validation, test)


def test_a_column_that_is_not_there_and_a_source_already_split_are_refused(context: SourceContext) -> None:
    with pytest.raises(DataError, match=r"data\.split\.by: no column 'txt'\. Did you mean 'text'"):
        numbers(HashSplit(Numbers(context), "txt", 10, 10), "train")
    with pytest.raises(ConfigError, match="has splits of its own"):
        HashSplit(Text(context, train="a.txt"), "text", 10, 10)
