from __future__ import annotations

import numpy as np
import pytest

from trunkline.data.encoding.tagging import Tagging, follows
from trunkline.data.rows import Ragged, Rows
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import ConfigError, DataError


def make(tokenizer: Tokenizer) -> Tagging:
    return Tagging(tokenizer, ["words"], "tags", labels=["O", "X", "Y"])


def lists(rows: Rows, name: str) -> list[list[int]]:
    value = rows.targets[name]
    assert isinstance(value, Ragged)
    return [value.values[a:b].tolist() for a, b in zip(value.starts, value.starts[1:], strict=False)]


def test_each_words_tag_sits_at_its_first_sub_token(tokenizer: Tokenizer) -> None:
    rows = make(tokenizer).encode({"words": [["the", "walkmat", "cat"], ["猫"]], "tags": [["O", "X", "Y"], ["X"]]})
    assert lists(rows, "labels") == [[0, 1, 2], [1]] and rows.counts.tolist() == [3, 1]
    first = rows.tokens.values[: rows.tokens.starts[1]]
    begins = [tokenizer.token(first[position]) for position in lists(rows, "positions")[0]]
    assert begins[0] == "the" and "walkmat".startswith(begins[1]) and begins[2] == "cat"
    assert len(first) > 5  # `walkmat` is more than one piece, so the third tag is not at the third token
    assert lists(rows, "positions")[0] != [1, 2, 3]


def test_lists_and_text_with_spaces_are_the_same(tokenizer: Tokenizer) -> None:
    listed = make(tokenizer).encode({"words": [["the", "cat"]], "tags": [["O", "X"]]})
    spaced = make(tokenizer).encode({"words": ["the cat"], "tags": ["O X"]})
    np.testing.assert_array_equal(listed.tokens.values, spaced.tokens.values)
    assert lists(listed, "labels") == lists(spaced, "labels")


@pytest.mark.parametrize("truncate", ["right", "left"])
def test_words_cut_off_take_their_tags_with_them_and_are_counted(make_tokenizer, truncate: str) -> None:
    words = ["cat", "dog", "mat", "the", "sat", "on"]
    tags = ["O", "X", "Y", "X", "Y", "O"]
    rows = make(make_tokenizer(max_length=6, truncate=truncate)).encode({"words": [words, ["cat"]], "tags": [tags, ["Y"]]})
    assert lists(rows, "labels") == ([[0, 1, 2, 1], [2]] if truncate == "right" else [[2, 1, 2, 0], [2]])
    assert rows.notes["words_cut"] == 2 and rows.notes["cut"] == 1 and rows.counts.tolist() == [4, 1]


def test_rows_without_a_word_stay_and_have_nothing_to_learn(tokenizer: Tokenizer) -> None:
    columns = {"words": [["cat"], [], ["dog"]], "tags": [["X"], [], ["Y"]]}
    rows = make(tokenizer).encode(columns)
    assert rows.counts.tolist() == [1, 0, 1] and lists(rows, "labels") == [[1], [], [2]]
    assert make(tokenizer).encode(columns, with_targets=False).counts.tolist() == [1, 0, 1]


def test_as_many_tags_as_words_are_needed_and_rows_are_named(tokenizer: Tokenizer) -> None:
    columns = {"words": ["the cat", "a dog", "mat"], "tags": ["O X", "O", 7]}
    with pytest.raises(DataError) as caught:
        make(tokenizer).encode(columns, where=lambda row: f"a.txt:{10 * row + 1}")
    assert str(caught.value) == (
        "a.txt:11: 'tags' needs one tag per word of 'words': a.txt:11: 2 words, 1 tags; a.txt:21: 1 words, no list of tags."
    )


def test_an_unknown_tag_names_its_row(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match=r"^row 1: column 'tags' has 1 value\(s\) that are no label: 'Z' \(row 1\)"):
        make(tokenizer).encode({"words": ["the cat", "a dog"], "tags": ["O X", "O Z"]})


def test_a_row_that_is_no_list_of_words_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="neither a list of words nor text"):
        make(tokenizer).encode({"words": [["a", 5]], "tags": [["O", "O"]]})
    with pytest.raises(ConfigError, match=r"takes 1 column\(s\)"):
        Tagging(tokenizer, ["a", "b"], "tags", labels=["O", "X"])


def test_the_baseline_is_the_most_frequent_training_tag(tokenizer: Tokenizer) -> None:
    encoding = make(tokenizer)
    train = encoding.encode({"words": ["a b c", "d"], "tags": ["Y O Y", "X"]})
    evaluated = encoding.encode({"words": ["a b"], "tags": ["O Y"]})
    records = encoding.baseline(train, evaluated, np.zeros(1, np.uint64))
    assert records["prediction"].tolist() == [2, 2] and records["target"].tolist() == [0, 2]
    assert records["predicted_tag"].tolist() == ["Y", "Y"] and records["tag"].tolist() == ["O", "Y"]
    assert records["place"].tolist() == [0, 1]


def test_a_prediction_lists_each_rows_tags(tokenizer: Tokenizer) -> None:
    assert make(tokenizer).decode(
        np.array([0, 2, 1]), make(tokenizer).encode({"words": ["the cat", "", "dog"]}, with_targets=False)
    ) == [
        {"tags": ["O", "Y"]},
        {"tags": []},
        {"tags": ["X"]},
    ]


def test_each_words_place_in_its_row_goes_to_the_loss(tokenizer: Tokenizer) -> None:
    encoding = make(tokenizer)
    rows = encoding.encode({"words": ["the cat", "dog", "a mat on"], "tags": ["O X", "O", "X Y O"]})
    _, targets = encoding.collate(rows, np.zeros(3, np.uint64))
    assert targets["place"].tolist() == [0, 1, 0, 0, 1, 2]


def test_an_inside_tag_follows_its_own_span_alone_where_there_is_a_tag_that_opens_it() -> None:
    may = follows(["O", "B-X", "I-X", "I-Y", "B-Z"])
    assert may[:, 2].tolist() == [False, True, True, False, False, False]  # the last says what may stand first
    assert may[:, [0, 1, 3, 4]].all()


def test_tags_that_are_not_bio_are_counted(tokenizer: Tokenizer) -> None:
    encoding = Tagging(tokenizer, ["words"], "tags", labels=["O", "B-X", "I-X"])
    rows = encoding.encode({"words": ["a cat sat on", "the dog"], "tags": ["B-X I-X O I-X", "I-X O"]})
    assert rows.notes["tags_not_bio"] == 2
    assert "tags_not_bio" not in encoding.encode({"words": ["a cat"], "tags": ["B-X I-X"]}).notes
