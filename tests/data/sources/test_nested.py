from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trunkline.data.sources.base import SourceContext
from trunkline.data.sources.nested import Json
from trunkline.data.sources.squad import Squad
from trunkline.errors import DataError

ROWS = [
    {"input": {"text": "a table for 2"}, "labels": [{"slot": "people", "span": {"start": 12}}, {"slot": "what", "span": {}}]},
    {"input": {"text": "hello"}, "tags": ["x", "y"]},
]
SQUAD = {
    "data": [
        {
            "title": "T",
            "paragraphs": [
                {
                    "context": "Rome is old.",
                    "qas": [
                        {"id": "q1", "question": "What?", "answers": [{"text": "Rome", "answer_start": 0}]},
                        {"id": "q2", "question": "Who?", "answers": [], "is_impossible": True},
                    ],
                }
            ],
        }
    ]
}


def write(folder: Path, value: Any) -> None:
    (folder / "a.json").write_text(value if isinstance(value, str) else json.dumps(value, indent=1))


@pytest.mark.parametrize(("document", "at"), [(ROWS, ""), ({"data": {"items": ROWS}}, "data.items")])
def test_values_that_lie_deep_are_columns_with_dots(document: Any, at: str, context: SourceContext) -> None:
    write(context.folder, document)
    (chunk,) = Json(context, train="a.json", at=at).read("train")
    assert {name: list(chunk.columns[name]) for name in chunk.columns} == {
        "input.text": ["a table for 2", "hello"],
        "labels.slot": [["people", "what"], None],
        "labels.span.start": [[12, None], None],
        "tags": [None, ["x", "y"]],
    }
    assert chunk.where is not None and chunk.where(1) == "a.json:row 1"


@pytest.mark.parametrize(("document", "at", "said"), [
    ('[{"a": 1},\n {"a": }]', "", r"^a\.json:2: not JSON"),
    ({"rows": []}, "", "no array of rows, found dict"),
    ({"rows": []}, "row", "no key 'row' here. Did you mean 'rows'"),
    ([{"a": 1}, 3], "", r"^a\.json:row 1: not a JSON object"),
])  # fmt: skip
def test_what_is_no_array_of_objects_is_refused(document: Any, at: str, said: str, context: SourceContext) -> None:
    write(context.folder, document)
    with pytest.raises(DataError, match=said):
        list(Json(context, train="a.json", at=at).read("train"))


def test_a_question_of_squad_is_a_row_and_one_without_answer_has_nulls(context: SourceContext) -> None:
    write(context.folder, SQUAD)
    (chunk,) = Squad(context, train="a.json").read("train")
    assert {name: list(chunk.columns[name]) for name in chunk.columns} == {
        "id": ["q1", "q2"],
        "title": ["T", "T"],
        "context": ["Rome is old."] * 2,
        "question": ["What?", "Who?"],
        "answer": ["Rome", None],
        "start": [0, None],
        "answers": [["Rome"], []],
        "starts": [[0], []],
    }
    assert chunk.where is not None and chunk.where(1) == "a.json:question q2"


@pytest.mark.parametrize("document", [{"date": []}, [], {"data": [{"paragraphs": [{"qas": [{"id": 1}]}]}]}])
def test_what_is_not_of_squads_form_is_refused(document: Any, context: SourceContext) -> None:
    write(context.folder, document)
    with pytest.raises(DataError, match=r"^a\.json: not of SQuAD's form"):
        list(Squad(context, train="a.json").read("train"))
