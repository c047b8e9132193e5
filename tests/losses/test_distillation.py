"""Distillation: values by hand, and the laws of Hinton et al."""

from __future__ import annotations

import math

import pytest
import torch

from trunkline.errors import ConfigError
from trunkline.losses.classification import CrossEntropy
from trunkline.losses.distillation import Distillation
from trunkline.losses.regression import Huber
from trunkline.registry import LOSSES

LOGITS = torch.tensor([[0.0, math.log(3.0)]])
EVEN = torch.tensor([[0.0, 0.0]])


def test_the_divergence_from_an_even_teacher_by_hand() -> None:
    # at temperature 1 the student is (1/4, 3/4): KL = (log 2 + log 2/3) / 2; cross entropy of label 1 is log 4/3
    targets = {"labels": torch.tensor([1]), "teacher": EVEN}
    divergence = (math.log(2) + math.log(2 / 3)) / 2
    found = Distillation(share=0.25, temperature=1.0)(LOGITS, targets)
    assert found.tolist() == pytest.approx([0.75 * math.log(4 / 3) + 0.25 * divergence])


def test_temperature_softens_both_and_is_squared_before_the_share() -> None:
    # at temperature 2 the student is (1, sqrt 3) / (1 + sqrt 3)
    root = math.sqrt(3)
    p = [1 / (1 + root), root / (1 + root)]
    divergence = -(math.log(2 * p[0]) + math.log(2 * p[1])) / 2
    found = Distillation(share=1.0, temperature=2.0)(LOGITS, {"labels": torch.tensor([0]), "teacher": EVEN})
    assert found.tolist() == pytest.approx([4 * divergence], rel=1e-5)


def test_numbers_and_label_sets_by_hand() -> None:
    outputs = torch.tensor([3.0])
    targets = {"target": torch.tensor([1.0]), "teacher": torch.tensor([2.0])}
    assert Distillation(share=0.25)(outputs, targets).tolist() == pytest.approx([0.75 * 4 + 0.25 * 1])
    assert Distillation(share=0.5, of={"kind": "huber", "delta": 1.0})(outputs, targets).tolist() == pytest.approx([0.75 + 0.5])
    # one label: the student's sigmoid is 3/4, the teacher's 1/2, as in the even teacher of two classes
    found = Distillation(share=1.0, temperature=1.0)(
        torch.tensor([[math.log(3.0)]]), {"label_set": torch.tensor([[1]]), "teacher": torch.tensor([[0.0]])}
    )
    assert found.tolist() == pytest.approx([(math.log(2) + math.log(2 / 3)) / 2])


def test_a_student_that_says_what_its_teacher_does_loses_nothing() -> None:
    torch.manual_seed(0)
    scores = torch.randn(5, 4)
    for kind, own in (
        ("labels", torch.zeros(5, dtype=torch.long)),
        ("label_set", torch.zeros(5, 4)),
        ("target", torch.zeros(5, 4)),
    ):
        assert Distillation(share=1.0)(scores, {kind: own, "teacher": scores}).tolist() == pytest.approx([0.0] * 5, abs=1e-6)
        assert (Distillation(share=1.0)(scores, {kind: own, "teacher": scores.roll(1, 1)}) > 1e-3).all()


def test_a_certain_teacher_is_its_label_and_share_zero_is_the_own_loss() -> None:
    torch.manual_seed(0)
    scores, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    certain = torch.nn.functional.one_hot(labels, 3) * 100.0
    own = CrossEntropy()(scores, {"labels": labels})
    targets = {"labels": labels, "teacher": certain}
    assert torch.allclose(Distillation(share=1.0, temperature=1.0)(scores, targets), own, atol=1e-5)
    assert torch.equal(Distillation(share=0.0)(scores, targets), own)


def test_the_gradient_keeps_its_size_when_the_temperature_grows() -> None:
    # Hinton et al., section 2: scaled by the squared temperature, the gradient at high temperatures is (z - v) / C
    student, teacher = torch.tensor([[0.5, -0.5, 0.0]], requires_grad=True), torch.tensor([[-1.0, 1.0, 0.0]])
    targets = {"labels": torch.tensor([0]), "teacher": teacher}
    (gradient,) = torch.autograd.grad(Distillation(share=1.0, temperature=500.0)(student, targets).sum(), student)
    assert torch.allclose(gradient, (student.detach() - teacher) / 3, atol=1e-2)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"share": 1.5}, "share: a number from 0"),
        ({"temperature": 0}, "temperature: a number from 0.001 up"),
        ({"of": "distillation"}, "of: the name of another loss is needed, found 'distillation'"),
        ({"of": "heteroscedastic"}, "of: loss 'heteroscedastic' changes the head's outputs"),
        ({"of": {"kind": "focal", "gama": 1}}, "of: loss 'focal' takes no 'gama'. Did you mean 'gamma'?"),
        ({"of": "fokal"}, "no loss named 'fokal'. Did you mean 'focal'?"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LOSSES.get("distillation")(**given)
    assert said in str(caught.value)


def test_its_own_loss_must_fit_the_rows_too() -> None:
    assert Distillation.fits({"teacher", "labels"}) and not Distillation.fits({"labels"})
    assert list(Distillation().applied) == [] and list(Distillation(of={"kind": "huber"}).applied) == ["huber"]
    assert isinstance(Distillation(of={"kind": "huber", "delta": 2.0}).own, Huber)
