"""Rows 33 to 48: files and rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pyarrow
import pyarrow.parquet

from bad_inputs.project import CANARY, PAIR, REPLY, ROWS, SCORE, TAGS, TOPIC, WORDS, Case, Outcome, Project, changed

TRAIN = ("train", "recipes/r.yaml", "--in-process")
COLUMNS = {name: [row[name] for row in ROWS] for name in ("text", "label")}


def rows(parts: str, given: list[Any], data: str = "format: jsonl, train: rows.jsonl") -> Callable[[Project], Outcome]:
    def act(project: Project) -> Outcome:
        project.card(parts, data)
        project.rows(given)
        return project.run(*TRAIN)

    return act


def file(name: str, content: bytes, form: str) -> Callable[[Project], Outcome]:
    def act(project: Project) -> Outcome:
        project.card(TOPIC, f"format: {form}, train: {name}")
        project.write(f"tasks/one/{name}", content)
        return project.run(*TRAIN)

    return act


def parquet(columns: dict[str, Any]) -> bytes:
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table(columns), sink, write_page_checksum=True, compression="none", use_dictionary=False)
    return bytes(sink.getvalue())


def flipped(content: bytes) -> bytes:
    """One bit of the first text's page is another."""
    place = content.index(b"red blue")
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


class Pickled(pyarrow.ExtensionType):
    """As Ray Data names its column of pickles."""

    def __init__(self) -> None:
        super().__init__(pyarrow.binary(), "ray.data.arrow_pickled_object")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pyarrow.DataType, serialized: bytes) -> Pickled:
        return cls()


def pickled() -> bytes:
    """A column of Ray's pickles, whose unpickling would touch the canary."""
    payload = f"cposix\nsystem\n(S'touch {CANARY}'\ntR.".encode()
    column = pyarrow.ExtensionArray.from_storage(Pickled(), pyarrow.array([payload] * len(ROWS), pyarrow.binary()))
    return parquet({"text": column, "label": COLUMNS["label"]})


def shards(project: Project) -> Outcome:
    project.card(TOPIC, "format: parquet, train: 'rows-*.parquet'")
    project.write("tasks/one/rows-1.parquet", parquet(COLUMNS))
    project.write("tasks/one/rows-2.parquet", parquet({"text": COLUMNS["text"], "lable": COLUMNS["label"]}))
    return project.run(*TRAIN)


def ids(project: Project) -> Outcome:
    """Rows have no ids of a user's; two rows that are equal are two rows."""
    project.rows([*ROWS, ROWS[0], ROWS[0]])
    return project.run("task", "check", "one")


def strange(project: Project) -> Outcome:
    texts = [
        "red \ud800 house",
        "red \0 house",
        "red \u202e\u05d0 house",
        "re\u200bd \u200d",
        "\U0001f468\u200d\U0001f469",
        "",
        " \t\n",
    ]
    project.rows([*ROWS, *({"text": text, "label": "warm"} for text in texts), {"text": "[CLS] [SEP]", "label": "cold"}])
    path = project.folder / "tasks/one/rows.jsonl"
    path.write_bytes(path.read_bytes() + b'{"text": "red \xff\xfe house", "label": "cold"}\n')
    return project.run(*TRAIN)


def long(project: Project) -> Outcome:
    project.rows([*ROWS, {"text": "red house " * 1_000_000, "label": "warm"}])
    return project.run(*TRAIN, "-s", "tokenizer.kind=words")


def changed_later(project: Project) -> Outcome:
    """A row changes between the save and the resume: the run goes on with the rows it tokenised, or refuses."""
    run = project.trained()
    (run / "result.json").unlink()
    split = json.loads((run / "prepared.json").read_text())["splits"]["one"]["train"]
    origin, inner = split.split("/.trunkline/")
    stored = project.folder / ".trunkline" / inner
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 1
    stored.write_bytes(bytes(content))
    prepared = (run / "prepared.json").read_text()
    (run / "prepared.json").write_text(prepared.replace(origin, str(project.folder)))
    return project.run("train", "recipes/r.yaml", "--in-process", "--resume", run.name)


TORN = parquet(COLUMNS)[:-20]
CASES = [
    Case(33, "a file that is not there", rows(TOPIC, ROWS, "format: jsonl, train: rwos.jsonl"), 4, r"rwos\.jsonl.*rows\.jsonl"),
    Case(33, "an empty file", file("rows.csv", b"", "csv"), 4, r"rows\.csv: is empty"),
    Case(33, "no Parquet file", file("rows.parquet", b"text,label\n" * 9, "parquet"), 4, r"rows\.parquet"),
    Case(33, "a Parquet file cut short", file("rows.parquet", TORN, "parquet"), 4, r"rows\.parquet"),
    Case(
        34,
        "a page that does not fit its checksum",
        file("rows.parquet", flipped(parquet(COLUMNS)), "parquet"),
        4,
        r"(?i)rows\.parquet.*(crc|checksum)",
    ),
    Case(
        35,
        "a column that is not there",
        rows(TOPIC.replace("label\n", "lable\n"), ROWS),
        4,
        r"no column 'lable'\. Did you mean 'label'",
    ),
    Case(35, "a number for a text", rows(TOPIC, changed(8, text=12)), 4, r"rows\.jsonl:9: column 'text' is neither text"),
    Case(36, "a column of pickles", file("rows.parquet", pickled(), "parquet"), 4, r"arrow_pickled_object"),
    Case(37, "a label that is null", rows(TOPIC, changed(2, label=None)), 4, r"rows\.jsonl:3: 1 row\(s\) have no value"),
    Case(37, "a text that is null", rows(TOPIC, changed(2, text=None)), 4, r"rows\.jsonl:3: 1 row\(s\) have no value"),
    Case(
        37,
        "nulls that are dropped, all",
        rows(TOPIC, [{**row, "label": None} for row in ROWS], "format: jsonl, train: rows.jsonl, on_null: drop"),
        4,
        r"no rows left of 120 read \(\{'null_dropped': 120",
    ),
    Case(38, "empty and strange texts (38, 40)", strange, 0, r"empty: 2", keeps=True, slow=True),
    Case(39, "a text of 10 MB", long, 0, r"cut", keeps=True, slow=True),
    Case(40, "bytes that are no UTF-8", strange, 0, r"undecodable: 1", keeps=True, slow=True),
    Case(41, "an unknown label", rows(TOPIC, changed(2, label="wram")), 4, r"rows\.jsonl:3: .*'wram'.*Did you mean 'warm'"),
    Case(41, "a fraction for a label", rows(TOPIC, changed(2, label=1.0)), 4, r"rows\.jsonl:3: column 'label' .* no label: 1\.0"),
    Case(42, "NaN", rows(SCORE, changed(4, value=float("nan"))), 4, r"rows\.jsonl:5: 1 row\(s\) have no value"),
    Case(42, "infinity", rows(SCORE, changed(4, value=float("inf"))), 4, r"rows\.jsonl:5: column 'value' has .* no number"),
    Case(42, "1e300", rows(SCORE, changed(4, value=1e300)), 4, r"rows\.jsonl:5: column 'value' .*1e\+300"),
    Case(43, "tags and words differ", rows(TAGS, changed(6, tags=["a"])), 4, r"rows\.jsonl:7: 'tags' needs one tag per word"),
    Case(
        44, "half a pair", rows(PAIR, changed(8, other=None)), 4, r"rows\.jsonl:9: 1 row\(s\) have no value in 'text' or 'other'"
    ),
    Case(45, "no rows", rows(TOPIC, [""]), 4, r"one: split 'train' has no rows left of 0 read"),
    Case(45, "fewer rows than a group", rows(REPLY, ROWS[:7]), 4, r"draws 8 rows at a time, and there are 7", keeps=True),
    Case(46, "equal rows", ids, 0, r"sound"),
    Case(46, "shards with other columns", shards, 4, r"rows-2\.parquet: no column 'label'\. Did you mean 'lable'"),
    Case(47, "a broken line of JSON", rows(TOPIC, [*ROWS[:9], '{"text": "a"', *ROWS[9:]]), 4, r"rows\.jsonl:10: not JSON"),
    Case(
        47,
        "a broken row of CSV behind a newline",
        file("rows.csv", b'text,label\n"two\nlines",warm\nred,cold\nblue,warm,more\n', "csv"),
        4,
        r"rows\.csv:5: 3 field",
    ),
    Case(48, "stored rows that changed", changed_later, 5, r"its SHA-256 is .*, its index says", slow=True),
]
assert WORDS
