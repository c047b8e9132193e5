"""Losses over texts that belong together: hand-worked values, groups that see no other group, and what is no wrong answer."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from trunkline.errors import ConfigError
from trunkline.losses.base import Loss
from trunkline.losses.contrastive import CoSENT, Cosine, InfoNCE, Matryoshka, Triplet

X, Y, Z = torch.eye(3).unbind()


def targets(vectors: list[int], **more: Tensor) -> dict[str, Tensor]:
    return {"vectors": torch.tensor(vectors), **more}


def random_rows(count: int = 8, texts: int = 2) -> Tensor:
    torch.manual_seed(0)
    return torch.nn.functional.normalize(torch.randn(count * texts, 5), dim=-1)


def pairs(keys: list[int]) -> dict[str, Tensor]:
    return targets([2] * len(keys), key=torch.tensor(keys))


def test_infonce_by_hand_on_two_rows() -> None:
    found = InfoNCE(group=2, temperature=1.0)(torch.stack([X, X, Y, Y]), pairs([1, 2]))
    assert found.tolist() == pytest.approx([math.log(1 + math.exp(-1))] * 2)


def test_infonce_by_hand_with_a_hard_negative_of_another_row() -> None:
    # row 0: anchor X, positive X; row 1: anchor Y, positive Y, negative X. At temperature 1 each text scores 1 or 0.
    given = targets([2, 3], key=torch.tensor([1, 2]), negative_key=torch.tensor([3]))
    found = InfoNCE(group=2, temperature=1.0)(torch.stack([X, X, Y, Y, X]), given)
    e = math.e
    assert found.tolist() == pytest.approx([-math.log(e / (2 * e + 1)), -math.log(e / (e + 2))])


def test_symmetric_infonce_by_hand() -> None:
    # row 0: X and X; row 1: X and Y. Forth: (1, 0) and (1, 0); back: (1, 1) and (0, 0).
    found = InfoNCE(group=2, temperature=1.0, symmetric=True)(torch.stack([X, X, X, Y]), pairs([1, 2]))
    forth = [math.log(1 + math.exp(-1)), math.log(1 + math.e)]
    assert found.tolist() == pytest.approx([(value + math.log(2)) / 2 for value in forth])


@pytest.mark.parametrize("symmetric", [False, True])
def test_two_answers_to_one_question_are_not_held_against_each_other(symmetric: bool) -> None:
    loss, rows = InfoNCE(group=2, temperature=1.0, symmetric=symmetric), torch.stack([X, X, X, X])
    asked_once = {**pairs([1, 2]), "query_key": torch.tensor([5, 5])}
    assert loss(rows, asked_once).tolist() == [0.0, 0.0]
    asked_apart = {**pairs([1, 2]), "query_key": torch.tensor([5, 6])}
    assert loss(rows, asked_apart).tolist() == pytest.approx([math.log(2)] * 2)


def test_a_group_sees_no_other_group() -> None:
    loss, made, keys = InfoNCE(group=4), random_rows(), pairs(list(range(8)))
    changed = made.clone()
    changed[8:] = changed[8:].flip(0)
    assert torch.equal(loss(made, keys)[:4], loss(changed, keys)[:4])
    assert torch.allclose(loss(made, keys)[:4], loss(made[:8], pairs([0, 1, 2, 3])))


def test_hard_negatives_are_those_of_the_own_group_alone() -> None:
    loss, made = InfoNCE(group=2, temperature=1.0), random_rows(4, 3)
    given = targets([3] * 4, key=torch.arange(4), negative_key=torch.arange(10, 14))
    changed = made.clone()
    changed[11] *= -1  # the negative of the last row
    moved = (loss(made, given) - loss(changed, given)).abs() > 1e-4
    assert moved.tolist() == [False, False, True, True]


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_text_like_the_rows_own_positive_is_no_negative(symmetric: bool) -> None:
    made = random_rows()[:8]
    loss = [InfoNCE(group=size, symmetric=symmetric) for size in (3, 4)]
    rivals = loss[0](made[:6], pairs([0, 1, 2]))
    assert loss[1](made, pairs([7, 1, 2, 7]))[0].item() == pytest.approx(rivals[0].item(), rel=1e-5)
    assert torch.isfinite(loss[1](made, pairs([0] * 4))).all()


def test_a_negative_like_the_rows_own_positive_is_none() -> None:
    made = random_rows(4, 3)
    without = [n for n in range(12) if n != 2]
    given = targets([3] * 4, key=torch.arange(4), negative_key=torch.tensor([0, 11, 12, 13]))
    fewer = targets([2, 3, 3, 3], key=torch.arange(4), negative_key=torch.tensor([11, 12, 13]))
    assert InfoNCE(group=4)(made, given)[0].item() == pytest.approx(InfoNCE(group=4)(made[without], fewer)[0].item())


def test_the_value_of_infonce_does_not_depend_on_the_order_of_the_group() -> None:
    made, order = random_rows(4, 3).unflatten(0, (4, 3)), torch.tensor([2, 0, 3, 1])
    keys, wrong = torch.tensor([5, 6, 5, 8]), torch.tensor([5, 8, 9, 5])
    first = InfoNCE(group=4)(made.flatten(0, 1), targets([3] * 4, key=keys, negative_key=wrong))
    moved = InfoNCE(group=4)(made[order].flatten(0, 1), targets([3] * 4, key=keys[order], negative_key=wrong[order]))
    assert torch.allclose(first[order], moved)


def test_cosine_by_hand() -> None:
    half = (X + Y) / math.sqrt(2)
    # a pair alone; a positive at 1 - sqrt(1/2) and negatives of cosine 0 and sqrt(1/2) above a margin of 1/2
    rows = torch.stack([X, Y, X, half, Z, half])
    found = Cosine(margin=0.5)(rows, targets([2, 4]))
    near = math.sqrt(0.5)
    assert found.tolist() == pytest.approx([1.0, (1 - near + 0 + near - 0.5) / 3])


def test_cosine_of_scores_by_hand() -> None:
    rows = torch.stack([X, (X + Y) / math.sqrt(2), X, -X])
    found = Cosine()(rows, targets([2, 2], score=torch.tensor([0.5, 1.0])))
    assert found.tolist() == pytest.approx([(math.sqrt(0.5) - 0.5) ** 2, 4.0])


def test_triplet_by_hand_and_nothing_without_a_negative() -> None:
    # distances: positive 1, negatives 0 and 2; margin 0.5: (1 - 0 + 0.5) and nothing. The second row has none.
    found = Triplet(margin=0.5)(torch.stack([X, Y, X, -X, X, X]), targets([4, 2]))
    assert found.tolist() == pytest.approx([1.5 / 2, 0.0])


def test_triplet_is_nothing_where_every_negative_is_further_by_the_margin() -> None:
    assert Triplet(margin=1.0)(torch.stack([X, X, Y, -X]), targets([4])).tolist() == [0.0]


def test_cosent_by_hand() -> None:
    # cosines 0 and 1 with scores 1 and 0: wrong by 1, at scale 2
    rows, scores = torch.stack([X, Y, X, X]), torch.tensor([1.0, 0.0])
    assert CoSENT(group=2, scale=2.0)(rows, targets([2, 2], score=scores)).tolist() == pytest.approx(
        [math.log(1 + math.e**2)] * 2
    )
    right = CoSENT(group=2, scale=2.0)(rows, targets([2, 2], score=scores.flip(0)))
    assert right.tolist() == pytest.approx([math.log(1 + math.e**-2)] * 2)


def test_cosent_asks_for_the_order_of_scores_alone_and_equal_ones_cost_nothing() -> None:
    made, scores = random_rows(6), torch.tensor([0.0, 3.0, 1.0, 3.0, 2.0, 5.0])
    loss = CoSENT(group=6)
    first = loss(made, targets([2] * 6, score=scores))
    assert torch.equal(first, loss(made, targets([2] * 6, score=scores.exp() * 10 - 3)))
    assert loss(made, targets([2] * 6, score=torch.ones(6))).tolist() == [0.0] * 6


def test_cosent_compares_no_row_with_another_group() -> None:
    made, given = random_rows(6), targets([2] * 6, score=torch.arange(6.0))
    changed = made.clone()
    changed[6:] = changed[6:].flip(0)
    first, second = CoSENT(group=3)(made, given), CoSENT(group=3)(changed, given)
    assert torch.equal(first[:3], second[:3]) and not torch.equal(first[3:], second[3:])
    alone = CoSENT(group=3)(made[:6], targets([2] * 3, score=torch.arange(3.0)))
    assert torch.equal(first[:3], alone)


def test_cosent_has_a_finite_gradient_however_sure_the_model_is() -> None:
    made = torch.stack([X, X, X, -X]).requires_grad_()
    CoSENT(group=2, scale=1e4)(made, targets([2, 2], score=torch.tensor([0.0, 1.0]))).sum().backward()
    assert made.grad is not None and torch.isfinite(made.grad).all()


def test_matryoshka_is_the_weighted_sum_over_vectors_cut_short() -> None:
    made, given = random_rows(), pairs(list(range(8)))
    found = Matryoshka(loss={"kind": "infonce", "group": 4}, dims=[5, 2], weights=[1, 0.5])(made, given)
    short = torch.nn.functional.normalize(made[:, :2], dim=-1)
    expected = InfoNCE(group=4)(made, given) + 0.5 * InfoNCE(group=4)(short, given)
    assert torch.allclose(found, expected)


def test_matryoshka_by_hand_on_one_entry() -> None:
    # Cut to one entry every vector is 1 or -1: cosines of rows are 1 and -1.
    rows = torch.tensor([[0.6, 0.8], [0.1, 0.9], [-0.5, 0.5], [0.3, 0.3]])
    assert Matryoshka(loss="cosine", dims=[1])(rows, targets([2, 2])).tolist() == pytest.approx([0.0, 2.0])


def test_matryoshka_draws_and_divides_groups_as_its_loss_does() -> None:
    made = Matryoshka(loss={"kind": "cosent", "group": 6, "cached": True}, dims=[2])
    assert made.group == 6 and made.cached and list(made.applied) == ["cosent"]
    with pytest.raises(ConfigError, match="dims: the vectors have 3 entries, found 4"):
        Matryoshka(loss="cosine", dims=[4])(torch.stack([X, Y]), targets([2]))


@pytest.mark.parametrize(
    ("loss", "given"),
    [
        (InfoNCE(), pairs([0])),
        (Cosine(), targets([2])),
        (Triplet(), targets([2])),
        (CoSENT(), targets([2], score=torch.zeros(1))),
    ],
)
def test_one_row_alone_has_a_value(loss: Loss, given: dict[str, Tensor]) -> None:
    assert loss(torch.stack([X, X]), given).tolist() == [0.0]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: InfoNCE(group=0), "group: a whole number from 1 up is needed, found 0"),
        (lambda: InfoNCE(group=2.5), "group: a whole number"),
        (lambda: InfoNCE(temperature=0), "temperature: a number from 1e-06 up"),
        (lambda: InfoNCE(cached="yes"), "cached: true or false is needed, found 'yes'"),
        (lambda: InfoNCE(symmetric=1), "symmetric: true or false is needed, found 1"),
        (lambda: Cosine(margin=1), "margin: a number from -1 to below 1"),
        (lambda: Triplet(margin=-1), "margin: a number from 0 up"),
        (lambda: CoSENT(scale="20"), "scale: a number from 0 up"),
        (lambda: Matryoshka(loss="infonc", dims=[2]), "Did you mean 'infonce'"),
        (lambda: Matryoshka(loss={"kind": "infonce", "grup": 2}, dims=[2]), "takes no 'grup'. Did you mean 'group'"),
        (lambda: Matryoshka(loss={"group": 2}, dims=[2]), "loss: the name of another loss is needed"),
        (lambda: Matryoshka(loss="matryoshka", dims=[2]), "loss: the name of another loss is needed"),
        (lambda: Matryoshka(loss="infonce", dims=[]), "dims: a list of whole numbers"),
        (lambda: Matryoshka(loss="infonce", dims=[2, 0]), "dims: a whole number from 1 up"),
        (lambda: Matryoshka(loss="infonce", dims=[2], weights=[1, 2]), "weights: one for each of the 1 dims is needed, found 2"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()
