"""Metrics of language modelling."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trunkline.metrics.language import MaskedAccuracy, Perplexity


def test_perplexity_of_a_uniform_guess_is_the_number_of_choices() -> None:
    metric = Perplexity()
    metric.update(np.arange(5), loss=np.full(5, math.log(300), np.float32))
    assert metric.compute() == pytest.approx(300, rel=1e-6)


def test_perplexity_is_of_the_mean_over_tokens_and_not_over_rows() -> None:
    metric = Perplexity()
    metric.update(np.array([0, 0, 0, 1]), loss=np.array([0, 0, 0, 4], np.float32))
    assert metric.compute() == pytest.approx(math.e)


def test_perplexity_of_a_hopeless_model_is_infinite_and_not_an_error() -> None:
    metric = Perplexity()
    metric.update(np.arange(2), loss=np.array([1e4, 1e4], np.float32))
    assert metric.compute() == math.inf


def test_masked_accuracy_is_the_share_of_right_tokens() -> None:
    metric = MaskedAccuracy()
    metric.update(np.array([0, 0, 4]), prediction=np.array([5, 6, 7]), target=np.array([5, 6, 8]), loss=np.zeros(3))
    assert metric.compute() == pytest.approx(2 / 3)
