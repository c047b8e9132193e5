"""Metrics of labels: classes of rows, or of words; F1 of sets of labels too."""

from __future__ import annotations

from typing import Any

import numpy as np

from trunkline.errors import ConfigError
from trunkline.metrics.base import Metric
from trunkline.registry import METRICS, Count


def _confusion(prediction: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per class that is predicted or true at least once: right, predicted, true; each [C] int64.

    prediction, target: [n] class numbers, or [n, C] of 0 and 1 where a row may have several.
    """
    if target.ndim == 2:
        guessed, wanted = prediction.astype(np.bool_), target.astype(np.bool_)
        seen = (guessed | wanted).any(0)
        return (guessed & wanted).sum(0)[seen], guessed.sum(0)[seen], wanted.sum(0)[seen]
    classes, index = np.unique(np.concatenate([prediction, target]), return_inverse=True)
    guess, truth = index[: len(prediction)], index[len(prediction) :]
    right = np.bincount(truth[guess == truth], minlength=len(classes))
    return right, np.bincount(guess, minlength=len(classes)), np.bincount(truth, minlength=len(classes))


@METRICS.register("accuracy")
class Accuracy(Metric):
    """Share of targets predicted right. prediction, target [n] int64."""

    needs = frozenset({"prediction", "target"})
    not_for = frozenset({"regression", "masked_language", "multilabel", "contrastive"})

    def value(self, *, prediction: np.ndarray, target: np.ndarray) -> float:
        return float(np.mean(prediction == target))


@METRICS.register("macro_f1")
class MacroF1(Metric):
    """Unweighted mean over classes of F1 = 2 right / (predicted + true).

    prediction, target: [n] int64, or [n, C] of 0 and 1 where a row may have several labels; 0 where no row has any. Over the
    classes that are predicted or true at least once, as scikit-learn has it: a class the split knows nothing of says
    nothing, and one that is true but never predicted counts 0.
    """

    needs = frozenset({"prediction", "target"})
    not_for = frozenset({"regression", "masked_language", "causal_language", "bilm", "contrastive"})

    def value(self, *, prediction: np.ndarray, target: np.ndarray) -> float:
        right, predicted, true = _confusion(prediction, target)
        return float(np.mean(2 * right / (predicted + true))) if len(right) else 0.0


@METRICS.register("micro_f1")
class MicroF1(Metric):
    """F1 = 2 right / (predicted + true), each counted over all classes together; 0 where there is nothing to count.

    prediction, target: [n, C] of 0 and 1, or [n] int64; with one label a row it is the accuracy.
    """

    needs = frozenset({"prediction", "target"})
    not_for = frozenset({"regression", "masked_language", "causal_language", "bilm", "contrastive"})

    def value(self, *, prediction: np.ndarray, target: np.ndarray) -> float:
        right, predicted, true = (int(count.sum()) for count in _confusion(prediction, target))
        return 2 * right / max(predicted + true, 1)


@METRICS.register("mcc")
class Mcc(Metric):
    """Correlation of prediction and truth over C classes, -1..1; 0 if either is constant. prediction, target [n] int64.

        (n sum right - sum predicted true) / sqrt((n^2 - sum predicted^2) (n^2 - sum true^2))

    Source: Gorodkin, Computational Biology and Chemistry 28 (2004), equation 8. The figure of CoLA.
    """

    needs = frozenset({"prediction", "target"})
    not_for = frozenset({"regression", "masked_language", "causal_language", "bilm", "multilabel", "contrastive"})

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
    not_for = frozenset({"multilabel"})
    higher_is_better = False
    best = 0.0

    def value(self, *, scores: np.ndarray, target: np.ndarray) -> float:
        shifted = scores.astype(np.float64)
        shifted -= shifted.max(axis=1, keepdims=True)
        log_total = np.log(np.exp(shifted).sum(axis=1))
        return float(np.mean(log_total - shifted[np.arange(len(target)), target]))

    def in_points(self, figure: Any) -> Any:
        """Hundredths of a nat."""
        return figure * 100.0


@METRICS.register("calibration_error")
class CalibrationError(Metric):
    """How far confidence is from being right: sum over bins of (rows in it / all rows) * |accuracy - mean confidence|.

    Confidence is the largest softmax probability, 0..1, in `num_bins` bins of equal width, open below and closed above. scores
    [n, C] logits, target [n] int64. Source: Guo et al., arXiv:1706.04599, equation 3.
    """

    needs = frozenset({"scores", "target"})
    not_for = frozenset({"multilabel"})
    higher_is_better = False
    best = 0.0

    def __init__(self, *, num_bins: Count = 15) -> None:
        if isinstance(num_bins, bool) or not isinstance(num_bins, int) or num_bins < 1:
            raise ConfigError(f"num_bins must be a whole number of at least 1, found {num_bins!r}.")
        super().__init__()
        self.num_bins = num_bins

    def value(self, *, scores: np.ndarray, target: np.ndarray) -> float:
        wide = scores.astype(np.float64)
        shifted = np.exp(wide - wide.max(axis=1, keepdims=True))
        confidence = 1 / shifted.sum(axis=1)
        right = wide.argmax(axis=1) == target
        place = np.clip(np.ceil(confidence * self.num_bins).astype(np.int64) - 1, 0, self.num_bins - 1)
        gap = np.bincount(place, weights=right - confidence, minlength=self.num_bins)
        return float(np.abs(gap).sum() / len(target))

    def in_points(self, figure: Any) -> Any:
        """Hundredths."""
        return figure * 100.0
