"""Heads and poolings: row by row what their formulas say; token heads read only the positions they are given."""

from __future__ import annotations

import pytest
import torch

from trunkline.batch import RowIndex
from trunkline.models.heads.classification import Classification
from trunkline.models.heads.masked_language import MaskedLanguage
from trunkline.models.heads.ranking import Ranking
from trunkline.models.heads.regression import Regression
from trunkline.models.heads.tagging import Tagging
from trunkline.models.multitask import MultiTask, owner
from trunkline.registry import POOLINGS

LENGTHS = torch.tensor([2, 3, 1, 4])
STARTS = torch.tensor([0, 2, 5, 6])
ROWS = RowIndex(STARTS, LENGTHS, torch.repeat_interleave(torch.arange(4), LENGTHS), torch.tensor([1, 4, 9]))
HIDDEN = torch.arange(30, dtype=torch.float32).view(10, 3) % 7


@pytest.mark.parametrize(
    ("name", "by_row"), [("first", lambda row: row[0]), ("mean", lambda row: row.mean(0)), ("max", lambda row: row.max(0).values)]
)
def test_a_pooling_is_its_formula_row_by_row(name: str, by_row: object) -> None:
    assert callable(by_row)
    expected = torch.stack([by_row(HIDDEN[s : s + n]) for s, n in zip(STARTS.tolist(), LENGTHS.tolist(), strict=True)])
    assert torch.allclose(POOLINGS.get(name)(HIDDEN, ROWS), expected)


def test_outputs_have_one_entry_per_row_or_per_target() -> None:
    assert Classification(3, 5)(HIDDEN, ROWS).shape == (4, 5)
    assert Regression(3)(HIDDEN, ROWS).shape == (4,)
    assert Tagging(3, 6)(HIDDEN, ROWS).shape == (3, 6)
    assert MaskedLanguage(3, 50)(HIDDEN, ROWS).shape == (3, 50)
    assert Ranking(3, size=8)(HIDDEN, ROWS).shape == (2, 2, 8)


def test_a_token_head_reads_only_its_positions() -> None:
    head = Tagging(3, 6).eval()
    other = HIDDEN.clone()
    other[[0, 2, 3, 5, 6, 7, 8]] += 1
    assert torch.equal(head(HIDDEN, ROWS), head(other, ROWS))


def test_ranking_vectors_have_unit_length_and_pair_query_with_candidate() -> None:
    head = Ranking(3).eval()
    vectors = head(HIDDEN, ROWS)
    assert torch.allclose(vectors.norm(dim=-1), torch.ones(2, 2))
    swapped = HIDDEN.clone()
    swapped[5:6] += 3  # trunk row 2 is the query of the second pair
    changed = (head(swapped, ROWS) != vectors).flatten(2).any(-1)
    assert changed.tolist() == [[False, False], [True, False]]


def test_masked_language_summary_is_loss_and_likeliest_token() -> None:
    outputs = torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 0.0]])
    summary = MaskedLanguage(3, 3).summary(outputs, {"labels": torch.tensor([1, 2])})
    assert summary[:, 1].tolist() == [1.0, 0.0]
    assert summary[0, 0].item() == pytest.approx(-torch.log_softmax(outputs[0], 0)[1].item())


def test_a_task_may_bear_the_name_of_a_module_method() -> None:
    model = MultiTask(torch.nn.Identity(), {"keys": Regression(3), "type": Regression(3)})
    assert {owner(name) for name, _ in model.named_parameters()} == {"keys", "type"}
    assert isinstance(model.head("keys"), Regression)
