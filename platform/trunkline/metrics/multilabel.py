"""Metrics of sets of labels."""

from __future__ import annotations

import numpy as np

from trunkline.metrics.base import Metric
from trunkline.registry import METRICS


@METRICS.register("jaccard")
class Jaccard(Metric):
    """Mean over rows of |predicted and true| / |predicted or true|; 1 where a row has none of either.

    prediction, target [n, C] of 0 and 1. Source: Godbole & Sarawagi, PAKDD 2004, section 4 (there called accuracy).
    """

    needs = frozenset({"prediction", "target"})
    not_for = frozenset(
        {"classification", "tagging", "regression", "masked_language", "causal_language", "bilm", "replaced_token"}
    )

    def value(self, *, prediction: np.ndarray, target: np.ndarray) -> float:
        guessed, wanted = prediction.astype(np.bool_), target.astype(np.bool_)
        both, either = (guessed & wanted).sum(-1), (guessed | wanted).sum(-1)
        return float(np.mean(np.where(either > 0, both / np.maximum(either, 1), 1.0)))
