"""The figures of who pulls against whom."""

from __future__ import annotations

import pytest
import torch

from trunkline.training.interference import Interference


def shown(*stacks: list[list[float]]) -> Interference:
    interference = Interference(["a", "b", "c", "d"])
    for stack in stacks:
        gradients = torch.tensor(stack, dtype=torch.float64)
        interference.see(gradients @ gradients.T)
    return interference


def test_opposed_tasks_are_at_minus_1_duplicates_at_1_and_strangers_at_0() -> None:
    figures = shown([[2, 0], [-1, 0], [0, 3], [0, 4]]).read()
    assert figures["grad/cosine/a/b"] == pytest.approx(-1)
    assert figures["grad/cosine/c/d"] == pytest.approx(1)
    assert figures["grad/cosine/a/c"] == 0
    assert figures["grad/conflict"] == pytest.approx(1 / 6)
    assert [figures[f"grad/norm_share/{task}"] for task in "abcd"] == pytest.approx([0.2, 0.1, 0.3, 0.4])


def test_means_are_over_the_steps_that_had_both_tasks_since_the_last_reading() -> None:
    interference = shown([[1, 0], [1, 0], [0, 0], [0, 0]], [[1, 0], [0, 1], [0, 0], [0, 0]], [[1, 0], [0, 0], [0, 1], [0, 0]])
    figures = interference.read()
    assert figures["grad/cosine/a/b"] == pytest.approx(0.5)
    assert "grad/cosine/a/d" not in figures and "grad/norm_share/d" not in figures
    assert interference.read() == {}


def test_a_gradient_that_is_no_number_is_left_out() -> None:
    figures = shown([[float("nan"), 0], [1, 0], [2, 0], [0, 0]]).read()
    assert set(figures) == {"grad/cosine/b/c", "grad/norm_share/b", "grad/norm_share/c", "grad/conflict"}
