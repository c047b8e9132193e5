"""Losses: hand-worked values, one per target, laws, and groups that see no other group."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from trunkline.errors import ConfigError
from trunkline.losses.classification import CrossEntropy, Focal, Hinge
from trunkline.losses.contrastive import InfoNCE
from trunkline.losses.multilabel import Asymmetric, BinaryCrossEntropy, SoftMargin
from trunkline.losses.regression import MAE, MSE, Heteroscedastic, Huber, LogCosh
from trunkline.losses.span import Span
from trunkline.losses.tagging import CRF

LOGITS = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])
LABELS = {"labels": torch.tensor([1, 0])}


def test_cross_entropy_by_hand() -> None:
    # softmax of (0, log 3) is (1/4, 3/4); of (0, 0) it is (1/2, 1/2)
    assert CrossEntropy()(LOGITS, LABELS).tolist() == pytest.approx([-math.log(0.75), math.log(2)])


def test_label_smoothing_by_hand() -> None:
    # e = 0.2, C = 2: 0.9 on the label, 0.1 on the other
    expected = -0.9 * math.log(0.75) - 0.1 * math.log(0.25)
    assert CrossEntropy(label_smoothing=0.2)(LOGITS, LABELS)[0].item() == pytest.approx(expected)


def test_class_weights_by_hand() -> None:
    found = CrossEntropy(class_weights=[3, 0.5])(LOGITS, LABELS)
    assert found.tolist() == pytest.approx([-0.5 * math.log(0.75), 3 * math.log(2)])


def test_class_weights_with_smoothing_are_the_formula_of_the_docstring_and_of_torch() -> None:
    torch.manual_seed(0)
    logits, labels, weight = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([0.5, 2.0, 1.0])
    log_p = logits.log_softmax(-1)
    expected = 0.7 * weight[labels] * -log_p[range(6), labels] + 0.3 / 3 * (weight * -log_p).sum(-1)
    found = CrossEntropy(label_smoothing=0.3, class_weights=[0.5, 2.0, 1.0])(logits, {"labels": labels})
    assert torch.allclose(found, expected, atol=1e-6)


def test_weighted_values_over_the_count_do_not_depend_on_how_rows_are_dealt_and_torchs_mean_does() -> None:
    logits, labels = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.5, 0.0], [0.0, 3.0]]), torch.tensor([0, 1, 1, 0])
    rank_of = [labels == 0, labels == 1]  # each rank holds one class alone
    weights = [9.0, 1.0]
    ours, whole = CrossEntropy(class_weights=weights), torch.nn.CrossEntropyLoss(torch.tensor(weights))
    together = ours(logits, {"labels": labels}).sum() / 4
    apart = sum(ours(logits[mine], {"labels": labels[mine]}).sum() / 4 for mine in rank_of)
    assert apart.item() == pytest.approx(together.item())
    mean_of_means = sum(whole(logits[mine], labels[mine]) for mine in rank_of) / 2
    assert mean_of_means.item() != pytest.approx(whole(logits, labels).item(), rel=0.1)


def test_focal_by_hand_and_without_gamma_it_is_cross_entropy() -> None:
    found = Focal(gamma=2, class_weights=[1, 4])(LOGITS, LABELS)
    assert found.tolist() == pytest.approx([-4 * 0.25**2 * math.log(0.75), 0.5**2 * math.log(2)])
    assert torch.allclose(Focal(gamma=0)(LOGITS, LABELS), CrossEntropy()(LOGITS, LABELS))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("size", [0.0, 30.0, 1000.0])
def test_focal_has_a_finite_gradient_however_sure_the_model_is(gamma: float, size: float) -> None:
    logits = torch.tensor([[size, -size], [-size, size]], requires_grad=True)
    Focal(gamma=gamma)(logits, {"labels": torch.tensor([0, 0])}).sum().backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


def test_hinge_by_hand() -> None:
    scores = torch.tensor([[2.0, 0.5, 1.5], [0.0, 3.0, 1.0]])
    # 1 + 1.5 - 2; the second leads by 2 already
    assert Hinge()(scores, {"labels": torch.tensor([0, 1])}).tolist() == pytest.approx([0.5, 0.0])
    assert Hinge(margin=2.5)(scores, {"labels": torch.tensor([2, 1])}).tolist() == pytest.approx([3.0, 0.5])


def test_binary_cross_entropy_by_hand() -> None:
    # sigmoid(log 3) = 3/4, sigmoid(0) = 1/2; the second class is the right one
    expected = (-math.log(0.5) - math.log(0.75)) / 2
    assert BinaryCrossEntropy()(LOGITS, LABELS)[0].item() == pytest.approx(expected)


SETS = {"label_set": torch.tensor([[0, 1], [0, 0]], dtype=torch.uint8)}


def test_binary_cross_entropy_of_label_sets_by_hand() -> None:
    # row 0: -log 1/2 and -w log 3/4; row 1: -log 1/2 twice
    found = BinaryCrossEntropy(pos_weights=[1, 5])(LOGITS, SETS)
    assert found.tolist() == pytest.approx([(math.log(2) - 5 * math.log(0.75)) / 2, math.log(2)])


def test_one_label_is_a_set_of_one() -> None:
    one_hot = {"label_set": torch.tensor([[0, 1], [1, 0]], dtype=torch.uint8)}
    assert torch.equal(BinaryCrossEntropy()(LOGITS, LABELS), BinaryCrossEntropy()(LOGITS, one_hot))


def test_asymmetric_by_hand() -> None:
    # row 0: absent at p = 1/2, shifted to 0.45, and present at p = 3/4; row 1: absent at p = 1/2 twice
    absent, present = 0.45**4 * -math.log(0.55), 0.25**1 * -math.log(0.75)
    found = Asymmetric(gamma_positive=1, gamma_negative=4, shift=0.05)(LOGITS, SETS)
    assert found.tolist() == pytest.approx([(absent + present) / 2, absent])


def test_asymmetric_without_gammas_and_shift_and_soft_margin_without_margin_are_binary_cross_entropy() -> None:
    torch.manual_seed(1)
    logits, sets = torch.randn(7, 4) * 5, {"label_set": torch.randint(0, 2, (7, 4))}
    expected = BinaryCrossEntropy()(logits, sets)
    assert torch.allclose(Asymmetric(gamma_positive=0, gamma_negative=0, shift=0)(logits, sets), expected, rtol=1e-5)
    assert torch.allclose(SoftMargin()(logits, sets), expected, rtol=1e-5)


def test_asymmetric_ignores_an_absent_class_below_the_shift() -> None:
    logits = torch.tensor([[-4.0]], requires_grad=True)
    value = Asymmetric(shift=0.05)(logits, {"label_set": torch.tensor([[0]])})
    value.sum().backward()
    assert value.item() == 0.0 and logits.grad is not None and logits.grad.item() == 0.0


@pytest.mark.parametrize("settings", [{}, {"shift": 0.0}, {"gamma_positive": 1.0}, {"gamma_negative": 0.0}])
def test_asymmetric_has_a_finite_gradient_however_sure_the_model_is(settings: dict[str, float]) -> None:
    logits = torch.tensor([[-1000.0, -30.0, 0.0, 30.0, 1000.0]] * 2, requires_grad=True)
    value = Asymmetric(**settings)(logits, {"label_set": torch.tensor([[0] * 5, [1] * 5])})
    value.sum().backward()
    assert torch.isfinite(value).all() and logits.grad is not None and torch.isfinite(logits.grad).all()


def test_soft_margin_by_hand() -> None:
    # margin log 2: log(1 + 2) at 0; log(1 + 2/3) for the present one at log 3
    found = SoftMargin(margin=math.log(2))(LOGITS, SETS)
    assert found.tolist() == pytest.approx([(math.log(3) + math.log(5 / 3)) / 2, math.log(3)])


def test_squared_and_absolute_errors_by_hand() -> None:
    outputs, targets = torch.tensor([1.0, -2.0]), {"target": torch.tensor([3.0, -2.5])}
    assert MSE()(outputs, targets).tolist() == [4.0, 0.25]
    assert MAE()(outputs, targets).tolist() == [2.0, 0.5]


def test_huber_by_hand() -> None:
    outputs, targets = torch.tensor([1.0, -2.0]), {"target": torch.tensor([4.0, -2.5])}
    # error 3 beyond delta 2: 2 * (3 - 1); error 1/2 within: 1/8
    assert Huber(delta=2)(outputs, targets).tolist() == [4.0, 0.125]


def test_log_cosh_by_hand_and_far_out() -> None:
    outputs, targets = torch.tensor([math.log(3.0), 0.0, 500.0]), {"target": torch.tensor([0.0, math.log(3.0), -500.0])}
    # cosh(log 3) = (3 + 1/3) / 2
    assert LogCosh()(outputs, targets).tolist() == pytest.approx([math.log(5 / 3)] * 2 + [1000 - math.log(2)])


def test_heteroscedastic_by_hand_and_least_where_the_variance_is_the_squared_error() -> None:
    outputs, targets = torch.tensor([[1.0, math.log(4.0)], [1.0, 0.0]]), {"target": torch.tensor([3.0, 3.0])}
    assert Heteroscedastic()(outputs, targets).tolist() == pytest.approx([(4 / 4 + math.log(4)) / 2, 4 / 2])
    log_var = torch.tensor([math.log(4.0)], requires_grad=True)
    Heteroscedastic()(torch.stack([torch.tensor([1.0]), log_var], -1), {"target": torch.tensor([3.0])}).sum().backward()
    assert log_var.grad is not None and log_var.grad.item() == pytest.approx(0.0, abs=1e-7)


def test_several_numbers_a_row_are_their_mean() -> None:
    torch.manual_seed(0)
    outputs, target = torch.randn(5, 3), torch.randn(5, 3)
    for loss in (MSE(), MAE(), Huber(), LogCosh()):
        single = [loss(outputs[:, column], {"target": target[:, column]}) for column in range(3)]
        assert torch.allclose(loss(outputs, {"target": target}), torch.stack(single).mean(0))
    wide = torch.stack([outputs, outputs.flip(0)], -1)
    assert Heteroscedastic()(wide, {"target": target}).shape == (5,)


def chain(lengths: list[int], labels: int = 3) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Random tables of rows of these lengths, a first word's lines alike."""
    torch.manual_seed(0)
    tables = torch.randn(sum(lengths), labels, labels, dtype=torch.float64)
    place = torch.cat([torch.arange(length) for length in lengths])
    tables[place == 0] = tables[place == 0][:, :1]
    return tables.float(), {"labels": torch.randint(0, labels, (sum(lengths),)), "place": place}


def path_score(tables: torch.Tensor, path: tuple[int, ...]) -> float:
    return sum(float(table[before, own]) for table, before, own in zip(tables, (0, *path), path, strict=False))


def test_a_rows_crf_values_add_up_to_minus_the_log_of_its_share_among_all_paths() -> None:
    lengths = [3, 1, 4]
    tables, targets = chain(lengths)
    found = CRF()(tables, targets).split(lengths)
    for values, own, labels in zip(found, tables.split(lengths), targets["labels"].split(lengths), strict=True):
        paths = itertools.product(range(3), repeat=len(own))
        total = torch.tensor([path_score(own, path) for path in paths]).logsumexp(0)
        assert values.sum().item() == pytest.approx(float(total) - path_score(own, tuple(labels.tolist())), abs=1e-5)
        assert values.min() >= 0


def test_crf_by_hand_on_two_words_of_two_labels() -> None:
    # word 1 is 3 times likelier to stay than to change, both starts are equal: 1/2, then 3/4
    tables = torch.tensor([[[0.0, 0.0], [0.0, 0.0]], [[math.log(3.0), 0.0], [0.0, math.log(3.0)]]])
    targets = {"labels": torch.tensor([1, 1]), "place": torch.tensor([0, 1])}
    assert CRF()(tables, targets).tolist() == pytest.approx([math.log(2), -math.log(0.75)])


def test_a_crf_without_transitions_is_cross_entropy_word_by_word() -> None:
    _, targets = chain([4, 2, 5])
    logits = torch.randn(11, 3)
    found = CRF()(logits[:, None].expand(11, 3, 3), targets)
    assert torch.allclose(found, CrossEntropy()(logits, targets), atol=1e-6)


def test_a_rows_crf_values_do_not_depend_on_the_other_rows() -> None:
    tables, targets = chain([3, 1, 6])
    alone = [
        CRF()(own, {"labels": labels, "place": place})
        for own, labels, place in zip(
            *(value.split([3, 1, 6]) for value in (tables, targets["labels"], targets["place"])), strict=True
        )
    ]
    assert torch.allclose(CRF()(tables, targets), torch.cat(alone), atol=1e-6)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: CrossEntropy(class_weights=[1, -1]), "class_weights: a list of numbers from 0 up"),
        (lambda: CrossEntropy(class_weights=[0, 0]), "class_weights: a list of numbers from 0 up"),
        (lambda: CrossEntropy(class_weights="12"), "class_weights: a list of numbers from 0 up"),
        (lambda: CrossEntropy(class_weights=[1, float("nan")]), "class_weights: a list of numbers from 0 up"),
        (lambda: CrossEntropy(label_smoothing=1.0), "label_smoothing: a number from 0 to below 1 is needed, found 1.0"),
        (lambda: Focal(gamma=-1), "gamma: a number from 0 up"),
        (lambda: Hinge(margin=float("nan")), "margin: a number from 0 up"),
        (lambda: BinaryCrossEntropy(pos_weights=[True]), "pos_weights: a list"),
        (lambda: Asymmetric(gamma_negative=0.5), "gamma_negative: between 0 and 1 the slope is infinite"),
        (lambda: Asymmetric(shift=1), "shift: a number from 0 to below 1"),
        (lambda: SoftMargin(margin="1"), "margin: a number from 0 up"),
        (lambda: Huber(delta=0), "delta: a number above 0"),
        (lambda: CrossEntropy(class_weights=[1, 2]).check({"num_labels": 3}), "2 weights stand there, and the task has 3 labels"),
        (lambda: BinaryCrossEntropy(pos_weights=[1]).check({"num_labels": 3}), "1 weights stand there"),
        (lambda: Focal(class_weights=[1]).check({"vocab_size": 3}), "no labels to weigh"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()


def test_span_by_hand_sums_over_every_place_the_answer_stands_at() -> None:
    # starts: exp is 1, 2, 1, 4 with gold 2 + 4 of 8; ends: 1, 1, 1, 1 with gold 1 of 4. The second row has "no answer" alone.
    outputs = torch.tensor([[1.0, 1], [2, 1], [1, 1], [4, 1], [3, 5]]).log()
    targets = {
        "place": torch.tensor([0, 1, 2, 3, 0]),
        "is_start": torch.tensor([0, 1, 0, 1, 1]),
        "is_end": torch.tensor([0, 0, 1, 0, 1]),
    }
    expected = (-math.log(6 / 8) - math.log(1 / 4)) / 2
    assert Span()(outputs, targets).tolist() == pytest.approx([expected, 0.0], abs=1e-6)


def test_span_with_one_gold_place_each_is_cross_entropy_over_the_rows_places() -> None:
    torch.manual_seed(0)
    sizes, starts, ends = [5, 2, 7], [3, 0, 1], [4, 0, 6]
    outputs = torch.randn(14, 2)
    place = torch.cat([torch.arange(size) for size in sizes])
    marks = [
        torch.cat([F.one_hot(torch.tensor(at), size) for at, size in zip(side, sizes, strict=True)]) for side in (starts, ends)
    ]
    found = Span()(outputs, {"place": place, "is_start": marks[0], "is_end": marks[1]})
    for value, own, start, end in zip(found, outputs.split(sizes), starts, ends, strict=True):
        expected = F.cross_entropy(own.T, torch.tensor([start, end]))
        assert value.item() == pytest.approx(expected.item(), abs=1e-6)


def test_span_has_a_finite_gradient_however_sure_the_model_is() -> None:
    outputs = torch.tensor([[1000.0, -1000], [-1000, 1000], [0, 0], [500, 500]], requires_grad=True)
    targets = {"place": torch.tensor([0, 1, 2, 0])} | {name: torch.tensor([0, 1, 0, 1]) for name in ("is_start", "is_end")}
    value = Span()(outputs, targets)
    value.sum().backward()
    assert torch.isfinite(value).all() and outputs.grad is not None and torch.isfinite(outputs.grad).all()
    assert outputs.grad[3].tolist() == [0.0, 0.0]


def vectors() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.nn.functional.normalize(torch.randn(8, 2, 5), dim=-1)


def test_in_batch_by_hand_on_two_rows() -> None:
    made = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    found = InfoNCE(group=2, temperature=1.0)(made, {"key": torch.tensor([1, 2])})
    assert found.tolist() == pytest.approx([math.log(1 + math.exp(-1))] * 2)


def test_a_group_sees_no_other_group() -> None:
    loss, made, keys = InfoNCE(group=4), vectors(), {"key": torch.arange(8)}
    changed = made.clone()
    changed[4:] = changed[4:].flip(0)
    assert torch.equal(loss(made, keys)[:4], loss(changed, keys)[:4])
    assert torch.allclose(loss(made, keys)[:4], loss(made[:4], {"key": torch.arange(4)}))


def test_a_candidate_with_the_same_text_is_no_negative() -> None:
    made = vectors()[:4]
    twin = {"key": torch.tensor([7, 1, 2, 7])}
    rivals = InfoNCE(group=3, temperature=0.05)(made[:3], {"key": torch.arange(3)})
    assert InfoNCE(group=4)(made, twin)[0].item() == pytest.approx(rivals[0].item(), rel=1e-5)
    assert torch.isfinite(InfoNCE(group=4)(made, {"key": torch.zeros(4, dtype=torch.long)})).all()
