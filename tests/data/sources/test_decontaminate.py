from __future__ import annotations

import json
from typing import Any

import pytest

from trunkline.data.sources.base import SourceContext, TaskText
from trunkline.data.sources.decontaminate import Decontaminated, HeldOut, bare
from trunkline.data.sources.reading import Reading
from trunkline.data.sources.text import JsonLines

ROWS = {
    "mood": {"train": ["A fine  film .", "café noir", "dull", "new"], "validation": ["seen"], "test": ["Dull!"]},
    "other": {"train": ["x"], "test": ["a fine film", "caf noir", "seen"]},
}


def text(context: SourceContext, name: str, splits: dict[str, list[Any]], columns: tuple[str, ...] = ("text",)) -> TaskText:
    for split, rows in splits.items():
        values = [row if isinstance(row, tuple) else (row,) for row in rows]
        lines = [json.dumps({f"the_{key}": value for key, value in zip(columns, row, strict=True)}) + "\n" for row in values]
        (context.folder / f"{name}-{split}.jsonl").write_text("".join(lines))
    source = JsonLines(context, **{split: f"{name}-{split}.jsonl" for split in splits})
    return TaskText(source, columns, Reading({key: f"the_{key}" for key in columns}))


def read(source: Decontaminated, split: str = "train") -> tuple[list[Any], dict[str, int]]:
    rows, notes = [], {}
    for chunk in source.read(split):
        rows += list(chunk.columns["the_text"])
        notes |= chunk.notes
    return rows, notes


def test_training_rows_that_stand_in_any_test_are_left_out_and_counted(context: SourceContext) -> None:
    texts = {name: text(context, name, splits) for name, splits in ROWS.items()}
    tests = [HeldOut(name, own) for name, own in texts.items()]
    source = Decontaminated(texts["mood"], tests)
    assert source.splits() == ("train", "validation", "test")
    assert read(source) == (["new"], {"in_test_of_other": 2, "in_test_of_mood": 1})
    assert read(source, "validation") == (["seen"], {}) and read(source, "test") == (["Dull!"], {})


def test_a_pair_leaks_as_a_pair_in_any_order(context: SourceContext) -> None:
    names = ("text", "second")
    tested = text(context, "a", {"test": [("One.", "two"), ("three", "four")]}, names)
    trained = text(context, "b", {"train": [("two", "one"), ("one", "four"), ("one two", "")]}, names)
    assert read(Decontaminated(trained, [HeldOut("a", tested)])) == (["one", "one two"], {"in_test_of_a": 1})
    alone = text(context, "c", {"train": ["one", "two"]})
    assert read(Decontaminated(alone, [HeldOut("a", tested)])) == (["one", "two"], {})


def test_words_in_a_list_are_the_same_text(context: SourceContext) -> None:
    tested = text(context, "a", {"test": ["fly to rome", "猫坐"]})
    trained = text(context, "b", {"train": [["Fly", "to", "Rome"], ["猫", "坐"], ["fly"]]})
    assert read(Decontaminated(trained, [HeldOut("a", tested)]))[0] == [["fly"]]


def test_rows_without_a_text_stay_for_the_reading_to_judge(context: SourceContext) -> None:
    tested = text(context, "a", {"test": [None, "x"]})
    trained = text(context, "b", {"train": [None, "x", "y"]})
    assert read(Decontaminated(trained, [HeldOut("a", tested)]))[0] == [None, "y"]


def test_only_the_training_fingerprint_follows_the_tests(context: SourceContext) -> None:
    texts = {name: text(context, name, splits) for name, splits in ROWS.items()}

    def fingerprints() -> list[str]:
        source = Decontaminated(texts["mood"], [HeldOut("other", texts["other"])])
        return [source.fingerprint(split) for split in source.splits()]

    before = fingerprints()
    assert before[0] != texts["mood"].source.fingerprint("train") and before[2] == texts["mood"].source.fingerprint("test")
    text(context, "other", {"test": ["changed"]})
    after = fingerprints()
    assert before[0] != after[0] and before[1:] == after[1:]


@pytest.mark.parametrize(
    ("first", "second"), [("Re-imagining !", "re imagining"), ("münch's", "m nch s"), ("ＡＢ。", "ab"), ("?!", "?!")]
)
def test_punctuation_width_and_accents_do_not_tell_texts_apart(first: str, second: str) -> None:
    assert bare(first) == bare(second) != ""


def test_texts_without_words_are_told_apart() -> None:
    assert bare("?!") != bare("!") and bare("éé") != bare("èè")
