"""How vectors lie in their space: in all directions alike, or in a narrow cone or few dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from trunkline.quality.words import unit


def isotropy(vectors: np.ndarray) -> dict[str, float]:
    """Figures of a set of vectors [n, D].

    partition: min over directions of Z(u) / max of Z(u), Z(u) = sum over vectors of exp(u . v), u the singular vectors and
    their opposites; 1 is the same in all directions. mean_cosine: of two different vectors; 0 is no common direction.
    dimensions: (sum of variances) ** 2 / sum of variances ** 2, along the principal axes; D if all are alike.
    Source: Mu & Viswanath, arXiv:1702.01417, equation 2; Ethayarajh, arXiv:1909.00512, section 3.3; the participation ratio of
    Gao et al. (2017). Vectors are brought to a mean length of 1 first, so that the figures of two models compare.
    """
    wide = vectors.astype(np.float64)
    length = np.linalg.norm(wide, axis=1).mean()
    wide = wide / (length if length > 0 else 1.0)
    _, axes = np.linalg.eigh(wide.T @ wide)
    sums = np.concatenate([np.exp(wide @ axes).sum(axis=0), np.exp(-wide @ axes).sum(axis=0)])
    points = unit(vectors)
    count = len(points)
    total = points.sum(axis=0)
    mean = (float(total @ total) - float((points**2).sum())) / max(count * (count - 1), 1)
    variances = np.maximum(np.linalg.eigvalsh(np.cov(wide, rowvar=False).reshape(wide.shape[1], -1)), 0.0)
    spread = float((variances**2).sum())
    return {
        "partition": float(sums.min() / sums.max()),
        "mean_cosine": mean,
        "dimensions": float(variances.sum() ** 2 / spread) if spread > 0 else 0.0,
    }


def leading(vectors: np.ndarray, dim: int) -> np.ndarray:
    """The first `dim` entries, as a matryoshka loss wants vectors cut."""
    return vectors[:, :dim]


def principal(vectors: np.ndarray, dim: int) -> np.ndarray:
    """The vectors on their `dim` axes of greatest variance [n, dim], the mean kept."""
    wide = vectors.astype(np.float64)
    _, axes = np.linalg.eigh(np.cov(wide, rowvar=False).reshape(wide.shape[1], -1))
    projected: np.ndarray = wide @ axes[:, ::-1][:, :dim]
    return projected


def dims(width: int, least: int = 16) -> list[int]:
    """16, 32, .. and the whole width."""
    found = []
    while least < width:
        found.append(least)
        least *= 2
    return [*found, width]


def dimension_curve(
    vectors: np.ndarray, measure: Callable[[np.ndarray], float], sizes: Sequence[int] | None = None
) -> list[dict[str, float]]:
    """What is left of a figure when vectors [n, D] are cut to d entries: dim, by their `leading` ones, by `principal` axes.

    measure: vectors [n, d] -> a figure. sizes: of d, by default 16, 32, .. D.
    """
    return [
        {"dim": dim, "leading": measure(leading(vectors, dim)), "principal": measure(principal(vectors, dim))}
        for dim in sizes or dims(vectors.shape[1])
    ]


def principal_angles(first: np.ndarray, second: np.ndarray, most: int | None = None) -> np.ndarray:
    """The angles between what two sets of vectors [n, P] and [m, P] span, in radians, the smallest first.

    most: of each set only its best so many directions. Source: Bjorck & Golub, Mathematics of Computation 27 (1973), theorem 1.
    """
    bases = [_basis(own.astype(np.float64), most) for own in (first, second)]
    cosines = np.linalg.svd(bases[0] @ bases[1].T, compute_uv=False)
    angles: np.ndarray = np.arccos(np.clip(cosines, 0.0, 1.0))
    return angles


def shared_part(first: np.ndarray, second: np.ndarray, most: int | None = None) -> float:
    """Mean of cos(angle) ** 2 over the principal angles: 1 where one space holds the other, 0 where they are at right angles."""
    angles = principal_angles(first, second, most)
    return float(np.mean(np.cos(angles) ** 2)) if len(angles) else 0.0


def _basis(vectors: np.ndarray, most: int | None) -> np.ndarray:
    """Rows at right angles that span them, the direction of most first; vectors of length 0 span nothing."""
    _, sizes, axes = np.linalg.svd(vectors, full_matrices=False)
    rank = int((sizes > sizes.max(initial=0.0) * max(vectors.shape) * np.finfo(np.float64).eps).sum())
    kept: np.ndarray = axes[: rank if most is None else min(rank, most)]
    return kept
