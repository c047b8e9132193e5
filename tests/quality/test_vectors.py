"""Clusters, probes and geometry of vectors, against scikit-learn and by what they must be."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import homogeneity_completeness_v_measure

from trunkline.quality.clusters import kmeans, v_measure
from trunkline.quality.geometry import dimension_curve, dims, isotropy, principal
from trunkline.quality.probes import probe
from trunkline.quality.words import unit


def blobs(spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 4, 200)
    return (rng.normal(size=(4, 10))[label] * 3 + spread * rng.normal(size=(200, 10))).astype(np.float32), label


@pytest.mark.parametrize("case", ["random", "one cluster", "one label", "perfect"])
def test_the_v_measure_is_scikit_learn_s(case: str) -> None:
    rng = np.random.default_rng(2)
    label, cluster = rng.integers(0, 4, 90), rng.integers(0, 6, 90)
    cluster = {"one cluster": np.zeros(90, int), "perfect": label + 3}.get(case, cluster)
    label = np.zeros(90, int) if case == "one label" else label
    found = v_measure(label, cluster)
    assert [found[key] for key in ("homogeneity", "completeness", "v_measure")] == pytest.approx(
        homogeneity_completeness_v_measure(label, cluster), abs=1e-9
    )


def test_groups_that_lie_apart_are_found_and_k_means_is_as_good_as_scikit_learn_s() -> None:
    vectors, label = blobs(0.2)
    assert v_measure(label, kmeans(vectors, 4))["v_measure"] > 0.99
    loose, label = blobs(4.0)
    points = unit(loose)
    own = kmeans(loose, 4, starts=8)
    centres = np.stack([points[own == c].mean(0) for c in range(4)])
    inertia = float(((points - centres[own]) ** 2).sum())
    assert inertia <= 1.02 * KMeans(4, n_init=8, random_state=0).fit(points).inertia_
    assert v_measure(label, np.random.default_rng(0).permutation(own))["v_measure"] < 0.1


def test_a_probe_is_scikit_learn_s_logistic_regression() -> None:
    vectors, label = blobs(5.0)
    logits = probe(vectors[:150], label[:150], vectors[150:], num_labels=4, decay=1e-2)
    scaled = (vectors - vectors[:150].mean(0)) / vectors[:150].std(0)
    theirs = LogisticRegression(C=1 / (1e-2 * 150), tol=1e-8, max_iter=2000).fit(scaled[:150], label[:150])
    share = np.exp(logits - logits.max(1, keepdims=True))
    assert share / share.sum(1, keepdims=True) == pytest.approx(theirs.predict_proba(scaled[150:]), abs=2e-3)


def test_a_probe_finds_nothing_in_noise() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 4, 400)
    logits = probe(rng.normal(size=(300, 5)), label[:300], rng.normal(size=(100, 5)), num_labels=4)
    assert abs(np.mean(logits.argmax(1) == label[300:]) - 0.25) < 0.12


def test_vectors_in_all_directions_are_isotropic_and_a_cone_is_not() -> None:
    rng = np.random.default_rng(0)
    even = rng.normal(size=(4000, 6))
    round_, cone = isotropy(even), isotropy(even * 0.2 + np.eye(6)[0] * 3)
    assert round_["partition"] > 0.9 and abs(round_["mean_cosine"]) < 0.02 and round_["dimensions"] == pytest.approx(6, abs=0.1)
    assert cone["partition"] < 0.3 and cone["mean_cosine"] > 0.9
    flat = isotropy(even * np.array([1, 1, 1e-3, 1e-3, 1e-3, 1e-3]))
    assert flat["dimensions"] == pytest.approx(2, abs=0.05)


def test_mean_cosine_is_the_mean_over_pairs() -> None:
    vectors = np.random.default_rng(3).normal(size=(30, 5))
    near = unit(vectors) @ unit(vectors).T
    assert isotropy(vectors)["mean_cosine"] == pytest.approx(near[np.triu_indices(30, 1)].mean())


def test_the_curve_ends_at_the_whole_vectors_and_principal_axes_keep_what_leading_entries_lose() -> None:
    rng = np.random.default_rng(1)
    hidden = rng.normal(size=(300, 2))
    vectors = np.concatenate([0.01 * rng.normal(size=(300, 16)), np.repeat(hidden, 8, axis=1)], axis=1)  # all of it at the end
    near = hidden @ hidden.T

    def kept(cut: np.ndarray) -> float:
        return float(np.corrcoef((cut @ cut.T).ravel(), near.ravel())[0, 1])

    curve = dimension_curve(vectors, kept)
    assert [point["dim"] for point in curve] == dims(32) == [16, 32]
    assert curve[0]["principal"] > 0.99 > 0.5 > curve[0]["leading"]
    assert curve[1]["leading"] == pytest.approx(curve[1]["principal"], abs=1e-6) and dims(50) == [16, 32, 50] and dims(8) == [8]
    assert principal(vectors, 3).shape == (300, 3)
