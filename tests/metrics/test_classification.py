"""Metrics of labels."""

from __future__ import annotations

import numpy as np
import pytest

from trunkline.errors import ConfigError
from trunkline.metrics.classification import Accuracy, CalibrationError, LogLoss, MacroF1, Mcc, MicroF1


def compute(metric, **records):
    metric.update(np.arange(len(next(iter(records.values())))), **records)
    return metric.compute()


PREDICTION = np.array([0, 0, 1, 1, 2, 0])
TARGET = np.array([0, 1, 1, 1, 2, 2])


def test_accuracy_is_the_share_of_right_ones() -> None:
    assert compute(Accuracy(), prediction=PREDICTION, target=TARGET) == pytest.approx(4 / 6)


def test_macro_f1_is_the_mean_of_the_classes_worked_by_hand() -> None:
    # class 0: 2*1/(3+1); class 1: 2*2/(2+3); class 2: 2*1/(1+2)
    assert compute(MacroF1(), prediction=PREDICTION, target=TARGET) == pytest.approx((1 / 2 + 4 / 5 + 2 / 3) / 3)


def test_macro_f1_counts_a_class_never_predicted_as_zero_and_ignores_an_absent_one() -> None:
    assert compute(MacroF1(), prediction=np.array([3, 3]), target=np.array([3, 7])) == pytest.approx((2 / 3 + 0) / 2)


def test_mcc_of_two_classes_is_the_phi_coefficient() -> None:
    # true positives 3, true negatives 2, false positives 1, false negatives 2
    prediction = np.array([1, 1, 1, 0, 0, 1, 0, 0])
    target = np.array([1, 1, 1, 0, 0, 0, 1, 1])
    assert compute(Mcc(), prediction=prediction, target=target) == pytest.approx((3 * 2 - 1 * 2) / np.sqrt(4 * 5 * 3 * 4))


@pytest.mark.parametrize("guess", [0, 1, 9])
def test_a_constant_prediction_is_defined(guess: int) -> None:
    prediction = np.full(4, guess)
    target = np.array([0, 1, 1, 1])
    assert compute(Mcc(), prediction=prediction, target=target) == 0.0
    assert 0.0 <= compute(MacroF1(), prediction=prediction, target=target) < 1.0
    assert compute(Accuracy(), prediction=prediction, target=target) == {0: 0.25, 1: 0.75, 9: 0.0}[guess]


def test_mcc_survives_splits_of_a_million_rows() -> None:
    target = np.arange(1_000_000) % 2
    assert compute(Mcc(), prediction=target, target=target) == pytest.approx(1.0)


def test_log_loss_of_two_rows_worked_by_hand() -> None:
    scores = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]], np.float32))
    expected = -(np.log(0.25) + np.log(0.8)) / 2
    assert compute(LogLoss(), scores=scores, target=np.array([1, 2])) == pytest.approx(expected, rel=1e-6)


def test_log_loss_does_not_change_when_all_logits_of_a_row_are_shifted() -> None:
    scores = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float64)
    target = np.arange(20) % 4
    shifted = scores + np.arange(20)[:, None] * 100.0
    assert compute(LogLoss(), scores=shifted, target=target) == pytest.approx(compute(LogLoss(), scores=scores, target=target))


def test_log_loss_of_equal_scores_is_the_log_of_the_number_of_classes() -> None:
    assert compute(LogLoss(), scores=np.zeros((3, 7), np.float32), target=np.array([0, 3, 6])) == pytest.approx(np.log(7))


def test_micro_f1_counts_all_classes_together_and_is_the_accuracy_of_single_labels() -> None:
    prediction, target = np.array([[1, 1, 0], [0, 1, 0]]), np.array([[1, 0, 0], [0, 1, 1]])
    # right 2, predicted 3, true 3
    assert compute(MicroF1(), prediction=prediction, target=target) == pytest.approx(2 * 2 / 6)
    assert compute(MicroF1(), prediction=PREDICTION, target=TARGET) == pytest.approx(4 / 6)


def test_macro_f1_of_label_sets_is_the_mean_of_the_labels_worked_by_hand() -> None:
    prediction, target = np.array([[1, 1, 0, 0], [0, 1, 0, 0]]), np.array([[1, 0, 0, 0], [0, 1, 1, 0]])
    # label 0: 2*1/2; label 1: 2*1/(2+1); label 2: 0/1; label 3 stands nowhere
    assert compute(MacroF1(), prediction=prediction, target=target) == pytest.approx((1 + 2 / 3 + 0) / 3)


@pytest.mark.parametrize("metric", [MicroF1, MacroF1])
def test_f1_of_rows_without_any_label_is_zero(metric: type) -> None:
    assert compute(metric(), prediction=np.zeros((3, 2)), target=np.zeros((3, 2))) == 0.0


def test_calibration_error_of_four_rows_worked_by_hand() -> None:
    # two rows at confidence 0.9, one of them right; two at 0.6, both right: bins (0.8, 1] and (0.6, 0.8] of five
    scores = np.log(np.array([[0.9, 0.1], [0.9, 0.1], [0.35, 0.65], [0.35, 0.65]]))
    target = np.array([0, 1, 1, 1])
    expected = 2 / 4 * abs(0.5 - 0.9) + 2 / 4 * abs(1 - 0.65)
    assert compute(CalibrationError(num_bins=5), scores=scores, target=target) == pytest.approx(expected)


def test_calibration_error_of_one_bin_is_accuracy_minus_mean_confidence() -> None:
    rng = np.random.default_rng(2)
    scores, target = rng.normal(size=(50, 3)), rng.integers(0, 3, 50)
    confidence = (np.exp(scores) / np.exp(scores).sum(1, keepdims=True)).max(1)
    expected = abs((scores.argmax(1) == target).mean() - confidence.mean())
    assert compute(CalibrationError(num_bins=1), scores=scores, target=target) == pytest.approx(expected)


@pytest.mark.parametrize("wrong", [0, 1.5, True, "15"])
def test_a_wrong_number_of_bins_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError, match="num_bins must be a whole number of at least 1"):
        CalibrationError(num_bins=wrong)
