from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from trunkline.data.sources.base import Source, SourceContext, TaskText, normalised, package_folder, text_bucket
from trunkline.data.sources.chunk import Chunk, chunked
from trunkline.data.sources.reading import Reading, join_words
from trunkline.errors import ConfigError, DataError, MissingExtra

PLUGIN = '''
from trunkline.data.sources.base import Source
from trunkline.data.sources.chunk import chunked

class Lines(Source):
    """{note}"""
    def files(self):
        return [str(self.context.folder / "rows.txt")]

    def read(self, split):
        yield from chunked(("text", "label"), (line.split("|") for line in open(self.files()[0]).read().splitlines()))
'''


def plugin(folder: Path, note: str = "") -> Source:
    """A task author's whole source, from a file of its own."""
    import importlib.util
    import sys

    path = folder / "plugin.py"
    path.write_text(PLUGIN.format(note=note))
    spec = importlib.util.spec_from_file_location(f"plugin_{note}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.Lines(SourceContext(folder))


def chunk(**columns: list[object]) -> Chunk:
    return Chunk(columns, lambda row: f"rows.tsv:{row + 2}")


def test_a_plugins_source_gives_rows_and_a_fingerprint_of_its_file_and_code(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("the cat|yes\na dog|no\n")
    source = plugin(tmp_path)
    assert source.splits() == ("rows",)
    assert [dict(chunk.columns) for chunk in source.read("rows")] == [{"text": ["the cat", "a dog"], "label": ["yes", "no"]}]
    first = source.fingerprint("rows")
    assert first == plugin(tmp_path).fingerprint("rows")
    changed_code = plugin(tmp_path, "other").fingerprint("rows")
    (tmp_path / "rows.txt").write_text("the cats|yes\n")
    assert len({first, changed_code, plugin(tmp_path).fingerprint("rows")}) == 3


def test_chunked_keeps_order_and_names_rows_by_their_number() -> None:
    chunks = list(chunked(("a", "b"), ((n, -n) for n in range(7)), where=lambda row: f"row {row}", size=3))
    assert [len(one) for one in chunks] == [3, 3, 1]
    assert [value for one in chunks for value in one.columns["b"]] == [-n for n in range(7)]
    assert chunks[2].where is not None and chunks[2].where(0) == "row 6"
    assert list(chunked(("a",), [])) == []


def test_a_columns_name_is_mapped_and_others_are_left_alone() -> None:
    picked = Reading({"premise": "sentence1"}).select(chunk(sentence1=["a"], label=["x"], other=[None]), ["premise", "label"])
    assert dict(picked.columns) == {"premise": ["a"], "label": ["x"]}


def test_a_missing_column_is_named_with_the_nearest_one_and_the_file() -> None:
    with pytest.raises(DataError, match=r"rows\.tsv: no column 'lable'\. Did you mean 'label'\? Known: label, text"):
        Reading().select(chunk(text=["a"], label=["x"]), ["text", "lable"])
    with pytest.raises(DataError, match=r"no column 'sentense' \(asked for as 'premise'\)\. Did you mean 'sentence'"):
        Reading({"premise": "sentense"}).select(chunk(sentence=["a"]), ["premise"])


def test_nulls_are_an_error_that_counts_and_names_them() -> None:
    rows = chunk(text=["a", None, "c", None], value=[1.0, 2.0, float("nan"), 4.0])
    with pytest.raises(
        DataError, match=r"rows\.tsv:3: 3 row\(s\) have no value in 'text' or 'value'.*tsv:3, rows\.tsv:4.*on_null: drop"
    ):
        Reading().select(rows, ["text", "value"])
    assert len(Reading().select(rows, ["text"][:0])) == 4


def test_rows_with_nulls_are_dropped_and_counted_if_the_card_says_so() -> None:
    rows = chunk(text=["a", None, "c"], value=[1.0, 2.0, 3.0])
    picked = Reading(on_null="drop").select(rows, ["text", "value"])
    assert {name: list(picked.columns[name]) for name in picked.columns} == {"text": ["a", "c"], "value": [1.0, 3.0]}
    assert picked.notes == Counter(null_dropped=1) and picked.where is not None and picked.where(1) == "rows.tsv:4"


def test_an_unknown_null_policy_is_refused() -> None:
    with pytest.raises(ConfigError, match="Known: drop, error"):
        Reading(on_null="ignore")


def test_the_same_text_in_other_capitals_spacing_and_width_falls_in_one_bucket() -> None:
    assert normalised("  The\tCAT ") == "the cat" == normalised("ｔｈｅ　ｃａｔ")
    assert text_bucket("The  CAT") == text_bucket("the cat")


def test_buckets_are_those_of_the_stated_hash_and_fill_evenly() -> None:
    import hashlib

    hashed = int.from_bytes(hashlib.blake2b("猫 sat".encode(), digest_size=8).digest(), "little")
    assert text_bucket("猫  Sat") == hashed % 100
    counts = Counter(text_bucket(f"text {number}") for number in range(20_000))
    # Of 200 each; a standard deviation is about 14.
    assert len(counts) == 100 and max(abs(count - 200) for count in counts.values()) < 75


def test_words_are_joined_as_their_script_is_written() -> None:
    assert join_words(["the", "cat"]) == "the cat"
    assert join_words(["坐", "在"]) == "坐在"
    assert join_words(["iPhone", "坐"]) == "iPhone 坐"


def test_a_tasks_texts_are_all_inputs_in_row_order(tmp_path: Path) -> None:
    class Pairs(Source):
        def files(self) -> list[str]:
            return []

        def read(self, split: str) -> Iterator[Chunk]:
            yield Chunk({"first": ["a", "c"], "words": [["b", "b"], ["猫", "狗"]], "label": [None, None]})

    text = TaskText(Pairs(SourceContext(tmp_path)), ("left", "words"), Reading({"left": "first"}))
    assert list(text.read("rows")) == ["a", "b b", "c", "猫狗"]


def test_a_package_is_found_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "texts_in_a_package").mkdir()
    (tmp_path / "texts_in_a_package" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert package_folder("texts_in_a_package") == tmp_path / "texts_in_a_package"
    with pytest.raises(MissingExtra, match=r"'no_such_package' is not installed\. Run: pip install 'trunkline\[demo\]'"):
        package_folder("no_such_package", "demo")


def test_a_text_may_be_a_list_and_some_texts_no_value() -> None:
    rows = chunk(text=["a", "b", "c"], tags=["1, 2", "", "NA"], other=["NA", "", ""])
    picked = Reading(columns={"labels": "tags"}, on_null="drop", lists={"labels": ","}, nulls=["NA"]).select(
        rows, ["text", "labels"]
    )
    assert list(picked.columns["labels"]) == [["1", "2"], []] and picked.notes["null_dropped"] == 1
    with pytest.raises(DataError, match="no value in 'other'"):
        Reading(nulls=[""]).select(rows, ["other"])


def test_the_key_of_a_reading_holds_all_of_it() -> None:
    made = [Reading(), Reading({"a": "b"}), Reading(on_null="drop"), Reading(lists={"a": ","}), Reading(nulls=[""])]
    assert len({reading.key() for reading in made}) == len(made)
    with pytest.raises(ConfigError, match=r"data\.lists\.a"):
        Reading(lists={"a": ""})
