"""Numbers in a column: one a row, or a list of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trunkline.data.encoding.base import Where, refuse

LEAST = 1e-12  # a probability of 0 would be a score of minus infinity


def number(value: Any) -> float:
    """A number, or text that reads as one; everything else is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return float("nan")
    try:
        return float(value)
    except (ValueError, OverflowError):
        return float("nan")


def score_lists(column: str, values: Sequence[Any], size: int, where: Where, *, probabilities: bool) -> np.ndarray:
    """Lists of `size` finite numbers (or text with spaces or commas between), float64 [n, size].

    Raises DataError that shows the first values that are none, or no numbers from 0 to 1 where probabilities are told.
    """
    lists = [value.replace(",", " ").split() if isinstance(value, str) else value for value in values]
    bad = [row for row, own in enumerate(lists) if not isinstance(own, list | tuple) or len(own) != size]
    if bad:
        refuse(column, f"has values that are no list of {size} scores, one for each label", bad, values, where)
    scores = np.array([[number(item) for item in own] for own in lists], np.float64).reshape(len(lists), size)
    with np.errstate(invalid="ignore"):
        fine = (scores >= 0) & (scores <= 1) if probabilities else np.abs(scores) <= np.finfo(np.float32).max
    bad = np.flatnonzero(~fine.all(1)).tolist()
    if bad:
        wanted = "probabilities from 0 to 1" if probabilities else "finite numbers"
        refuse(column, f"has scores that are no {wanted}", bad, values, where, "Mend them, or say teacher.form.")
    return scores
