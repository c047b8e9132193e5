from __future__ import annotations

import gzip
from typing import Any

import pytest

from trunkline.data.sources.base import Source, SourceContext
from trunkline.data.sources.lines import Fields, Parallel, Tagged
from trunkline.errors import ConfigError, DataError


def rows(source: Source) -> list[dict[str, Any]]:
    found = []
    for chunk in source.read("train"):
        chunk.raise_refused()
        found += [dict(zip(chunk.columns, values, strict=True)) for values in zip(*chunk.columns.values(), strict=True)]
    return found


def places(source: Source) -> list[str]:
    return [chunk.where(row) for chunk in source.read("train") if chunk.where for row in range(len(chunk))]


def test_label_text_lines_are_a_label_and_the_rest(context: SourceContext) -> None:
    (context.folder / "a.all").write_bytes("0 silly , and tedious . \n\n1  caf\xe9 ol\xe9\r\n".encode("latin-1"))
    source = Fields(context, train="a.all", names=["label", "text"], encoding="latin-1")
    assert rows(source) == [{"label": "0", "text": "silly , and tedious ."}, {"label": "1", "text": "café olé"}]
    assert places(source) == ["a.all:1", "a.all:3"]


def test_a_separator_may_be_long_and_a_column_unwanted(context: SourceContext) -> None:
    (context.folder / "a.txt").write_text("7||a plane||||3\n8||a b ||c||2||1\n")
    source = Fields(context, train="a.txt", names=["_", "first", "second", "score"], separator="||")
    assert rows(source) == [
        {"first": "a plane", "second": "", "score": "3"},
        {"first": "a b", "second": "c", "score": "2||1"},
    ]


def test_a_line_of_too_few_fields_is_named(context: SourceContext) -> None:
    (context.folder / "a.txt").write_text("1 good\n0\n")
    with pytest.raises(DataError, match=r"^a\.txt:2: 1 field\(s\), expected 2: label, text"):
        rows(Fields(context, train="a.txt", names=["label", "text"]))


@pytest.mark.parametrize("given", [{"names": ["a", "a"]}, {"names": ["_"]}, {"names": ["a"], "separator": ""}])
def test_names_and_separator_must_say_something(given: dict[str, Any], context: SourceContext) -> None:
    with pytest.raises(ConfigError, match=r"data\.(names|separator)"):
        Fields(context, train="a.txt", **given)


def test_line_7_of_every_parallel_file_is_one_row(context: SourceContext) -> None:
    (context.folder / "seq.in").write_text("fly to rome\n\nbook a seat\n")
    (context.folder / "seq.out").write_text("O O B-city\n\nO O O\n")
    with gzip.open(context.folder / "label.gz", "wt") as stream:
        stream.write("flight\n\nseat\n")
    files = ["seq.in", "seq.out", "label.gz"]
    source = Parallel(context, train=files, names=["text", "tags", "intent"])
    assert rows(source) == [
        {"text": "fly to rome", "tags": "O O B-city", "intent": "flight"},
        {"text": "book a seat", "tags": "O O O", "intent": "seat"},
    ]
    assert places(source) == ["seq.in:1", "seq.in:3"]
    assert rows(Parallel(context, train=[*files, *files], names=["text", "_", "intent"]))[2:] == [
        {"text": "fly to rome", "intent": "flight"},
        {"text": "book a seat", "intent": "seat"},
    ]


def test_parallel_files_of_different_length_or_number_are_refused(context: SourceContext) -> None:
    (context.folder / "a").write_text("one\ntwo\n")
    (context.folder / "b").write_text("eins\n")
    with pytest.raises(DataError, match=r"^b: has 1 lines, a has more"):
        rows(Parallel(context, train=["a", "b"], names=["en", "de"]))
    with pytest.raises(DataError, match=r"data\.train names 1 file\(s\) for the 2 columns en, de"):
        rows(Parallel(context, train="a", names=["en", "de"]))


def test_tagged_lines_give_words_tags_and_text(context: SourceContext) -> None:
    (context.folder / "ca01").write_text("\n\n\tThe/at 1/2/cd ./.\n\n")
    source = Tagged(context, train="ca01")
    assert rows(source) == [{"text": "The 1/2 .", "words": ["The", "1/2", "."], "tags": ["at", "cd", "."]}]
    assert places(source) == ["ca01:3"]
    (context.folder / "ca01").write_text("The/at jury\n")
    with pytest.raises(DataError, match=r"^ca01:1: no '/' and tag behind 'jury'"):
        rows(source)
