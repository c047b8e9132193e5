"""What stands behind a figure, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from trunkline.metrics.classification import CalibrationError
from trunkline.metrics.tables import calibration, confusion, wrongness


def test_the_confusion_matrix_is_scikit_learn_s_with_a_line_for_an_absent_class() -> None:
    rng = np.random.default_rng(0)
    target, prediction = rng.integers(0, 3, 90), rng.integers(0, 4, 90)  # class 3 is never true
    found = confusion({"prediction": prediction, "target": target}, ["a", "b", "c", "d"])
    assert found == {"labels": ["a", "b", "c", "d"], "counts": confusion_matrix(target, prediction, labels=range(4)).tolist()}
    assert found["counts"] != confusion_matrix(prediction, target, labels=range(4)).tolist()


def test_numbers_and_sets_of_labels_have_no_confusion_matrix() -> None:
    assert confusion({"prediction": np.zeros(2, np.float32), "target": np.zeros(2, np.float32)}, ["a", "b"]) is None
    assert confusion({"prediction": np.zeros((2, 2), np.uint8), "target": np.zeros((2, 2), np.uint8)}, ["a", "b"]) is None


def test_calibration_adds_up_to_the_metric_of_that_name() -> None:
    rng = np.random.default_rng(1)
    records = {"scores": rng.normal(size=(200, 3)).astype(np.float32) * 3, "target": rng.integers(0, 3, 200)}
    found = calibration(records)
    assert found["error"] == pytest.approx(CalibrationError().value(**records), abs=1e-12)
    assert sum(row["rows"] for row in found["bins"]) == 200
    assert found["accuracy"] == np.mean(records["scores"].argmax(1) == records["target"])


def test_wrongness_is_the_loss_of_the_right_class_or_the_distance_of_a_number() -> None:
    scores = np.log(np.array([[0.5, 0.5], [0.9, 0.1]]))
    assert wrongness({"scores": scores, "target": np.array([0, 1])}) == pytest.approx(-np.log([0.5, 0.1]))
    assert wrongness({"prediction": np.float32([1, 2]), "target": np.float32([1, 5])}).tolist() == [0, 3]
    assert wrongness({"prediction": np.array([1, 2]), "target": np.array([1, 0])}).tolist() == [0, 1]
    assert wrongness({"scores": np.array([[0.0, 9.0]]), "target": np.uint8([[0, 1]])}) == pytest.approx(
        [np.log(2) + 1e-4], abs=1e-3
    )
    assert wrongness({"answer": np.array(["a"], object)}) is None
