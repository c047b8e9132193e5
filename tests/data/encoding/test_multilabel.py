from __future__ import annotations

import math

import numpy as np
import pytest

from trunkline.data.encoding.multilabel import Multilabel
from trunkline.data.rows import Rows
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import ConfigError, DataError


def make(tokenizer: Tokenizer, **settings: object) -> Multilabel:
    return Multilabel(tokenizer, ["text"], "label", labels=["a", "b", "7"], **settings)


def encode(encoding: Multilabel, values: list[object]) -> Rows:
    return encoding.encode({"text": ["x"] * len(values), "label": values}, where=lambda row: f"a.tsv:{row + 2}")


def sets(rows: Rows) -> list[list[int]]:
    found = rows.targets["label_set"]
    assert isinstance(found, np.ndarray)
    return found.tolist()


def test_lists_text_and_single_numbers_are_sets_of_labels(tokenizer: Tokenizer) -> None:
    rows = encode(make(tokenizer), [["b", "a"], "a, b", "a,a", [], "", " 7", 7, ["b", 7]])
    pair, first, none, last = [1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 1]
    assert sets(rows) == [pair, pair, first, none, none, last, last, [0, 1, 1]]
    assert rows.counts.tolist() == [1] * 8


def test_the_separator_is_the_cards(tokenizer: Tokenizer) -> None:
    assert sets(encode(make(tokenizer, separator="|"), ["a|7"])) == [[1, 0, 1]]
    assert sets(encode(make(tokenizer, separator=" "), ["a  b"])) == [[1, 1, 0]]


@pytest.mark.parametrize("separator", ["", 5, "7"])
def test_a_separator_that_is_none_or_stands_within_a_label_is_refused(separator: object, tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match="separator"):
        make(tokenizer, separator=separator)


def test_an_unknown_label_names_its_row_and_what_is_no_list_too(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match=r"^a\.tsv:4: column 'label' has 1 value\(s\) that are no label: 'c' \(a\.tsv:4\)"):
        encode(make(tokenizer), ["a", "b", "a,c"])
    with pytest.raises(DataError, match=r"^a\.tsv:3: column 'label' has values that are neither a list of labels nor text: None"):
        encode(make(tokenizer), ["a", None, 1.5])


def test_the_baseline_is_the_log_odds_of_the_training_frequencies(tokenizer: Tokenizer) -> None:
    encoding = make(tokenizer)
    train, evaluated = encode(encoding, ["a", "a", "a,b", "a"]), encode(encoding, ["b", ""])
    records = encoding.baseline(train, evaluated, np.zeros(2, np.uint64))
    # 4, 1 and 0 of 4, and one more on either side
    np.testing.assert_allclose(records["scores"], [[math.log(5), math.log(2 / 4), math.log(1 / 5)]] * 2, rtol=1e-6)
    assert records["prediction"].tolist() == [[1, 0, 0]] * 2 and records["target"].tolist() == [[0, 1, 0], [0, 0, 0]]


def test_a_prediction_lists_what_is_likelier_than_not(tokenizer: Tokenizer) -> None:
    outputs = np.array([[math.log(3.0), -1000.0, 0.5], [-1.0, -1.0, 0.0]], np.float32)
    first, second = make(tokenizer).decode(outputs, make(tokenizer).dummy())
    assert first["labels"] == ["a", "7"] and second["labels"] == []
    assert first["probabilities"] == pytest.approx({"a": 0.75, "b": 0.0, "7": 1 / (1 + math.exp(-0.5))})


def test_a_lower_threshold_predicts_more_labels(tokenizer: Tokenizer) -> None:
    logits = np.log(np.array([[0.5, 0.3, 0.1]], np.float32) / (1 - np.array([[0.5, 0.3, 0.1]], np.float32)))
    asked = {"label_set": np.zeros((1, 3), np.uint8)}
    lists = {share: make(tokenizer, threshold=share).records(logits, asked)["prediction"].tolist() for share in (0.2, 0.4, 0.6)}
    assert lists == {0.2: [[1, 1, 0]], 0.4: [[1, 0, 0]], 0.6: [[0, 0, 0]]}
    encoding = make(tokenizer, threshold=0.2)
    assert encoding.decode(logits, encoding.dummy())[0]["labels"] == ["a", "b"]


@pytest.mark.parametrize("wrong", [0, 1, -0.1, True, "half"])
def test_a_threshold_that_is_no_probability_is_refused(wrong: object, tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match="threshold"):
        make(tokenizer, threshold=wrong)
