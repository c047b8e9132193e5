from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.data.sources.base import Source, SourceContext
from trunkline.data.sources.text import Csv, JsonLines, Text, Tsv
from trunkline.errors import ConfigError, DataError


def rows(source: Source, split: str = "train") -> list[dict[str, Any]]:
    found = []
    for chunk in source.read(split):
        chunk.raise_refused()
        found += [dict(zip(chunk.columns, values, strict=True)) for values in zip(*chunk.columns.values(), strict=True)]
    return found


def places(source: Source, split: str = "train") -> list[str]:
    return [chunk.where(row) for chunk in source.read(split) if chunk.where for row in range(len(chunk))]


def write(context: SourceContext, name: str, text: str, encoding: str = "utf-8") -> None:
    (context.folder / name).write_bytes(text.encode(encoding))


def test_jsonl_gives_every_key_and_null_where_one_lacks(context: SourceContext) -> None:
    write(context, "a.jsonl", '{"text": "a", "n": 1}\n\n{"text": "猫\\u2028b"}\r\n{"text": "c", "words": ["x", "y"]}')
    source = JsonLines(context, train="a.jsonl")
    assert rows(source) == [
        {"text": "a", "n": 1, "words": None},
        {"text": "猫\u2028b", "n": None, "words": None},
        {"text": "c", "n": None, "words": ["x", "y"]},
    ]
    assert places(source) == ["a.jsonl:1", "a.jsonl:3", "a.jsonl:4"]


@pytest.mark.parametrize("line", ['{"text": "b"', "{'text': 'b'}", '["b"]', '"b"', "{}", "nul", "[" * 100_000])
def test_a_broken_line_of_jsonl_is_named_by_its_number(line: str, context: SourceContext) -> None:
    write(context, "a.jsonl", '{"text": "a"}\n\n' + line + '\n{"text": "c"}\n')
    with pytest.raises(DataError, match=r"^a\.jsonl:3: not (JSON|a JSON object)"):
        rows(JsonLines(context, train="a.jsonl"))


def test_csv_reads_quotes_newlines_and_separators_inside_fields(context: SourceContext) -> None:
    write(context, "a.csv", 'text,label\r\n"one, ""two""\nthree",yes\r\n\r\nplain,no\r\n')
    source = Csv(context, train="a.csv")
    assert rows(source) == [{"text": 'one, "two"\nthree', "label": "yes"}, {"text": "plain", "label": "no"}]
    assert places(source) == ["a.csv:2", "a.csv:5"]


@given(
    table=st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.text("ab,\"'\n \t猫")), min_size=1, max_size=20
    )
)
def test_csv_gives_back_what_the_standard_writer_wrote(
    table: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    stream = io.StringIO(newline="")
    csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *table])
    (folder / "any.csv").write_text(stream.getvalue(), encoding="utf-8", newline="")
    wanted = [{"a": first.replace("\x00", "\x00"), "b": second} for first, second in table]
    assert rows(Csv(SourceContext(folder), train="any.csv")) == wanted


@pytest.mark.parametrize(("text", "place", "said"), [
    ("text,label\na,yes\nb\n", "a.csv:3", r"1 field\(s\), the header has 2: text, label"),
    ('text,label\na,yes\n"b\nc",no,more\n', "a.csv:3", r"3 field\(s\)"),
    ('text,label\na,yes\n"never closed,no\nb,yes\n', "a.csv:4", "can not be read as separated values"),
    ("text,text\na,b\n", "a.csv:1", "repeats a column"),
])  # fmt: skip
def test_a_broken_row_of_csv_is_named_by_the_line_it_begins_on(text: str, place: str, said: str, context: SourceContext) -> None:
    write(context, "a.csv", text)
    with pytest.raises(DataError, match=f"^{place}: .*{said}"):
        rows(Csv(context, train="a.csv"))


def test_tsv_takes_quotes_as_they_stand(context: SourceContext) -> None:
    write(context, "a.tsv", 'text\tlabel\n"half a quote\tyes\n')
    assert rows(Tsv(context, train="a.tsv")) == [{"text": '"half a quote', "label": "yes"}]
    write(context, "b.tsv", 'text\tlabel\n"a\tb"\tyes\n')
    assert rows(Tsv(context, train="b.tsv", quote='"')) == [{"text": "a\tb", "label": "yes"}]


def test_a_file_without_a_header_takes_names_from_the_card(context: SourceContext) -> None:
    write(context, "a.csv", "1;the cat\n2;a dog\n")
    source = Csv(context, train="a.csv", delimiter=";", names=["label", "text"])
    assert rows(source) == [{"label": "1", "text": "the cat"}, {"label": "2", "text": "a dog"}]
    assert places(source) == ["a.csv:1", "a.csv:2"]


def test_a_byte_order_mark_is_no_part_of_the_first_column(context: SourceContext) -> None:
    write(context, "a.csv", "\ufefftext\na\n")
    write(context, "a.jsonl", '\ufeff{"text": "a"}\n')
    assert rows(Csv(context, train="a.csv")) == rows(JsonLines(context, train="a.jsonl")) == [{"text": "a"}]


def test_bytes_that_are_no_utf8_are_replaced_and_counted(context: SourceContext) -> None:
    (context.folder / "a.txt").write_bytes(b"caf\xe9\nplain\n")
    (chunk,) = Text(context, train="a.txt").read("train")
    assert chunk.columns["text"] == ["caf\ufffd", "plain"] and chunk.notes["undecodable"] == 1
    (latin,) = Text(context, train="a.txt", encoding="latin-1").read("train")
    assert latin.columns["text"] == ["café", "plain"]


def test_nul_and_zero_width_characters_come_through(context: SourceContext) -> None:
    write(context, "a.csv", "text,label\na\x00b\u200d\u200f,x\n")
    assert rows(Csv(context, train="a.csv")) == [{"text": "a\x00b\u200d\u200f", "label": "x"}]


def test_text_passes_over_blank_lines_and_keeps_line_numbers(context: SourceContext) -> None:
    write(context, "a.txt", "one\n\n   \n two \n")
    source = Text(context, train="a.txt", column="line")
    assert rows(source) == [{"line": "one"}, {"line": "two"}] and places(source) == ["a.txt:1", "a.txt:4"]


@pytest.mark.parametrize("form", ["jsonl", "csv", "text"])
def test_many_rows_come_in_chunks_that_lose_none(form: str, context: SourceContext) -> None:
    lines = {"jsonl": '{{"text": "{}"}}', "csv": "{}", "text": "{}"}
    head = "text\n" if form == "csv" else ""
    write(context, "a", head + "\n".join(lines[form].format(number) for number in range(10_000)))
    made: dict[str, type[Any]] = {"jsonl": JsonLines, "csv": Csv, "text": Text}
    source = made[form](context, train="a")
    assert [row["text"] for row in rows(source)] == [str(number) for number in range(10_000)]
    assert places(source)[-1] == f"a:{10_000 + bool(head)}"


def test_rows_of_megabytes_do_not_pile_up_in_one_chunk(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join("x" * 5_000_000 for _ in range(9)))
    assert [len(chunk) for chunk in Text(SourceContext(tmp_path), train="a.txt").read("train")] == [4, 4, 1]


@pytest.mark.parametrize("given", [{"delimiter": "::"}, {"quote": ""}])
def test_separators_are_one_character(given: dict[str, str], context: SourceContext) -> None:
    with pytest.raises(ConfigError, match="one character is needed"):
        Csv(context, train="a.csv", **given)


def test_an_unknown_encoding_is_refused(context: SourceContext) -> None:
    write(context, "a.txt", "a")
    with pytest.raises(ConfigError, match="no encoding named 'utf-ate'"):
        rows(Text(context, train="a.txt", encoding="utf-ate"))


def test_fields_beyond_the_named_ones_may_be_dropped(context: SourceContext) -> None:
    write(context, "a.tsv", "5\ta\tb\n4\tc\td\tMSR\tNews\n")
    names = ["score", "first", "second"]
    with pytest.raises(DataError, match=r"^a\.tsv:2: 5 field\(s\), the header has 3"):
        rows(Tsv(context, train="a.tsv", names=names))
    found = rows(Tsv(context, train="a.tsv", names=names, extra="drop"))
    assert found[1] == {"score": "4", "first": "c", "second": "d"}
    with pytest.raises(ConfigError, match=r"data\.extra"):
        Tsv(context, train="a.tsv", extra="keep")
