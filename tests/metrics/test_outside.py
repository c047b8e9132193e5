"""Metrics of labels and numbers against scikit-learn and scipy: ties, a class that is absent, classes that nobody predicts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as theirs

from trunkline.registry import METRICS

CASES = ["plain", "ties", "one class absent", "one class never predicted", "all one prediction", "three rows"]


def case(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """logits [n, 4], prediction [n], target [n]."""
    rng = np.random.default_rng(CASES.index(name))
    size = 3 if name == "three rows" else 101
    scores, target = rng.normal(size=(size, 4)), rng.integers(0, 4, size)
    if name == "ties":
        scores = np.round(scores)
    if name == "one class absent":
        target = np.where(target == 2, 1, target)
    if name == "one class never predicted":
        scores[:, 3] = -20
    if name == "all one prediction":
        scores = np.tile([0.0, 1.0, 0.5, -1.0], (size, 1))
    if name == "three rows":
        target = np.array([0, 1, 0])
    return scores.astype(np.float32), scores.astype(np.float32).argmax(1), target


def shares(scores: np.ndarray) -> np.ndarray:
    grown = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
    return grown / grown.sum(axis=1, keepdims=True)


def rest(target: np.ndarray, scores: np.ndarray, figure) -> float:
    """The mean over classes that some rows have and some lack, each against the rest; ties are ties."""
    shifted = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    logged = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    known = [c for c in range(scores.shape[1]) if 0 < (target == c).sum() < len(target)]
    return float(np.mean([figure(target == c, logged[:, c]) for c in known]))


OF_LABELS = {
    "accuracy": lambda s, p, t: theirs.accuracy_score(t, p),
    "macro_f1": lambda s, p, t: theirs.f1_score(t, p, average="macro", zero_division=0),
    "micro_f1": lambda s, p, t: theirs.f1_score(t, p, average="micro"),
    "mcc": lambda s, p, t: theirs.matthews_corrcoef(t, p),
    "log_loss": lambda s, p, t: theirs.log_loss(t, shares(s), labels=range(4)),
    "auroc": lambda s, p, t: rest(t, s, theirs.roc_auc_score),
    "mean_average_precision": lambda s, p, t: rest(t, s, theirs.average_precision_score),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("metric", OF_LABELS)
def test_a_metric_of_labels_is_scikit_learn_s(metric: str, name: str) -> None:
    scores, prediction, target = case(name)
    found = METRICS.get(metric)()
    given = {"scores": scores, "prediction": prediction, "target": target}
    value = found.value(**{key: given[key] for key in found.needs})
    assert value == pytest.approx(OF_LABELS[metric](scores, prediction, target), abs=1e-9)


OF_SETS = {
    "micro_f1": lambda s, p, t: theirs.f1_score(t, p, average="micro", zero_division=0),
    "jaccard": lambda s, p, t: theirs.jaccard_score(t, p, average="samples", zero_division=1),
    "auroc": lambda s, p, t: np.mean([theirs.roc_auc_score(t[:, c], s[:, c]) for c in range(3)]),
    "mean_average_precision": lambda s, p, t: np.mean([theirs.average_precision_score(t[:, c], s[:, c]) for c in range(3)]),
}


@pytest.mark.parametrize("metric", OF_SETS)
def test_a_metric_of_sets_is_scikit_learn_s_with_a_label_that_nobody_has(metric: str) -> None:
    rng = np.random.default_rng(9)
    target, scores = rng.integers(0, 2, (60, 4)).astype(np.uint8), np.round(rng.normal(size=(60, 4)), 1).astype(np.float32)
    target[:, 3] = 0
    prediction = (scores > 0).astype(np.uint8)
    given = {"scores": scores, "prediction": prediction, "target": target}
    found = METRICS.get(metric)()
    assert found.value(**{key: given[key] for key in found.needs}) == pytest.approx(OF_SETS[metric](scores, prediction, target))


OF_NUMBERS = {
    "mse": theirs.mean_squared_error,
    "mae": theirs.mean_absolute_error,
    "r2": theirs.r2_score,
    "pearson": lambda t, p: stats.pearsonr(t, p).statistic,
    "spearman": lambda t, p: stats.spearmanr(t, p).statistic,
}


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("metric", OF_NUMBERS)
def test_a_metric_of_numbers_is_scikit_learn_s_or_scipy_s(metric: str, ties: bool) -> None:
    rng = np.random.default_rng(4)
    target = rng.normal(size=80)
    prediction = target + rng.normal(size=80)
    if ties:
        target, prediction = np.round(target), np.round(prediction)
    value = METRICS.get(metric)().value(prediction=prediction.astype(np.float32), target=target.astype(np.float32))
    wide = target.astype(np.float32).astype(np.float64), prediction.astype(np.float32).astype(np.float64)
    assert value == pytest.approx(OF_NUMBERS[metric](*wide), abs=1e-6)


def test_a_wrong_figure_is_rejected() -> None:
    _scores, prediction, target = case("one class absent")
    plain = theirs.f1_score(target, prediction, average="macro", labels=range(4), zero_division=0)
    weighted = theirs.f1_score(target, prediction, average="weighted", zero_division=0)
    assert METRICS.get("macro_f1")().value(prediction=prediction, target=target) not in (pytest.approx(weighted), 2 * plain)
