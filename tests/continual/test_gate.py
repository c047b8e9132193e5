"""The gate's arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from trunkline.continual.gate import compare, promises
from trunkline.errors import ConfigError, UsageError
from trunkline.metrics.classification import Accuracy

ROWS = 200


def records(right: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The first `right` rows are answered right, in an order of arrival that is not that of the rows."""
    order = np.random.default_rng(1).permutation(ROWS)
    prediction = (np.arange(ROWS) < right).astype(np.int64)
    return order, {"prediction": prediction[order], "target": np.ones(ROWS, np.int64), "scores": np.zeros((ROWS, 2), np.float32)}


def test_a_change_is_told_in_points_with_a_paired_interval() -> None:
    found = compare("a", Accuracy, "accuracy", records(100), records(90), -1.0)
    assert (found.before, found.after, found.rows) == (0.5, 0.45, ROWS)
    assert found.change == pytest.approx(-5.0) and found.verdict == "broken"
    # Ten rows of 200 change, all one way: the interval is that of a share of 10 in 200, not that of two separate accuracies.
    assert found.low is not None and found.high is not None
    assert -8.5 < found.low < -5.0 < found.high < -1.9


def test_rows_that_are_not_paired_are_rejected_by_a_wider_interval() -> None:
    paired = compare("a", Accuracy, "accuracy", records(100), records(90), None)
    ids, mixed = records(90)
    apart = {name: np.concatenate([value[ROWS // 2 :], value[: ROWS // 2]]) for name, value in mixed.items()}
    loose = compare("a", Accuracy, "accuracy", records(100), (ids, apart), None)
    wide, narrow = (float(one.high or 0) - float(one.low or 0) for one in (loose, paired))
    assert wide > 1.5 * narrow


def test_the_same_answers_are_exactly_no_change() -> None:
    found = compare("a", Accuracy, "accuracy", records(100), records(100), 0.0)
    assert (found.change, found.low, found.high, found.verdict) == (0.0, 0.0, 0.0, "kept")


def test_promises_go_to_the_first_that_fits() -> None:
    assert promises("mrpc:-0.5, s*:0,*:-1.0", ["mrpc", "stsb", "cola"]) == {"mrpc": -0.5, "stsb": 0.0, "cola": -1.0}
    assert promises("", ["mrpc"]) == {}


@pytest.mark.parametrize(
    ("stated", "error", "said"),
    [
        ("mrpc", UsageError, "'mrpc' is no promise"),
        ("mrpc:much", UsageError, "is no promise"),
        ("mrpc:nan", UsageError, "is no promise"),
        ("mprc:-1", ConfigError, "Did you mean 'mrpc'"),
    ],
)
def test_a_promise_that_can_not_be_read_is_a_sentence(stated: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        promises(stated, ["mrpc", "cola"])
