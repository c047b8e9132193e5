from __future__ import annotations

from typing import Any

import pytest

from trunkline.data.sources.base import SourceContext
from trunkline.data.sources.smart import Smart
from trunkline.errors import ConfigError, DataError

DOCUMENTS = ".I 1\n.T\nof wings\n.A\nsomeone\n.W\nwings in a\nslipstream .\n.I 2\r\n.T \r\n.W\r\n.I 3\n.W\nheat\n"
QUERIES = ".I 007\n.W\nwhat of wings\n.I 010\n.W\nand heat ?\n"
FILES = {"documents": "docs", "queries": "queries", "judgements": "rel"}


@pytest.fixture
def collection(context: SourceContext) -> SourceContext:
    for name, text in zip(FILES.values(), (DOCUMENTS, QUERIES, "7 1 2\n 10  3 -1\n10 2 4 \n"), strict=True):
        (context.folder / name).write_bytes(text.encode())
    return context


def rows(context: SourceContext, **given: Any) -> list[tuple[Any, ...]]:
    return [row for chunk in Smart(context, **FILES, **given).read("rows") for row in zip(*chunk.columns.values(), strict=True)]


def test_a_judgement_is_a_row_with_the_texts_it_speaks_of(collection: SourceContext) -> None:
    assert rows(collection) == [
        ("what of wings", "of wings wings in a slipstream .", 2.0, "7", "1"),
        ("and heat ?", "heat", -1.0, "10", "3"),
        ("and heat ?", None, 4.0, "10", "2"),
    ]
    (chunk,) = Smart(collection, **FILES).read("rows")
    assert chunk.where is not None and chunk.where(1) == "rel:2" and not chunk.notes


def test_low_grades_are_passed_over_and_counted(collection: SourceContext) -> None:
    (chunk,) = Smart(collection, **FILES, min_grade=3).read("rows")
    assert list(chunk.columns["query_id"]) == ["10"]
    assert chunk.notes == {"below_min_grade": 2, "queries_without_judgement": 1}


def test_documents_and_queries_can_be_the_rows(collection: SourceContext) -> None:
    assert rows(collection, part="documents") == [
        ("1", "of wings", "wings in a slipstream ."),
        ("2", None, None),
        ("3", None, "heat"),
    ]
    assert rows(collection, part="queries") == [("7", None, "what of wings"), ("10", None, "and heat ?")]


def test_queries_may_be_counted_and_columns_be_those_of_trec(collection: SourceContext) -> None:
    (collection.folder / "rel").write_text("2 0 3 1\n")
    given = {"query_ids": "order", "judgement_names": ["query", "_", "document", "grade"]}
    assert rows(collection, **given) == [("and heat ?", "heat", 1.0, "2", "3")]
    assert rows(collection, query_ids="order", judgement_names=["query", "_", "document"])[0][2] == 1.0


@pytest.mark.parametrize(("file", "text", "said"), [
    ("rel", "7 1 2\n7 1 high\n", r"^rel:2: the grade is no number, found 'high'"),
    ("rel", "7 1 nan\n", r"^rel:1: .*NaN"),
    ("rel", "7 9 1\n", r"^rel:1: judges document 9, which is not in the document file"),
    ("rel", "8 1 1\n", r"^rel:1: judges query 8"),
    ("rel", "7 1\n", r"^rel:1: 2 column\(s\), expected 3"),
    ("docs", ".I 1\n.W\na\n.I 1\n", r"^docs:4: record 1 stands twice"),
    ("docs", ".W\na\n", r"^docs:1: a field before the first"),
    ("docs", "plain text\n", r"^docs: no record begins"),
])  # fmt: skip
def test_what_does_not_fit_together_is_named(file: str, text: str, said: str, collection: SourceContext) -> None:
    (collection.folder / file).write_text(text)
    with pytest.raises(DataError, match=said):
        rows(collection)


@pytest.mark.parametrize("given", [{"part": "docs"}, {"query_ids": "line"}, {"judgement_names": ["query", "grade"]}])
def test_options_are_of_those_there_are(given: dict[str, Any], collection: SourceContext) -> None:
    with pytest.raises(ConfigError, match=r"^data\."):
        rows(collection, **given)


def test_the_fingerprint_holds_all_three_files(collection: SourceContext) -> None:
    def fingerprint() -> str:
        return Smart(collection, **FILES).fingerprint("rows")

    seen = {fingerprint()}
    for name in FILES.values():
        with (collection.folder / name).open("a") as stream:
            stream.write("\n\n")
        seen.add(fingerprint())
    assert len(seen) == 4
