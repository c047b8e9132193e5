"""Principal angles between what sets of vectors span: scipy's, whatever vectors span them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import subspace_angles

from trunkline.quality.geometry import principal_angles, shared_part

RNG = np.random.default_rng(3)


def test_the_angles_are_scipy_s() -> None:
    first, second = RNG.normal(size=(4, 30)), RNG.normal(size=(6, 30))
    assert principal_angles(first, second) == pytest.approx(np.sort(subspace_angles(first.T, second.T)))


def test_a_plane_and_a_line_by_hand() -> None:
    plane, line = np.array([[1.0, 0, 0], [0, 1, 0]]), np.array([[1.0, 0, 1]])
    assert principal_angles(plane, line) == pytest.approx([np.pi / 4])
    assert shared_part(plane, line) == pytest.approx(0.5)


def test_only_what_is_spanned_counts_not_by_which_vectors() -> None:
    first, second = RNG.normal(size=(3, 20)), RNG.normal(size=(3, 20))
    mixed = RNG.normal(size=(5, 3)) @ first
    assert shared_part(mixed, second) == pytest.approx(shared_part(first, second))
    assert shared_part(first, -first) == pytest.approx(1) and shared_part(first, second) < 0.6


def test_of_each_set_only_its_best_directions_and_of_nothing_no_part() -> None:
    strong, weak = np.eye(6)[:2] * 10, np.eye(6)[2:4] * 0.1
    both = np.concatenate([strong, weak])
    assert shared_part(both, weak, most=2) == pytest.approx(0) and shared_part(both, weak) == pytest.approx(1)
    assert shared_part(np.zeros((2, 6)), strong) == 0.0
