"""How a task's error goes with its share of the rows, from a few points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

START = (1.0, 0.3, 0.1, 1.0, 0.05)
LOWER, UPPER = (1e-3, 0.02, 0.0, 0.5, 0.0), (1e4, 2.0, 2.0, 4.0, 2.0)
PRIOR = 0.02  # how strongly parameters hold on to where they start: five of them are fitted to few points


def error(parameters: np.ndarray, share: np.ndarray) -> np.ndarray:
    """(k * p) ** -a + (q * (1 - p)) ** b + m, for shares p in (0, 1].

    Source: the double power law of Chen et al., On the Pareto Front of Multilingual Neural Machine Translation
    (arXiv:2304.03216, equation 2): what a task gains from its own rows, what others' rows cost it, and what stays.
    """
    k, a, q, b, m = parameters
    found: np.ndarray = (k * np.maximum(share, 1e-6)) ** -a + (q * (1 - share)) ** b + m
    return found


def fit(shares: Sequence[float], errors: Sequence[float]) -> np.ndarray:
    """The parameters of least squares, each held weakly where it starts."""
    from scipy.optimize import least_squares

    x, y = np.asarray(shares, float), np.asarray(errors, float)
    start = np.array(START)

    def residuals(parameters: np.ndarray) -> np.ndarray:
        held = PRIOR * (np.log(parameters + 1e-3) - np.log(start + 1e-3))
        return np.concatenate([error(parameters, x) - y, held])

    found: np.ndarray = least_squares(residuals, start, bounds=(LOWER, UPPER)).x
    return found
