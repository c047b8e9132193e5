from __future__ import annotations

import numpy as np
import pytest

from trunkline.data.encoding.regression import Regression
from trunkline.data.tokenizer import Tokenizer
from trunkline.errors import DataError


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
    assert Regression(tokenizer, ["text"], "value").decode(np.array([1.5, -2]), np.ones(2)) == [{"value": 1.5}, {"value": -2.0}]
