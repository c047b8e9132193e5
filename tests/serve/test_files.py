"""Files of rows are answered alike in every format, as they stream by; a row that can not be is named."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

import trunkline
from trunkline.cli.app import main
from trunkline.predict import Model
from trunkline.serve import files
from trunkline.serve.files import answer_file, predictions
from trunkline.serve.rows import Given, read_rows
from trunkline.serve.written import JsonLines

TEXTS = ["red river house", "warm bread", 'a "quoted", text', "河 river"]
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def model(small_model: Path) -> Model:
    return trunkline.load(small_model)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(form: str, texts: list[str] = TEXTS, column: str = "text") -> str:
    """The texts as a file of this form, with their numbers beside them."""
    path = Path(f"rows.{form}")
    rows = [{column: text, "id": number, "label": "land"} for number, text in enumerate(texts)]
    if form == "txt":
        path.write_text("".join(f"{text}\n" for text in texts))
    elif form == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    elif form in ("csv", "tsv"):
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0], delimiter="," if form == "csv" else "\t", quotechar='"')
            writer.writeheader()
            writer.writerows(rows)
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return str(path)


def said(capsys: Captured) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("form", ["txt", "jsonl", "csv", "parquet"])
def test_every_format_of_rows_gets_the_same_answers(
    form: str, small_model: Path, model: Model, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "ROWS", 3)  # two goes
    keep = [] if form == "txt" else ["--keep", "id"]
    assert main(["predict", str(small_model), write(form), "--task", "topic", *keep]) == 0
    found = said(capsys)
    assert [answer["label"] for answer in found] == [answer["label"] for answer in model.predict("topic", TEXTS)]
    if keep:
        assert [int(answer["id"]) for answer in found] == [0, 1, 2, 3]


def test_several_tasks_answer_a_row_together(small_model: Path, model: Model, capsys: Captured) -> None:
    assert main(["predict", str(small_model), write("csv"), "--task", "topic", "--task", "score"]) == 0
    found = said(capsys)
    assert [set(answer) for answer in found] == [{"topic", "score"}] * 4
    alone = [answer["value"] for answer in model.predict("score", TEXTS)]
    assert [answer["score"]["value"] for answer in found] == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_answers_go_into_a_file_of_the_kind_its_name_says(form: str, small_model: Path, model: Model, capsys: Captured) -> None:
    assert main(["predict", str(small_model), write("txt"), "--task", "topic", "-o", f"out.{form}"]) == 0
    assert "4 rows answered" in capsys.readouterr().err
    wanted = model.predict("topic", TEXTS)
    if form == "parquet":
        found = pyarrow.parquet.read_table("out.parquet").to_pylist()
    elif form == "csv":
        with Path("out.csv").open(newline="") as stream:
            found = [{**row, "probabilities": json.loads(row["probabilities"])} for row in csv.DictReader(stream)]
    else:
        found = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [row["label"] for row in found] == [row["label"] for row in wanted]
    assert [row["probabilities"]["land"] for row in found] == pytest.approx([row["probabilities"]["land"] for row in wanted])
    assert list(Path().glob(".out*")) == []


def test_embed_writes_the_vectors_of_the_texts(small_model: Path, model: Model, capsys: Captured) -> None:
    assert main(["embed", str(small_model), write("csv")]) == 0
    np.testing.assert_allclose([row["vector"] for row in said(capsys)], model.embed(TEXTS), atol=1e-5)
    assert main(["embed", str(small_model), write("csv"), "--task", "answer", "-o", "out.parquet", "--keep", "id"]) == 0
    found = pyarrow.parquet.read_table("out.parquet").to_pylist()
    np.testing.assert_allclose([row["vector"] for row in found], model.embed(TEXTS, task="answer"), atol=1e-5)


def test_stdin_is_read_line_by_line(small_model: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'red river\n\n{"text": "warm"}\n')))
    assert main(["predict", str(small_model), "-", "--task", "topic"]) == 4  # a text, then an object
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"red river\n\nwarm bread\n")))
    assert main(["predict", str(small_model), "-", "--task", "topic"]) == 0
    assert len(said(capsys)) == 2


def test_answers_are_written_while_rows_are_read(model: Model, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each go what was answered is out before the next row is asked for; a reader that looked ahead would be seen."""
    monkeypatch.setattr(files, "ROWS", 2)
    written: list[int] = []

    def rows() -> Iterator[Given]:
        for number in range(5):
            written.append(len(said(capsys)))
            yield Given(f"here:{number}", "red river")

    answer_file(rows(), predictions(model, ["topic"]), JsonLines(None))
    assert written == [0, 0, 2, 0, 2] and len(said(capsys)) == 1


BAD = '{"text": "red"}\n{"txet": "river"}\n{"text": 3}\n{"text": \nwarm \xff\n'.encode("latin-1")


@pytest.mark.parametrize(
    ("content", "name", "code", "message"),
    [
        (b'{"text": "red"}\n{"txet": "river"}\n', "r.jsonl", 4, "r.jsonl:2: has no 'text'. Did you mean 'txet'"),
        (b'{"text": "red"}\n\n{"text": 3}\n', "r.jsonl", 4, "r.jsonl:3: column 'text' is no text: 3"),
        (b'{"text": "red"}\n{"text": \n', "r.jsonl", 4, "r.jsonl:2: is no JSON object"),
        (b"\xff\xfe\n", "r.txt", 4, "r.txt:1: is not UTF-8"),
        (b"txet,id\nred,1\n", "r.csv", 4, "r.csv: no column 'text'. Did you mean 'txet'"),
        (b"text,id\nred,1\nred\n", "r.csv", 4, "r.csv:3: 1 field(s), the header has 2"),
        (b"", "r.csv", 4, "r.csv: is empty"),
        (b"not parquet at all", "r.parquet", 4, "r.parquet: can not be read"),
        (b"red\n", "other.jsonl", 4, "r.jsonl: no such file. Did you mean 'other.jsonl'"),
    ],
)
def test_a_row_that_can_not_be_answered_is_named_and_no_file_is_left(
    content: bytes, name: str, code: int, message: str, small_model: Path, capsys: Captured
) -> None:
    Path(name).write_bytes(content)
    asked = "r.jsonl" if name.startswith("other") else name
    assert main(["predict", str(small_model), asked, "--task", "topic", "-o", "out.jsonl"]) == code
    assert message in capsys.readouterr().err
    assert not Path("out.jsonl").exists() and list(Path().glob(".out*")) == []


def test_with_tell_rows_that_fail_say_why_in_their_place(small_model: Path, capsys: Captured) -> None:
    Path("r.jsonl").write_bytes(BAD)
    assert main(["predict", str(small_model), "r.jsonl", "--task", "topic", "--on-bad", "tell"]) == 0
    captured = capsys.readouterr()
    found = [json.loads(line) for line in captured.out.splitlines()]
    assert ["error" in answer for answer in found] == [False, True, True, True, True]
    assert found[1]["error"].startswith("r.jsonl:2: has no 'text'") and "1 rows answered, 4 could not be" in captured.err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--task", "tpoic"], "Did you mean 'topic'"),
        (["--task", "topic", "-o", "out.xlsx"], "no format for '.xlsx'"),
        (["--task", "topic", "-o", "nowhere/out.csv"], "no such folder"),
        (["--task", "topic", "--on-bad", "skip"], "found 'skip'"),
    ],
)
def test_what_is_asked_for_wrongly_is_refused_before_a_row_is_read(
    more: list[str], message: str, small_model: Path, capsys: Captured
) -> None:
    assert main(["predict", str(small_model), write("txt"), *more]) == 2
    assert message in capsys.readouterr().err


def test_vectors_of_a_task_that_makes_none_and_an_unknown_pooling_are_refused(small_model: Path, capsys: Captured) -> None:
    assert main(["embed", str(small_model), write("txt"), "--task", "topic"]) == 2
    assert main(["embed", str(small_model), write("txt"), "--pooling", "maen"]) == 3
    assert main(["embed", str(small_model), write("csv"), "--column", "txet"]) == 4
    assert "Did you mean 'text'" in capsys.readouterr().err


def test_rows_of_a_glob_come_file_after_file() -> None:
    for name in ("b.txt", "a.txt"):
        Path(name).write_text(f"{name}\n")
    assert [given.row for given in read_rows("*.txt", ["text"])] == ["a.txt", "b.txt"]
