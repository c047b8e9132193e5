"""How a task's error goes with its share of the rows, and of the weight, from a few points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

START = (1.0, 0.3, 0.1, 1.0, 0.05, 0.5)
LOWER, UPPER = (1e-3, 0.02, 0.0, 0.5, 0.0, 0.0), (1e4, 2.0, 2.0, 4.0, 2.0, 1.0)
PRIOR = 0.02  # how strongly parameters hold on to where they start: five or six of them are fitted to few points


def error(parameters: np.ndarray, share: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """(k * p) ** -a + (q * (1 - p)) ** b + m, for shares p in (0, 1].

    Source: the double power law of Chen et al., On the Pareto Front of Multilingual Neural Machine Translation
    (arXiv:2304.03216, equation 2): what a task gains from its own rows, what others' rows cost it, and what stays.
    weight: the task's share of the sum of weights; then p is share ** (1 - r) * weight ** r, with a sixth parameter r: 0 where
    rows are all that counts, 1 where weight is. That is ours: the paper has rates alone.
    """
    k, a, q, b, m = parameters[:5]
    p = np.maximum(share, 1e-6)
    if weight is not None:
        p = p ** (1 - parameters[5]) * np.maximum(weight, 1e-6) ** parameters[5]
    found: np.ndarray = (k * p) ** -a + (q * (1 - p)) ** b + m
    return found


def fit(shares: Sequence[float], errors: Sequence[float], weights: Sequence[float] | None = None) -> np.ndarray:
    """The parameters of least squares, each held weakly where it starts; six of them where weights are given."""
    from scipy.optimize import least_squares

    x, y = np.asarray(shares, float), np.asarray(errors, float)
    w = None if weights is None else np.asarray(weights, float)
    number = 5 if w is None else 6
    start = np.array(START[:number])

    def residuals(parameters: np.ndarray) -> np.ndarray:
        held = PRIOR * (np.log(parameters + 1e-3) - np.log(start + 1e-3))
        return np.concatenate([error(parameters, x, w) - y, held])

    found: np.ndarray = least_squares(residuals, start, bounds=(LOWER[:number], UPPER[:number])).x
    return found
