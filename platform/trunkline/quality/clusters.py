"""Do vectors fall into the groups that labels say? K-means on the sphere and the V-measure."""

from __future__ import annotations

import numpy as np

from trunkline.quality.words import unit

ROUNDS = 100


def kmeans(vectors: np.ndarray, num_clusters: int, *, seed: int = 0, starts: int = 4) -> np.ndarray:
    """The cluster of each vector [n], of unit vectors; the best of several starts by the sum of squared distances.

    Source: Lloyd, IEEE Trans. Information Theory 28 (1982); starts by k-means++, Arthur & Vassilvitskii, SODA 2007.
    """
    points = unit(vectors)
    chance = np.random.default_rng(seed)
    runs = [_run(points, _start(points, min(num_clusters, len(points)), chance)) for _ in range(starts)]
    return min(runs, key=lambda run: run[1])[0]


def _squared(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    found = (points**2).sum(1)[:, None] + (centres**2).sum(1) - 2 * points @ centres.T
    return np.maximum(found, 0.0)


def _start(points: np.ndarray, count: int, chance: np.random.Generator) -> np.ndarray:
    chosen = [int(chance.integers(len(points)))]
    nearest = _squared(points, points[chosen])[:, 0]
    while len(chosen) < count:
        total = nearest.sum()
        shares = nearest / total if total > 0 else np.full(len(points), 1 / len(points))
        chosen.append(int(chance.choice(len(points), p=shares)))
        nearest = np.minimum(nearest, _squared(points, points[chosen[-1:]])[:, 0])
    return points[chosen]


def _run(points: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, float]:
    own = np.full(len(points), -1)
    for _ in range(ROUNDS):
        distance = _squared(points, centres)
        now = distance.argmin(axis=1)
        if np.array_equal(now, own):
            break
        own = now
        counts = np.bincount(own, minlength=len(centres))
        sums = np.zeros_like(centres)
        np.add.at(sums, own, points)
        centres = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres)
    return own, float(_squared(points, centres)[np.arange(len(points)), own].sum())


def v_measure(labels: np.ndarray, clusters: np.ndarray) -> dict[str, float]:
    """v_measure, the harmonic mean of homogeneity (a cluster has one label) and completeness (a label one cluster), 0..1.

    labels, clusters [n]. Source: Rosenberg & Hirschberg, EMNLP 2007, with beta = 1.
    """
    _, label = np.unique(labels, return_inverse=True)
    _, cluster = np.unique(clusters, return_inverse=True)
    joint = np.zeros((label.max() + 1, cluster.max() + 1))
    np.add.at(joint, (label, cluster), 1 / len(labels))
    both = joint[joint > 0]
    entropy = -float((both * np.log(both)).sum())
    of_labels, of_clusters = (_entropy(joint.sum(axis=axis)) for axis in (1, 0))
    homogeneity = 1.0 if of_labels == 0 else 1 - (entropy - of_clusters) / of_labels
    completeness = 1.0 if of_clusters == 0 else 1 - (entropy - of_labels) / of_clusters
    total = homogeneity + completeness
    return {
        "v_measure": 2 * homogeneity * completeness / total if total > 0 else 0.0,
        "homogeneity": homogeneity,
        "completeness": completeness,
    }


def _entropy(shares: np.ndarray) -> float:
    known = shares[shares > 0]
    return -float((known * np.log(known)).sum())
