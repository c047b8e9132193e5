"""Metrics of how well scores put the rows that have a label above those that do not."""

from __future__ import annotations

import numpy as np

from trunkline.metrics.base import Metric
from trunkline.registry import METRICS


def _by_label(scores: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores [C, n] float64 that compare between rows, and truth [C, n] bool.

    target [n, C] of 0 and 1: the logits as they are. target [n] int64: the log-probabilities of each class against the others.
    """
    wide = scores.astype(np.float64)
    if target.ndim == 2:
        return wide.T, target.astype(np.bool_).T
    shifted = wide - wide.max(axis=1, keepdims=True)
    logged = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logged.T, target == np.arange(scores.shape[1])[:, None]


@METRICS.register("auroc")
class Auroc(Metric):
    """Chance that a row with the label scores above one without it, ties half: the mean over labels, each against the rest.

    Of two classes both have the same figure, the area under the ROC curve. Labels that all rows of the split have, or none, are
    left out; 1/2 where none is left. scores [n, C] logits; target [n] int64, or [n, C] of 0 and 1.
    Source: Mann-Whitney, see Fawcett, Pattern Recognition Letters 27 (2006), section 7.
    """

    needs = frozenset({"scores", "target"})

    def value(self, *, scores: np.ndarray, target: np.ndarray) -> float:
        from scipy.stats import rankdata

        figures = []
        for score, truth in zip(*_by_label(scores, target), strict=True):
            have, lack = int(truth.sum()), int((~truth).sum())
            if have and lack:
                above = rankdata(score)[truth].sum() - have * (have + 1) / 2
                figures.append(above / (have * lack))
        return float(np.mean(figures)) if figures else 0.5


@METRICS.register("mean_average_precision")
class MeanAveragePrecision(Metric):
    """Mean over labels of the average precision: sum over distinct scores of precision * gain in recall, rows by falling score.

    Rows that tie come together. Labels that no row has are left out; 0 where none is left. scores [n, C] logits; target [n, C] of
    0 and 1, or [n] int64. Source: as scikit-learn's average_precision_score, without interpolation.
    """

    needs = frozenset({"scores", "target"})

    def value(self, *, scores: np.ndarray, target: np.ndarray) -> float:
        figures = [_precision(score, truth) for score, truth in zip(*_by_label(scores, target), strict=True) if truth.any()]
        return float(np.mean(figures)) if figures else 0.0


def _precision(score: np.ndarray, truth: np.ndarray) -> float:
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))  # of the rows that tie
    found = np.cumsum(truth[order])[last]
    return float(np.sum(found / (last + 1) * np.diff(found, prepend=0)) / truth.sum())
