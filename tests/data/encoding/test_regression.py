from __future__ import annotations

import numpy as np
import pytest

from trunkline.data.encoding.regression import Regression
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import ConfigError, DataError


def encode(tokenizer: Tokenizer, values: list[object]) -> np.ndarray:
    encoding = Regression(tokenizer, ["text"], "value")
    found = encoding.encode({"text": ["a"] * len(values), "value": values}, where=lambda row: f"a.csv:{row + 2}").targets[
        "target"
    ]
    assert isinstance(found, np.ndarray)
    return found


def test_numbers_and_text_that_reads_as_one_are_targets(tokenizer: Tokenizer) -> None:
    target = encode(tokenizer, [1, 2.5, "-3.25", " 4 ", "1e3", 1e6])
    assert target.dtype == np.float32 and target.tolist() == [1.0, 2.5, -3.25, 4.0, 1000.0, 1e6]


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), "-inf", "nan", 1e300, "1e7", True, "high", "", None, [1.0], 10**400]
)
def test_what_is_no_number_of_a_sensible_size_is_refused(value: object, tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match=r"^a\.csv:3: column 'value' has values that are no number from -1e6 to 1e6: "):
        encode(tokenizer, [1, value, 3])


def test_the_baseline_is_the_training_mean(tokenizer: Tokenizer) -> None:
    encoding = Regression(tokenizer, ["text"], "value")
    train, evaluated = (encoding.encode({"text": ["a"] * len(values), "value": values}) for values in ([1, 2, 6], [5, 7]))
    records = encoding.baseline(train, evaluated, np.zeros(2, np.uint64))
    assert records["prediction"].tolist() == [3.0, 3.0] and records["target"].tolist() == [5.0, 7.0]


def test_a_prediction_is_a_value(tokenizer: Tokenizer) -> None:
    encoding = Regression(tokenizer, ["text"], "value")
    assert encoding.decode(np.array([1.5, -2]), encoding.dummy()) == [{"value": 1.5}, {"value": -2.0}]


def several(tokenizer: Tokenizer) -> Regression:
    return Regression(tokenizer, ["text"], "value", names=["valence", "arousal"])


def test_several_numbers_are_lists_or_text_with_spaces_or_commas(tokenizer: Tokenizer) -> None:
    values = [[1, 2.5], "3, -4", "5 6", (7, "8")]
    rows = several(tokenizer).encode({"text": ["a"] * 4, "value": values})
    target = rows.targets["target"]
    assert isinstance(target, np.ndarray) and target.dtype == np.float32
    assert target.tolist() == [[1, 2.5], [3, -4], [5, 6], [7, 8]] and rows.counts.tolist() == [1, 1, 1, 1]
    assert several(tokenizer).head_arguments() == {"num_values": 2}
    assert several(tokenizer).dummy().targets["target"].shape == (1, 2)


@pytest.mark.parametrize("value", [[1], [1, 2, 3], "1", 5.0, {}, ""])
def test_another_number_of_numbers_is_refused(value: object, tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match=r"^row 1: column 'value' has values that are no list of 2 numbers: .* \(row 1\)"):
        several(tokenizer).encode({"text": ["a", "a"], "value": [[1, 2], value]})


def test_a_list_with_something_that_is_no_number_names_its_row(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match=r"^row 1: column 'value' has values that are no number from -1e6 to 1e6: nan \(row 1\)"):
        several(tokenizer).encode({"text": ["a", "a"], "value": [[1, 2], [3, float("nan")]]})


@pytest.mark.parametrize("names", ["valence", [], ["a", "a"]])
def test_names_that_make_no_sense_are_refused(names: object, tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match="a list of different names"):
        Regression(tokenizer, ["text"], "value", names=names)


def test_the_baseline_and_a_prediction_of_several_numbers_are_by_name(tokenizer: Tokenizer) -> None:
    encoding = several(tokenizer)
    train, evaluated = (
        encoding.encode({"text": ["a"] * len(values), "value": values}) for values in ([[1, 0], [3, 8]], [[5, 7]])
    )
    records = encoding.baseline(train, evaluated, np.zeros(1, np.uint64))
    assert records["prediction"].tolist() == [[2, 4]] and records["target"].tolist() == [[5, 7]]
    assert encoding.decode(np.array([[1.5, -2]]), encoding.dummy()) == [{"values": {"valence": 1.5, "arousal": -2.0}}]
