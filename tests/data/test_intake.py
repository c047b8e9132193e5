"""Rows that can not be used are set aside with place and reason, up to a share, or end the reading."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trunkline.data.encoding.base import Encoding
from trunkline.data.encoding.classification import Classification
from trunkline.data.encoding.multilabel import Multilabel
from trunkline.data.encoding.regression import Regression
from trunkline.data.encoding.tagging import Tagging
from trunkline.data.intake import LISTED, Intake
from trunkline.data.sources.base import SourceContext, TaskText
from trunkline.data.sources.lines import Fields, Tagged
from trunkline.data.sources.reading import Reading
from trunkline.data.sources.split import HashSplit
from trunkline.data.sources.text import Csv, JsonLines, Tsv
from trunkline.data.store import SplitJob, StoredSplit, build_split
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import DataError

GOOD = [
    {"text": "the cat sat", "label": "yes", "labels": ["yes"], "value": 1.5, "tags": "1 2 1", "values": [1, 2]},
    {"text": "a dog", "label": "no", "labels": "no, yes", "value": -2, "tags": ["2", "2"], "values": "3 4"},
    {"text": "walking", "label": "no", "labels": [], "value": "0.25", "tags": "1", "values": [0, 0]},
] * 20
SETTING_ASIDE = Reading(on_bad="quarantine")


def encodings(tokenizer: Tokenizer) -> dict[str, Encoding]:
    return {
        "label": Classification(tokenizer, ["text"], "label", labels=["no", "yes"]),
        "labels": Multilabel(tokenizer, ["text"], "labels", labels=["no", "yes"]),
        "value": Regression(tokenizer, ["text"], "value"),
        "values": Regression(tokenizer, ["text"], "values", names=["up", "down"]),
        "tags": Tagging(tokenizer, ["text"], "tags", labels=[1, 2]),
    }


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("label", {"label": "maybe"}, "column 'label' has a value that is no label: 'maybe'"),
    ("label", {"label": 1.0}, "column 'label' has a value that is no label: 1.0"),
    ("label", {"label": ["yes"]}, "column 'label' has a value that is no label: ['yes']"),
    ("label", {"label": None}, "no value in 'label'"),
    ("label", {"text": None}, "no value in 'text'"),
    ("label", {"text": 5}, "column 'text' is no text: 5"),
    ("label", {"text": ["the", "cat"]}, "column 'text' is no text: ['the', 'cat']"),
    ("labels", {"labels": ["yes", "maybe"]}, "column 'labels' has a value that is no label: 'maybe'"),
    ("labels", {"labels": 1.5}, "column 'labels' has values that are neither a list of labels nor text: 1.5"),
    ("value", {"value": float("nan")}, "no value in 'value'"),
    ("value", {"value": "nan"}, "column 'value' has values that are no number from -1e6 to 1e6: 'nan'"),
    ("value", {"value": float("inf")}, "column 'value' has values that are no number from -1e6 to 1e6: inf"),
    ("value", {"value": 1e300}, "column 'value' has values that are no number from -1e6 to 1e6: 1e+300"),
    ("value", {"value": True}, "column 'value' has values that are no number from -1e6 to 1e6: True"),
    ("values", {"values": [1]}, "column 'values' has values that are no list of 2 numbers: [1]"),
    ("values", {"values": [1, "x"]}, "column 'values' has values that are no number from -1e6 to 1e6: 'x'"),
    ("tags", {"tags": "1 2"}, "'tags' needs one tag per word of 'text': 3 words, 2 tags"),
    ("tags", {"tags": 7}, "'tags' needs one tag per word of 'text': 3 words, no list of tags"),
    ("tags", {"tags": "1 2 9"}, "column 'tags' has a value that is no label: '9'"),
    ("tags", {"text": ["the", 1, "x"]}, "column 'text' is neither a list of words nor text: ['the', 1, 'x']"),
]


def write(folder: Path, rows: list[Any], name: str = "a.jsonl") -> None:
    (folder / name).write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def build(folder: Path, encoding: Encoding, reading: Reading = SETTING_ASIDE, source: Any = None) -> StoredSplit:
    made = source or JsonLines(SourceContext(folder), train="a.jsonl")
    return build_split(folder / "store", SplitJob("task", made, "train", encoding, reading))


@pytest.mark.parametrize(("kind", "change", "reason"), BAD, ids=[f"{kind}-{change}" for kind, change, _ in BAD])
def test_a_bad_row_is_set_aside_with_its_place_and_the_rest_is_as_if_it_had_never_been(
    kind: str, change: dict[str, Any], reason: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    encoding = encodings(tokenizer)[kind]
    write(tmp_path, [*GOOD[:4], {**GOOD[0], **change}, *GOOD[4:]])
    stored = build(tmp_path, encoding)
    assert stored.quarantined == {"rows": 1, "read": 61, "first": [{"place": "a.jsonl:5", "reason": reason}]}
    assert stored.notes["quarantined"] == 1
    (tmp_path / "clean").mkdir()
    write(tmp_path / "clean", GOOD)
    clean = build(tmp_path / "clean", encoding)
    assert "quarantined" not in clean.index and "quarantined" not in clean.notes
    np.testing.assert_array_equal(stored.rows.tokens.values, clean.rows.tokens.values)
    np.testing.assert_array_equal(stored.counts, clean.counts)
    with pytest.raises(DataError, match=r"^a\.jsonl:5: "):
        build(tmp_path, encoding, Reading())


def test_rows_bad_in_every_way_at_once_are_each_counted_once(tokenizer: Tokenizer, tmp_path: Path) -> None:
    bad = [{**GOOD[0], **change} for kind, change, _ in BAD if kind == "tags"]
    worse = {**GOOD[0], "text": ["the", 1], "tags": [9]}
    write(tmp_path, [*GOOD * 4, *bad, worse, '{"text": ', "[]"])
    stored = build(tmp_path, encodings(tokenizer)["tags"])
    assert len(stored) == len(GOOD) * 4
    places = [one["place"] for one in stored.quarantined["first"]]
    assert sorted(places, key=lambda place: int(place.split(":")[1])) == [f"a.jsonl:{241 + number}" for number in range(7)]


def test_an_encoding_that_names_one_row_at_a_time_is_asked_row_by_row(tokenizer: Tokenizer, tmp_path: Path) -> None:
    class Picky(Regression):
        def rows(self, columns: Any, where: Any, with_targets: bool) -> Any:
            for row, text in enumerate(columns["text"]):
                if text == "bad":
                    raise DataError("bad text.", where=where(row))
            return super().rows(columns, where, with_targets)

    write(tmp_path, [*GOOD * 3, *[{**GOOD[0], "text": "bad"}] * 9, GOOD[0]])
    stored = build(tmp_path, Picky(tokenizer, ["text"], "value"))
    assert len(stored) == len(GOOD) * 3 + 1 and stored.quarantined["rows"] == 9
    assert [one["place"] for one in stored.quarantined["first"]] == [f"a.jsonl:{number}" for number in range(181, 190)]


def test_only_the_first_hundred_are_listed_and_all_are_counted(tokenizer: Tokenizer, tmp_path: Path) -> None:
    write(tmp_path, [*GOOD * 50, *[{**GOOD[0], "label": "maybe"}] * 150, *GOOD * 50])
    stored = build(tmp_path, encodings(tokenizer)["label"])
    assert stored.quarantined["rows"] == 150 and len(stored.quarantined["first"]) == LISTED
    assert stored.quarantined["first"][-1]["place"] == "a.jsonl:3100"


def test_more_than_the_share_allowed_is_an_error_with_the_count_and_leaves_nothing(tokenizer: Tokenizer, tmp_path: Path) -> None:
    encoding = encodings(tokenizer)["label"]
    write(tmp_path, [*GOOD[:57], *[{**GOOD[0], "label": "maybe"}] * 3])  # 3 of 60: just 5 %
    assert build(tmp_path, encoding).quarantined["rows"] == 3
    write(tmp_path, [*GOOD[:57], *[{**GOOD[0], "label": "maybe"}] * 4])
    before = sorted((tmp_path / "store").rglob("*.arrow"))
    with pytest.raises(
        DataError, match=r"^a\.jsonl:58: 4 of 61 rows can not be used, more than data\.max_bad 0\.05 allows\. a\."
    ):
        build(tmp_path, encoding)
    assert sorted((tmp_path / "store").rglob("*.arrow")) == before
    assert build(tmp_path, encoding, Reading(on_bad="quarantine", max_bad=0.1)).quarantined["rows"] == 4
    with pytest.raises(DataError, match="4 of 61 rows"):  # what stands in the store is judged by the card of today, too
        build(tmp_path, encoding)


def test_how_many_may_be_bad_is_no_part_of_the_key_and_quarantine_is() -> None:
    assert Reading().key() == Reading(max_bad=0.5).key() != SETTING_ASIDE.key()
    assert SETTING_ASIDE.key() == Reading(on_bad="quarantine", max_bad=0.5).key()


def test_a_missing_column_is_no_single_row_s_fault(tokenizer: Tokenizer, tmp_path: Path) -> None:
    write(tmp_path, [{"text": "the cat"}] * 30)
    with pytest.raises(DataError, match="no column 'label'"):
        build(tmp_path, encodings(tokenizer)["label"])


@pytest.mark.parametrize(
    ("source", "text", "places"),
    [
        (lambda context: Csv(context, train="a"), "text,label\nthe cat,yes\na\n{}a dog,no,x\n", ["a:3", "a:44"]),
        (lambda context: Tsv(context, train="a"), "text\tlabel\nthe cat\tyes\na\n{}a dog\n", ["a:3", "a:44"]),
        (lambda context: Fields(context, train="a", names=["label", "text"]), "yes the cat\nno\n{}yes\n", ["a:2", "a:43"]),
        (lambda context: JsonLines(context, train="a"), '{{"text": "a", "label": "no"}}\nno\n{}{{}}\n', ["a:2", "a:43"]),
    ],
    ids=["csv", "tsv", "fields", "jsonl"],
)
def test_a_line_that_is_no_row_is_set_aside_too(
    source: Any, text: str, places: list[str], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    good = {"a:3": "the cat,no\n" if "," in text.split("{}")[0][:12] else "the cat\tno\n", "a:2": "no the cat\n"}[places[0]]
    good = '{"text": "a", "label": "no"}\n' if text.startswith("{{") else good
    (tmp_path / "a").write_text(text.format(good * 40))
    stored = build(tmp_path, encodings(tokenizer)["label"], source=source(SourceContext(tmp_path)))
    assert len(stored) == 41 and [one["place"] for one in stored.quarantined["first"]] == places


def test_words_without_a_tag_are_set_aside(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("the/1 cat/2\n" * 30 + "the cat\n")
    encoding = Tagging(tokenizer, ["words"], "tags", labels=[1, 2])
    stored = build(tmp_path, encoding, source=Tagged(SourceContext(tmp_path), train="a"))
    assert stored.quarantined["first"] == [{"place": "a:31", "reason": "no '/' and tag behind 'the'."}]


def test_a_quote_left_open_over_good_lines_is_never_set_aside(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text,label\n" + "the cat,no\n" * 40 + '"the cat,no\na dog,no\nx",no,yes\n')
    with pytest.raises(DataError, match=r"^a:42: 3 field\(s\), .* They reach to line 44\."):
        build(tmp_path, encodings(tokenizer)["label"], source=Csv(SourceContext(tmp_path), train="a"))


def test_a_line_no_side_can_claim_counts_once(tokenizer: Tokenizer, tmp_path: Path) -> None:
    write(tmp_path, [*({**GOOD[0], "text": f"the cat {number}"} for number in range(100)), "{"])
    source = HashSplit(JsonLines(SourceContext(tmp_path), rows="a.jsonl"), ["text"], 30, 30)
    encoding = encodings(tokenizer)["label"]
    stored = [
        build_split(tmp_path / "store", SplitJob("task", source, split, encoding, SETTING_ASIDE)) for split in source.splits()
    ]
    assert sum(map(len, stored)) == 100 and [split.quarantined["rows"] for split in stored] == [1, 0, 0]


def test_texts_for_a_tokenizer_pass_over_what_is_set_aside_and_name_it_otherwise(tmp_path: Path) -> None:
    write(tmp_path, [GOOD[0], {**GOOD[0], "text": 5}, {**GOOD[0], "text": None}, "{", {**GOOD[0], "text": ["a", "b"]}])
    source = JsonLines(SourceContext(tmp_path), train="a.jsonl")
    assert list(TaskText(source, ("text",), SETTING_ASIDE).read("train")) == ["the cat sat", "a b"]
    write(tmp_path, [GOOD[0], {**GOOD[0], "text": 5}])
    with pytest.raises(DataError, match=r"^a\.jsonl:2: column 'text' is neither text nor a list of words: 5"):
        list(TaskText(source, ("text",)).read("train"))


def test_an_error_with_places_of_rows_crosses_processes(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError) as caught:
        encodings(tokenizer)["label"].encode({"text": ["a", "b"], "label": ["yes", "x"]})
    assert caught.value.rows == {1: "column 'label' has a value that is no label: 'x'"}
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_rows_of_a_source_without_places_are_called_by_number(tokenizer: Tokenizer) -> None:
    from trunkline.data.sources.chunk import Chunk

    intake = Intake(encodings(tokenizer)["label"], SETTING_ASIDE)
    for labels in (["yes", "x"], ["no", None, "y"]):
        intake.rows(Chunk({"text": ["a"] * len(labels), "label": labels}))
    assert [refused.place for refused in intake.first] == ["row 1", "row 3", "row 4"]
