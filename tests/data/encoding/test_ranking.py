from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trunkline.data.encoding.ranking import Ranking
from trunkline.data.rows import Ragged, Rows
from trunkline.data.sources.base import SourceContext
from trunkline.data.sources.nested import Json
from trunkline.data.store import SplitJob, build_split
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import ConfigError, DataError

COLUMNS: dict[str, list[Any]] = {
    "query": ["the cat", "a dog", "mat", "a mat"],
    "reply": [["sat", "the cat sat", "on"], ["on the mat and the cat", "dog"], ["mat", "cat"], ["the", "the mat"]],
    "grade": [[0, 2, 1], ["1", "0.5"], [0, 0], [3.0, 3.0]],
}


def make(tokenizer: Tokenizer, **given: Any) -> Ranking:
    return Ranking(tokenizer, ["query", "reply"], "grade", **given)


def lists(rows: Rows) -> list[list[np.ndarray]]:
    """Token ids of every trunk row, list by list."""
    ends = np.concatenate([[0], np.cumsum(rows.lengths.values)])
    parts = [rows.tokens.values[a:b] for a, b in itertools.pairwise(ends)]
    return [parts[a:b] for a, b in itertools.pairwise(rows.lengths.starts)]


def test_a_row_is_the_query_with_each_of_its_candidates_in_order(tokenizer: Tokenizer) -> None:
    rows = make(tokenizer).encode(COLUMNS)
    for query, replies, found in zip(COLUMNS["query"], COLUMNS["reply"], lists(rows), strict=True):
        for reply, ids in zip(replies, found, strict=True):
            np.testing.assert_array_equal(ids, tokenizer.encode([query], [reply]).tokens.values)
    assert rows.lengths.lengths.tolist() == [3, 2, 2, 2]


def test_a_list_that_ranks_nothing_has_nothing_to_learn_and_is_counted(tokenizer: Tokenizer) -> None:
    rows = make(tokenizer).encode(COLUMNS)
    assert rows.counts.tolist() == [1, 1, 0, 0]
    assert (rows.notes["queries_without_relevant"], rows.notes["queries_without_irrelevant"]) == (1, 1)
    assert make(tokenizer).encode(COLUMNS, with_targets=False).counts.tolist() == [1, 1, 1, 1]


def test_a_pack_knows_which_score_is_whose_and_fills_short_lists(tokenizer: Tokenizer) -> None:
    encoding = make(tokenizer)
    tokens, targets = encoding.collate(encoding.encode(COLUMNS).take(np.array([1, 0])), np.zeros(2, np.uint64))
    assert targets["slots"].tolist() == [[0, 1, -1], [2, 3, 4]]
    assert targets["grades"].tolist() == [[1, 0.5, -1], [0, 2, 1]] and targets["grades"].dtype == np.float32
    records = encoding.records(np.array([5, 6, 7, 8, 9]), targets)
    assert [own.tolist() for own in records["scores"]] == [[5, 6], [7, 8, 9]]
    assert [own.tolist() for own in records["grades"]] == [[1, 0.5], [0, 2, 1]]
    assert len(tokens) == sum(len(ids) for own in lists(encoding.encode(COLUMNS))[:2] for ids in own)


def test_lists_of_one_length_are_records_too(tokenizer: Tokenizer) -> None:
    encoding = make(tokenizer)
    rows = encoding.encode({"query": ["a"] * 3, "reply": [["b", "c"]] * 3, "grade": [[0, 1]] * 3})
    given = encoding.baseline(rows, rows, np.zeros(3, np.uint64))
    assert {name: (value.shape, value.dtype) for name, value in given.items()} == {
        "scores": ((3,), np.dtype(object)),
        "grades": ((3,), np.dtype(object)),
    }


def test_a_prediction_has_the_scores_and_the_order_they_put(tokenizer: Tokenizer) -> None:
    encoding = make(tokenizer)
    rows = encoding.encode(COLUMNS, with_targets=False).take(np.array([0, 1]))
    answers = encoding.decode(np.array([0.5, 2.0, 1.0, 3.0, 3.0]), rows)
    assert answers == [{"scores": [0.5, 2.0, 1.0], "order": [1, 2, 0]}, {"scores": [3.0, 3.0], "order": [0, 1]}]


@pytest.mark.parametrize(
    ("grades", "kept"),
    [
        ([0, 0, 1, 0, 2], [0, 2, 4]),  # the relevant ones, then the first of the others, as they stood
        ([1, 1, 1, 0, 0], [0, 1, 3]),  # one of the lowest grade has a place
        ([2, 1, 1, 1, 0], [0, 1, 4]),
        ([0, 1, 0], [0, 1, 2]),
    ],
)
def test_a_long_list_is_cut_for_training_and_keeps_its_relevant_candidates(
    grades: list[float], kept: list[int], tokenizer: Tokenizer
) -> None:
    words = ["cat", "the mat", "a dog", "on the mat", "sat"][: len(grades)]
    columns = {"query": ["a", "the"], "reply": [words, ["cat", "a dog"]], "grade": [grades, [0, 1]]}
    whole = make(tokenizer).encode(columns)
    encoding = make(tokenizer, max_candidates=3)
    full = encoding.encode(columns)
    np.testing.assert_array_equal(full.tokens.values, whole.tokens.values)
    cut = encoding.drawn(full)
    shorter = {"query": ["a", "the"], "reply": [[words[i] for i in kept], ["cat", "a dog"]]}
    expected = make(tokenizer).encode({**shorter, "grade": [[grades[i] for i in kept], [0, 1]]})
    for name in ("tokens", "lengths", "seconds"):
        np.testing.assert_array_equal(getattr(cut, name).values, getattr(expected, name).values)
        np.testing.assert_array_equal(getattr(cut, name).starts, getattr(expected, name).starts)
    found, wanted = cut.targets["grades"], expected.targets["grades"]
    assert isinstance(found, Ragged) and isinstance(wanted, Ragged)
    np.testing.assert_array_equal(found.values, wanted.values)
    np.testing.assert_array_equal(found.starts, wanted.starts)
    assert cut.notes["candidates_cut"] == len(grades) - 3 and cut.counts.tolist() == [1, 1]


def test_what_stands_in_the_column_is_mapped_to_grades(tokenizer: Tokenizer) -> None:
    encoding = make(tokenizer, grades={1: 4, "2": 3, "fair": 1, -1: 0})
    columns = {"query": ["a"], "reply": [["b", "c", "d", "e"]], "grade": [[1.0, "2", "fair", "-1.0"]]}
    rows = encoding.encode(columns)
    assert isinstance(rows.targets["grades"], Ragged) and rows.targets["grades"].values.tolist() == [4, 3, 1, 0]
    with pytest.raises(DataError, match=r"that are not one of 1, 2, fair, -1: \[1.0, '3'.*\(row 0\)"):
        encoding.encode({**columns, "grade": [[1.0, "3", "fair", -1]]})
    assert encoding.key() != make(tokenizer, grades={1: 4, "2": 3, "fair": 1, -1: 1}).key() != make(tokenizer).key()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("grade", [1, "good", 0], r"not a number from 0 to 1e6: \[1, 'good', 0\] \(a.csv:10\).*`head.grades` maps"),
        ("grade", [1, math.nan, 0], "not a number"),
        ("grade", [1, None, 0], "not a number"),
        ("grade", [1, -1, 0], "not a number from 0"),
        ("grade", [1, True, 0], "not a number"),
        ("grade", [1, math.inf, 0], "not a number"),
        ("grade", [1, 0], r"no grade for each candidate of 'reply': \[1, 0\]"),
        ("grade", "1 0 0", "no grade for each"),
        ("reply", [], r"no list of candidates: \[\].*`data.gather` makes such rows"),
        ("reply", "the cat", "no list of candidates: 'the cat'"),
        ("reply", ["a", 5, "b"], r"candidates that are no text: \['a', 5, 'b'\]"),
        ("reply", ["a", None, "b"], "candidates that are no text"),
    ],
)
def test_a_bad_list_is_named_with_its_row(column: str, value: Any, message: str, tokenizer: Tokenizer) -> None:
    columns = {**COLUMNS, column: [value, *COLUMNS[column][1:]]}
    with pytest.raises(DataError, match=f"^a.csv:10: column '{column}' .*{message}"):
        make(tokenizer).encode(columns, where=lambda row: f"a.csv:{row + 10}")


@pytest.mark.parametrize(
    "given",
    [
        {"max_candidates": 1},
        {"max_candidates": True},
        {"grades": {}},
        {"grades": [1]},
        {"grades": {"a": -1}},
        {"grades": {1: "b"}},
    ],
)
def test_arguments_that_make_no_sense_are_refused(given: dict[str, Any], tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match=r"is needed"):
        make(tokenizer, **given)


def test_no_rows_at_all_are_no_rows(tokenizer: Tokenizer) -> None:
    assert len(make(tokenizer).encode({"query": [], "reply": [], "grade": []})) == 0


def test_training_rows_alone_are_cut_and_a_split_without_any_list_to_rank_is_refused(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    (tmp_path / "a.json").write_text('[{"query": "a", "reply": ["b", "c", "d"], "grade": [0, 1, 0]}]')
    (tmp_path / "b.json").write_text('[{"query": "a", "reply": ["b", "c"], "grade": [0, 0]}]')
    source = Json(SourceContext(tmp_path), train="a.json", validation="a.json", test="b.json")
    encoding = make(tokenizer, max_candidates=2)
    sizes = [build_split(tmp_path, SplitJob("rank", source, name, encoding)).rows.lengths.lengths for name in source.splits()[:2]]
    assert [size.tolist() for size in sizes] == [[2], [3]]
    with pytest.raises(DataError, match=r"no rows left of 1 read.*'queries_without_relevant': 1.*'without_targets_dropped': 1"):
        build_split(tmp_path, SplitJob("rank", source, "test", encoding))
