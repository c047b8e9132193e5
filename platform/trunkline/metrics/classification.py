"""Metrics of labels: classes of rows, or of words."""

from __future__ import annotations

import numpy as np

from trunkline.metrics.base import Metric
from trunkline.registry import METRICS


def _confusion(prediction: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per class that is predicted or true at least once: right, predicted, true; each [C] int64."""
    classes, index = np.unique(np.concatenate([prediction, target]), return_inverse=True)
    guess, truth = index[: len(prediction)], index[len(prediction) :]
    right = np.bincount(truth[guess == truth], minlength=len(classes))
    return right, np.bincount(guess, minlength=len(classes)), np.bincount(truth, minlength=len(classes))


@METRICS.register("accuracy")
class Accuracy(Metric):
    """Share of targets predicted right. prediction, target [n] int64."""

    needs = frozenset({"prediction", "target"})
    not_for = frozenset({"regression", "masked_language"})

    def value(self, *, prediction: np.ndarray, target: np.ndarray) -> float:
        return float(np.mean(prediction == target))


@METRICS.register("macro_f1")
class MacroF1(Metric):
    """Unweighted mean over classes of F1 = 2 right / (predicted + true). prediction, target [n] int64.

    Over the classes that are predicted or true at least once, as scikit-learn has it: a class the split knows nothing of
    says nothing, and one that is true but never predicted counts 0.
    """

    needs = frozenset({"prediction", "target"})
    not_for = frozenset({"regression", "masked_language"})

    def value(self, *, prediction: np.ndarray, target: np.ndarray) -> float:
        right, predicted, true = _confusion(prediction, target)
        return float(np.mean(2 * right / (predicted + true)))


@METRICS.register("mcc")
class Mcc(Metric):
    """Correlation of prediction and truth over C classes, -1..1; 0 if either is constant. prediction, target [n] int64.

        (n sum right - sum predicted true) / sqrt((n^2 - sum predicted^2) (n^2 - sum true^2))

    Source: Gorodkin, Computational Biology and Chemistry 28 (2004), equation 8. The figure of CoLA.
    """

    needs = frozenset({"prediction", "target"})
    not_for = frozenset({"regression", "masked_language"})

    def value(self, *, prediction: np.ndarray, target: np.ndarray) -> float:
        counts = [count.astype(np.float64) for count in _confusion(prediction, target)]
        right, predicted, true = counts
        total = float(len(target))
        spread = (total**2 - np.sum(predicted**2)) * (total**2 - np.sum(true**2))
        if spread == 0:
            return 0.0
        return float((total * np.sum(right) - np.sum(predicted * true)) / np.sqrt(spread))


@METRICS.register("log_loss")
class LogLoss(Metric):
    """Mean negative log-probability of the true class, in nats. scores [n, C] logits, target [n] int64."""

    needs = frozenset({"scores", "target"})
    higher_is_better = False
    best = 0.0

    def value(self, *, scores: np.ndarray, target: np.ndarray) -> float:
        shifted = scores.astype(np.float64)
        shifted -= shifted.max(axis=1, keepdims=True)
        log_total = np.log(np.exp(shifted).sum(axis=1))
        return float(np.mean(log_total - shifted[np.arange(len(target)), target]))
