"""Losses: hand-worked values, one per target, and groups that see no other group."""

from __future__ import annotations

import math

import pytest
import torch

from trunkline.losses.classification import BinaryCrossEntropy, CrossEntropy
from trunkline.losses.ranking import InBatch
from trunkline.losses.regression import MAE, MSE

LOGITS = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])
LABELS = {"labels": torch.tensor([1, 0])}


def test_cross_entropy_by_hand() -> None:
    # softmax of (0, log 3) is (1/4, 3/4); of (0, 0) it is (1/2, 1/2)
    assert CrossEntropy()(LOGITS, LABELS).tolist() == pytest.approx([-math.log(0.75), math.log(2)])


def test_label_smoothing_by_hand() -> None:
    # e = 0.2, C = 2: 0.9 on the label, 0.1 on the other
    expected = -0.9 * math.log(0.75) - 0.1 * math.log(0.25)
    assert CrossEntropy(label_smoothing=0.2)(LOGITS, LABELS)[0].item() == pytest.approx(expected)


def test_binary_cross_entropy_by_hand() -> None:
    # sigmoid(log 3) = 3/4, sigmoid(0) = 1/2; the second class is the right one
    expected = (-math.log(0.5) - math.log(0.75)) / 2
    assert BinaryCrossEntropy()(LOGITS, LABELS)[0].item() == pytest.approx(expected)


def test_squared_and_absolute_errors_by_hand() -> None:
    outputs, targets = torch.tensor([1.0, -2.0]), {"target": torch.tensor([3.0, -2.5])}
    assert MSE()(outputs, targets).tolist() == [4.0, 0.25]
    assert MAE()(outputs, targets).tolist() == [2.0, 0.5]


def vectors() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.nn.functional.normalize(torch.randn(8, 2, 5), dim=-1)


def test_in_batch_by_hand_on_two_rows() -> None:
    made = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    found = InBatch(group=2, temperature=1.0)(made, {"key": torch.tensor([1, 2])})
    assert found.tolist() == pytest.approx([math.log(1 + math.exp(-1))] * 2)


def test_a_group_sees_no_other_group() -> None:
    loss, made, keys = InBatch(group=4), vectors(), {"key": torch.arange(8)}
    changed = made.clone()
    changed[4:] = changed[4:].flip(0)
    assert torch.equal(loss(made, keys)[:4], loss(changed, keys)[:4])
    assert torch.allclose(loss(made, keys)[:4], loss(made[:4], {"key": torch.arange(4)}))


def test_a_candidate_with_the_same_text_is_no_negative() -> None:
    made = vectors()[:4]
    twin = {"key": torch.tensor([7, 1, 2, 7])}
    rivals = InBatch(group=3, temperature=0.05)(made[:3], {"key": torch.arange(3)})
    assert InBatch(group=4)(made, twin)[0].item() == pytest.approx(rivals[0].item(), rel=1e-5)
    assert torch.isfinite(InBatch(group=4)(made, {"key": torch.zeros(4, dtype=torch.long)})).all()
