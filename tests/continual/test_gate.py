"""The gate's arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from trunkline.continual.gate import compare, promises
from trunkline.errors import ConfigError, UsageError
from trunkline.metrics.base import Metric
from trunkline.metrics.bootstrap import Measured, paired
from trunkline.metrics.classification import Accuracy, LogLoss
from trunkline.metrics.generation import Bleu
from trunkline.metrics.language import Perplexity
from trunkline.metrics.regression import Mse
from trunkline.metrics.retrieval import RetrievalRecall

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


def losses(mean: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    return np.arange(ROWS), {"loss": (mean + np.linspace(-1, 1, ROWS)).astype(np.float32)}


def points_law(change: float) -> bool:
    """A thousandth of a nat is a tenth of a point, however large the perplexity."""
    return change == pytest.approx(-0.1, abs=1e-3)


def test_perplexity_is_gated_in_hundredths_of_a_nat() -> None:
    for mean in (0.5, 3.0, 9.0):
        found = compare("words", Perplexity, "perplexity", losses(mean), losses(mean + 0.001), -1.0)
        assert points_law(found.change or 0) and found.verdict == "kept"
        assert found.low is not None and found.high is not None and found.low <= -0.099 and found.high >= -0.101
        assert found.before == pytest.approx(np.exp(mean), rel=1e-4)
    assert compare("words", Perplexity, "perplexity", losses(3.0), losses(3.02), -1.0).verdict == "broken"


def test_perplexity_in_hundredths_of_itself_is_caught() -> None:
    class Hundredfold(Perplexity):
        def in_points(self, figure: float) -> float:
            return figure * 100.0

    assert not points_law(compare("words", Hundredfold, "perplexity", losses(3.0), losses(3.001), -1.0).change or 0)


@pytest.mark.parametrize(
    ("metric", "points"), [(Accuracy(), 50.0), (LogLoss(), 50.0), (Mse(), 0.5), (Bleu(), 0.5)], ids=lambda own: type(own).__name__
)
def test_points_are_hundredths_of_what_has_a_best_of_1_or_a_unit_of_nats(metric: Metric, points: float) -> None:
    assert metric.in_points(0.5) == points


def retrieved(spread: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    chance = np.random.default_rng(3)
    candidate = chance.normal(size=(60, 4))
    query = candidate + spread * chance.normal(size=(60, 4))
    unit = [(own / np.linalg.norm(own, axis=1, keepdims=True)).astype(np.float32) for own in (query, candidate)]
    keys = {"key": np.arange(60), "query_key": np.arange(60) + 100}
    return np.arange(60), {"query": unit[0], "candidate": unit[1], **keys}


def test_the_gate_s_interval_is_that_of_evaluate_against() -> None:
    before, after = retrieved(0.2), retrieved(0.6)
    found = compare("answer", RetrievalRecall, "retrieval_recall", before, after, None)
    told = paired(RetrievalRecall(), Measured.of([after]), Measured.of([before]), 1000)
    assert told.low is not None and told.high is not None
    assert (found.change, found.low, found.high) == pytest.approx((100 * told.difference, 100 * told.low, 100 * told.high))


def test_draws_in_parts_are_those_of_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Measured.of([records(120)])
    whole = own.drawn(Accuracy(), 50)
    monkeypatch.setattr("trunkline.metrics.bootstrap.AT_ONCE", 7 * ROWS)
    assert np.array_equal(own.drawn(Accuracy(), 50), whole)


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
