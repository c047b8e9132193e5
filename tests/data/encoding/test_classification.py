from __future__ import annotations

import math

import numpy as np
import pytest

from trunkline.data.encoding.classification import Classification
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import ConfigError, DataError


def labels(encoding: Classification, values: list[object]) -> list[int]:
    rows = encoding.encode({"text": ["a"] * len(values), "label": values}, where=lambda row: f"a.tsv:{row + 2}")
    found = rows.targets["labels"]
    assert isinstance(found, np.ndarray)
    return found.tolist()


def test_labels_are_numbered_as_the_card_lists_them(tokenizer: Tokenizer) -> None:
    encoding = Classification(tokenizer, ["text"], "label", labels=["b", "a", "c"])
    assert labels(encoding, ["a", "b", "c", "a"]) == [1, 0, 2, 1]
    assert encoding.head_arguments() == {"num_labels": 3}


@pytest.mark.parametrize("stated", [[0, 1], ["0", "1"]])
def test_whole_numbers_and_their_text_are_one_label(stated: list[int | str], tokenizer: Tokenizer) -> None:
    assert labels(Classification(tokenizer, ["text"], "label", labels=stated), [1, "0", "1", 0]) == [1, 0, 1, 0]


@pytest.mark.parametrize("stated", [[False, True], ["false", "true"], ["False", "True"]])
def test_truth_values_are_found_however_they_are_spelled(stated: list[bool | str], tokenizer: Tokenizer) -> None:
    assert labels(Classification(tokenizer, ["text"], "label", labels=stated), [True, "true", "False", False]) == [1, 1, 0, 0]


def test_unknown_labels_are_shown_five_at_most_with_the_nearest_one(tokenizer: Tokenizer) -> None:
    encoding = Classification(tokenizer, ["text"], "label", labels=["positive", "negative"])
    values = ["positive", "postive", "bad", "bad", "bad", "bad", "bad"]
    with pytest.raises(DataError) as caught:
        labels(encoding, values)
    assert str(caught.value) == (
        "a.tsv:3: column 'label' has 6 value(s) that are no label: 'postive' (a.tsv:3), 'bad' (a.tsv:4), 'bad' (a.tsv:5), "
        "'bad' (a.tsv:6), 'bad' (a.tsv:7) and 1 more. Did you mean 'positive'? Known: negative, positive."
    )


@pytest.mark.parametrize(
    ("value", "said"), [(1.0, r"1\.0 is a float\. Write 1"), (2, "no label"), (None, "no label"), ([1], "no label")]
)
def test_a_float_a_number_out_of_range_and_other_things_are_no_labels(value: object, said: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match=said):
        labels(Classification(tokenizer, ["text"], "label", labels=[0, 1]), [0, value])


@pytest.mark.parametrize(("stated", "said"), [
    (["a", "b", "a"], "'a' stand"), (["a"], "two or more"), ([], "two or more"), ("ab", "a list"),
    ([1.5, 2], "a list"), ([1, "1"], "'1' stand"),
])  # fmt: skip
def test_label_lists_that_make_no_sense_are_refused(stated: list[str], said: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match=said):
        Classification(tokenizer, ["text"], "label", labels=stated)


def test_a_pair_makes_one_trunk_row_with_two_segments(tokenizer: Tokenizer) -> None:
    encoding = Classification(tokenizer, ["text", "other"], "label", labels=["a", "b"])
    rows = encoding.encode({"text": ["the cat"], "other": ["a dog"], "label": ["b"]})
    assert rows.seconds.values.tolist() == [4] and rows.lengths.values.tolist() == [len(rows.tokens.values)]


def test_the_baseline_guesses_the_training_frequencies(tokenizer: Tokenizer) -> None:
    encoding = Classification(tokenizer, ["text"], "label", labels=["a", "b", "c"])
    train = encoding.encode({"text": ["x"] * 7, "label": list("aabbbbb")})
    evaluated = encoding.encode({"text": ["x"] * 2, "label": ["c", "b"]})
    records = encoding.baseline(train, evaluated, np.zeros(2, np.uint64))
    assert records["prediction"].tolist() == [1, 1] and records["target"].tolist() == [2, 1]
    # Seven rows and one more of each of three labels: 3, 6 and 1 of 10.
    np.testing.assert_allclose(records["scores"], [[math.log(share) for share in (0.3, 0.6, 0.1)]] * 2, rtol=1e-6)


def test_a_prediction_names_the_label_and_its_probabilities(tokenizer: Tokenizer) -> None:
    encoding = Classification(tokenizer, ["text"], "label", labels=["a", "b"])
    (answer,) = encoding.decode(np.array([[0.0, math.log(3.0)]], np.float32), encoding.dummy())
    assert answer["label"] == "b" and answer["probability"] == pytest.approx(0.75)
    assert answer["probabilities"] == pytest.approx({"a": 0.25, "b": 0.75})
