"""How much of the variance of vectors a smaller width keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trunkline.errors import ConfigError


def kept_variance(values: np.ndarray, widths: Sequence[int]) -> dict[int, float]:
    """For each width d, the share of the variance of `values` [V, E] that the best d directions keep, 0..1.

        share(d) = sum of the d largest eigenvalues of the covariance / sum of all

    A table cut to d entries keeps at most that, and exactly that after a rotation to its principal components. Vectors that are
    all one have no variance, of which every width keeps all. Source: Pearson, Philosophical Magazine 2 (1901). Raises
    ConfigError for a width that is none, or more than E.
    """
    size = values.shape[1]
    for width in widths:
        if isinstance(width, bool) or not isinstance(width, int) or not 1 <= width <= size:
            raise ConfigError(f"widths: whole numbers from 1 to the vectors' own {size} are needed, found {width!r}.")
    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    spread = np.linalg.eigvalsh(centred.T @ centred)[::-1].clip(min=0)
    total = spread.sum()
    shares = np.cumsum(spread) / total if total > 0 else np.ones(size)
    return {width: float(shares[width - 1]) for width in widths}


def halvings(size: int) -> list[int]:
    """E, E / 2, E / 4, .. down to at least 2, smallest first: what is looked at if nothing is said."""
    widths = [size]
    while widths[0] >= 4:
        widths.insert(0, widths[0] // 2)
    return widths
