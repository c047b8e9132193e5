"""Metrics of language modelling."""

from __future__ import annotations

from typing import Any

import numpy as np

from trunkline.metrics.base import Metric
from trunkline.metrics.classification import Accuracy
from trunkline.registry import METRICS


@METRICS.register("perplexity")
class Perplexity(Metric):
    """exp of the mean loss per predicted token; infinite where that passes float64. loss [n] float32, in nats."""

    needs = frozenset({"loss"})
    higher_is_better = False

    def value(self, *, loss: np.ndarray) -> float:
        with np.errstate(over="ignore"):
            return float(np.exp(np.mean(loss.astype(np.float64))))

    def in_points(self, figure: Any) -> Any:
        """Hundredths of a nat, so that a point is about a hundredth of it, whatever its size."""
        return 100 * np.log(figure)


@METRICS.register("masked_accuracy")
class MaskedAccuracy(Accuracy):
    """Share of masked tokens predicted right. prediction, target [n] int64."""

    not_for = frozenset(
        {"classification", "tagging", "regression", "multilabel", "causal_language", "bilm", "replaced_token", "contrastive"}
    )
