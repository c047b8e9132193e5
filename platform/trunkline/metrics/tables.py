"""What stands behind a figure: which class was taken for which, how sure a model was, which rows it got most wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Records = Mapping[str, np.ndarray]
NUM_BINS = 15


def confusion(records: Records, labels: Sequence[str]) -> dict[str, Any] | None:
    """counts[t][p]: how many targets of label t were taken for p; None where targets are no numbers of labels."""
    prediction, target = records.get("prediction"), records.get("target")
    if prediction is None or target is None or target.dtype.kind != "i" or target.ndim != 1:
        return None
    size = len(labels)
    counts = np.bincount(target * size + prediction, minlength=size * size).reshape(size, size)
    return {"labels": list(labels), "counts": counts.tolist()}


def calibration(records: Records, num_bins: int = NUM_BINS) -> dict[str, Any] | None:
    """How often a model was right where it was so sure: a bin for each range of confidence; None without scores of classes.

    error: sum over bins of (rows in it / all rows) * |accuracy - mean confidence|, as the metric `calibration_error`;
    confidence, accuracy: means over all rows. Source: Guo et al., arXiv:1706.04599, equations 2 and 3.
    """
    scores, target = records.get("scores"), records.get("target")
    if scores is None or target is None or scores.dtype == object or target.ndim != 1 or not len(target):
        return None
    wide = scores.astype(np.float64)
    confidence = 1 / np.exp(wide - wide.max(axis=1, keepdims=True)).sum(axis=1)
    right = (wide.argmax(axis=1) == target).astype(np.float64)
    place = np.clip(np.ceil(confidence * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    bins: list[dict[str, Any]] = []
    for number in np.unique(place).tolist():
        own = place == number
        bins.append(
            {
                "from": number / num_bins,
                "to": (number + 1) / num_bins,
                "rows": int(own.sum()),
                "confidence": float(confidence[own].mean()),
                "accuracy": float(right[own].mean()),
            }
        )
    error = sum(row["rows"] * abs(row["accuracy"] - row["confidence"]) for row in bins) / len(target)
    return {"error": error, "confidence": float(confidence.mean()), "accuracy": float(right.mean()), "bins": bins}


def wrongness(records: Records) -> np.ndarray | None:
    """How wrong each target was [n], by what its records hold: the loss of its class or token, or the distance of its number.

    None for records of another form.
    """
    if (loss := records.get("loss")) is not None:
        return loss.astype(np.float64)
    scores, target = records.get("scores"), records.get("target")
    if scores is not None and target is not None and scores.dtype != object:
        wide = scores.astype(np.float64)
        if target.ndim == 1:
            shifted = wide - wide.max(axis=1, keepdims=True)
            return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(target)), target]
        return (np.logaddexp(0, wide) - wide * target).sum(axis=1)
    prediction = records.get("prediction")
    if prediction is None or target is None:
        return None
    if target.dtype.kind == "f":
        gap = np.abs(prediction.astype(np.float64) - target)
        return gap if gap.ndim == 1 else gap.sum(axis=1)
    return (prediction != target).astype(np.float64)
