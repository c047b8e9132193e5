"""Heads and poolings: row by row what their formulas say; token heads read only the positions they are given."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from trunkline.batch import RowIndex
from trunkline.errors import ConfigError
from trunkline.models.heads.base import Head
from trunkline.models.heads.bilm import Bilm
from trunkline.models.heads.causal_language import CausalLanguage
from trunkline.models.heads.chain import best_path
from trunkline.models.heads.classification import Classification
from trunkline.models.heads.contrastive import Contrastive
from trunkline.models.heads.masked_language import MaskedLanguage
from trunkline.models.heads.multilabel import Multilabel
from trunkline.models.heads.ranking import Ranking
from trunkline.models.heads.regression import Regression
from trunkline.models.heads.replaced_token import ReplacedToken
from trunkline.models.heads.span import Span
from trunkline.models.heads.tagging import Tagging
from trunkline.models.multitask import MultiTask, owner
from trunkline.models.pooling import Mix
from trunkline.registry import POOLINGS
from trunks import batch_of, texts, trunk

LENGTHS = torch.tensor([2, 3, 1, 4])
STARTS = torch.tensor([0, 2, 5, 6])
ROWS = RowIndex(STARTS, LENGTHS, torch.repeat_interleave(torch.arange(4), LENGTHS), torch.tensor([1, 4, 9]))
HIDDEN = torch.arange(30, dtype=torch.float32).view(10, 3) % 7


@pytest.mark.parametrize(
    ("name", "by_row"),
    [
        ("first", lambda row: row[0]),
        ("last", lambda row: row[-1]),
        ("mean", lambda row: row.mean(0)),
        ("max", lambda row: row.max(0).values),
        ("attention", lambda row: row.mean(0)),  # before it has learned anything
    ],
)
def test_a_pooling_is_its_formula_row_by_row(name: str, by_row: object) -> None:
    assert callable(by_row)
    expected = torch.stack([by_row(HIDDEN[s : s + n]) for s, n in zip(STARTS.tolist(), LENGTHS.tolist(), strict=True)])
    assert torch.allclose(POOLINGS.get(name)(3)(HIDDEN, ROWS), expected)


def test_attention_pooling_is_its_formula_row_by_row_and_far_scores_stay_finite() -> None:
    torch.manual_seed(0)
    pool = POOLINGS.get("attention")(3)
    torch.nn.init.normal_(pool.query)
    expected = []
    for s, n in zip(STARTS.tolist(), LENGTHS.tolist(), strict=True):
        row = HIDDEN[s : s + n]
        share = torch.softmax(torch.tanh(row @ pool.map.weight.T + pool.map.bias) @ pool.query, 0)
        expected.append((share[:, None] * row).sum(0))
    assert torch.allclose(pool(HIDDEN, ROWS), torch.stack(expected), atol=1e-5)
    assert not torch.allclose(pool(HIDDEN, ROWS), POOLINGS.get("mean")(3)(HIDDEN, ROWS), atol=1e-2)
    pool.query.data *= 1e4
    assert torch.isfinite(pool(HIDDEN, ROWS)).all()


def test_a_mix_is_its_formula_and_each_task_has_its_own() -> None:
    mix = Mix(3)
    layers = [HIDDEN, 2 * HIDDEN, 6 * HIDDEN]
    assert torch.allclose(mix(layers), 3 * HIDDEN)  # their mean, to begin with
    mix.weights.data, mix.gamma.data = torch.tensor([0.0, 0.0, 2.0]).log(), torch.tensor([0.5])
    assert torch.allclose(mix(layers), 3 * HIDDEN)  # all weight on the last, halved


def test_a_head_that_mixes_reads_every_layer_and_another_the_last_alone() -> None:
    mixing, plain = Classification(8, 5, pooling="mean").double(), Classification(8, 5, pooling="mean").double()
    plain.load_state_dict(mixing.state_dict())
    trunk_ = trunk("lstm")
    mixing.mix = Mix(trunk_.num_layers).double()
    model = MultiTask(trunk_, {"a": mixing, "b": plain})
    batch = batch_of(texts())
    part = batch.tasks["t"]
    out = model(replace(batch, tasks={"a": part, "b": part}))
    layers = torch.stack(trunk_.layers(batch))
    index = replace(batch, tasks={"a": part}).index("a")
    assert torch.allclose(out["b"], plain(layers[-1], index))
    assert torch.allclose(out["a"], mixing(layers.mean(0), index))
    assert {"heads.a_.mix.weights", "heads.a_.mix.gamma"} <= set(model.state_dict())
    assert owner("heads.a_.mix.weights") == "a"


def test_outputs_have_one_entry_per_row_or_per_target() -> None:
    assert Classification(3, 5)(HIDDEN, ROWS).shape == (4, 5)
    assert Multilabel(3, 5)(HIDDEN, ROWS).shape == (4, 5)
    assert Regression(3)(HIDDEN, ROWS).shape == (4,)
    assert Regression(3, 1)(HIDDEN, ROWS).shape == (4, 1)
    assert Regression(3, 2)(HIDDEN, ROWS).shape == (4, 2)
    assert Regression(3, log_var=True)(HIDDEN, ROWS).shape == (4, 2)
    assert Regression(3, 5, log_var=True)(HIDDEN, ROWS).shape == (4, 5, 2)
    assert Tagging(3, 6)(HIDDEN, ROWS).shape == (3, 6)
    assert Tagging(3, 6, transitions=True)(HIDDEN, ROWS).shape == (3, 6, 6)
    assert MaskedLanguage(3, 50)(HIDDEN, ROWS).shape == (3, 50)
    assert Span(3)(HIDDEN, ROWS).shape == (3, 2)
    assert CausalLanguage(3, 50)(HIDDEN, ROWS).shape == (3, 50)
    assert Bilm(3, 50)(HIDDEN, ROWS).shape == (3, 50)
    assert ReplacedToken(3)(HIDDEN, ROWS).shape == (3, 2)
    assert Contrastive(3, size=8)(HIDDEN, ROWS).shape == (4, 8)
    assert Ranking(3)(HIDDEN, ROWS).shape == (4,)


@pytest.mark.parametrize("head", [Tagging(3, 6), CausalLanguage(3, 6), Bilm(3, 6), ReplacedToken(3)])
def test_a_token_head_reads_only_its_positions(head: Head) -> None:
    head.eval()
    other = HIDDEN.clone()
    other[[0, 2, 3, 5, 6, 7, 8]] += 1
    assert torch.equal(head(HIDDEN, ROWS), head(other, ROWS))


def test_contrastive_vectors_have_unit_length_and_each_is_of_its_own_trunk_row() -> None:
    head = Contrastive(3).eval()
    vectors = head(HIDDEN, ROWS)
    assert torch.allclose(vectors.norm(dim=-1), torch.ones(4))
    swapped = HIDDEN.clone()
    swapped[5:6] += 3  # trunk row 2
    changed = (head(swapped, ROWS) != vectors).any(-1)
    assert changed.tolist() == [False, False, True, False]


def test_masked_language_summary_is_loss_and_likeliest_token() -> None:
    outputs = torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 0.0]])
    summary = MaskedLanguage(3, 3).summary(outputs, {"labels": torch.tensor([1, 2])})
    assert summary[:, 1].tolist() == [1.0, 0.0]
    assert summary[0, 0].item() == pytest.approx(-torch.log_softmax(outputs[0], 0)[1].item())


def test_a_direction_has_its_own_transform_and_both_share_the_output_matrix() -> None:
    head = Bilm(3, 6).eval()
    outputs = head(HIDDEN, ROWS)  # positions 1, 4 and 9: in trunk rows 0 (back), 1 (ahead) and 3 (ahead)
    assert torch.allclose(outputs[0], head.out(head.transform(HIDDEN[1])))
    assert torch.allclose(outputs[1:], head.out(head.ahead(HIDDEN[[4, 9]])))
    assert not torch.allclose(outputs[1], head.out(head.transform(HIDDEN[4])))


def test_a_task_may_bear_the_name_of_a_module_method() -> None:
    model = MultiTask(torch.nn.Identity(), {"keys": Regression(3), "type": Regression(3)})
    assert {owner(name) for name, _ in model.named_parameters()} == {"keys", "type"}
    assert isinstance(model.head("keys"), Regression)


def test_a_regression_with_a_variance_is_judged_by_its_mean() -> None:
    outputs = torch.arange(20.0).view(2, 5, 2)
    assert torch.equal(Regression(3, 5, log_var=True).summary(outputs, {}), outputs[..., 0])
    assert torch.equal(Regression(3, 5).summary(outputs[..., 0], {}), outputs[..., 0])


LENGTHS_OF_WORDS = [3, 1, 4]
PLACE = torch.cat([torch.arange(length) for length in LENGTHS_OF_WORDS])


def chained() -> tuple[Tagging, RowIndex, torch.Tensor]:
    """A head with random transitions, eight words in three rows, its tables [8, 3, 3]."""
    torch.manual_seed(0)
    head = Tagging(3, 3, transitions=True).eval()
    assert head.chain is not None
    for parameter in head.chain.parameters():
        torch.nn.init.normal_(parameter)
    lengths = torch.tensor(LENGTHS_OF_WORDS)
    rows = RowIndex(lengths.cumsum(0) - lengths, lengths, torch.repeat_interleave(torch.arange(3), lengths), torch.arange(8))
    return head, rows, head(torch.randn(8, 3), rows)


def test_a_chains_table_is_logit_plus_transition_with_start_and_end_at_the_ends_of_each_row() -> None:
    torch.manual_seed(1)
    head, rows, _ = chained()
    hidden, chain = torch.randn(8, 3), head.chain
    assert chain is not None
    tables, logits = head(hidden, rows), head.out(hidden)
    assert torch.allclose(tables[1], logits[1] + chain.transitions)  # in the middle of row 0
    assert torch.allclose(tables[2], logits[2] + chain.transitions + chain.end)  # its last word
    assert torch.allclose(tables[3], (logits[3] + chain.start + chain.end).expand(3, 3))  # row 1 is one word
    assert torch.allclose(tables[4], (logits[4] + chain.start).expand(3, 3))


def best_by_trying(tables: torch.Tensor, allowed: torch.Tensor) -> list[int]:
    def score(path: tuple[int, ...]) -> float:
        steps = zip(tables, (-1, *path), path, strict=False)
        return sum(float(table[max(a, 0), b]) if allowed[a, b] else float("-inf") for table, a, b in steps)

    return list(max(itertools.product(range(3), repeat=len(tables)), key=score))


@pytest.mark.parametrize("free", [True, False])
def test_the_predicted_path_is_the_best_of_all_allowed_ones(free: bool) -> None:
    _, _, tables = chained()
    # O, B, I: an I comes after B or I only
    allowed = torch.ones(4, 3, dtype=torch.bool) if free else torch.tensor([[1, 1, 0], [1, 1, 1], [1, 1, 1], [1, 1, 0]]).bool()
    found = best_path(tables, PLACE, None if free else allowed)
    expected = [best_by_trying(own, allowed) for own in tables.detach().split(LENGTHS_OF_WORDS)]
    assert [own.tolist() for own in found.split(LENGTHS_OF_WORDS)] == expected
    assert best_path(tables[:0], PLACE[:0], None).tolist() == []


def test_a_constrained_head_never_opens_a_row_with_an_inside_tag_and_a_free_one_may() -> None:
    follows = [[1, 1, 0], [1, 1, 1], [1, 1, 1], [1, 1, 0]]
    tables = torch.zeros(2, 3, 3)
    tables[:, :, 2] = 5.0
    place = {"place": torch.tensor([0, 1])}
    assert Tagging(3, 3, follows, True).summary(tables, place).tolist() == [1, 2]
    assert Tagging(3, 3, follows, True, constrained=False).summary(tables, place).tolist() == [2, 2]


def spans(counts: list[list[int]]) -> RowIndex:
    """Questions whose windows show so many tokens each; the token before each window is none of the context."""
    lengths = torch.tensor([count + 1 for own in counts for count in own])
    starts = lengths.cumsum(0) - lengths
    windows = iter(starts.tolist())
    positions, place = [], []
    for own in counts:
        begin = [next(windows) for _ in own]
        mine = [begin[0], *(start + 1 + token for start, count in zip(begin, own, strict=True) for token in range(count))]
        positions += mine
        place += range(len(mine))
    row_of_token = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    return RowIndex(starts, lengths, row_of_token, torch.tensor(positions), {"place": torch.tensor(place)})


@pytest.mark.parametrize("longest", [1, 2, 30])
def test_a_span_s_answer_is_the_best_of_all_that_lie_in_one_window(longest: int) -> None:
    torch.manual_seed(longest)
    counts = [[4, 3], [1], [5, 5, 2], [0], [6]]
    rows = spans(counts)
    assert rows.positions is not None
    head, hidden = Span(3, max_answer_tokens=longest).eval(), torch.randn(int(rows.lengths.sum()), 3) * 3
    with torch.no_grad():
        logits = head(hidden, rows)
        found = head.answer(hidden, rows)
    assert logits.shape == (len(rows.positions), 2) and found.shape == (5, 4)
    sizes = [1 + sum(own) for own in counts]
    for row, (own, scores) in enumerate(zip(counts, logits.split(sizes), strict=True)):
        log_p = scores.log_softmax(0)
        window = [-1, *(number for number, count in enumerate(own) for _ in range(count))]
        every = [
            (float(log_p[a, 0] + log_p[b, 1]), a, b)
            for a, b in itertools.combinations_with_replacement(range(1, len(window)), 2)
            if window[a] == window[b] and b - a < longest
        ]
        score, start, end = max(every, default=(float("-inf"), 0, 0))
        assert found[row, :2].tolist() == [start, end]
        assert found[row, 2:].tolist() == pytest.approx([score, float(log_p[0].sum())], abs=1e-5)


def test_a_span_s_outputs_read_only_their_places() -> None:
    rows = spans([[4, 3], [2]])
    head, hidden = Span(3).eval(), torch.randn(12, 3)
    other = hidden.clone()
    other[5] += 1  # before the second window
    assert torch.equal(head(hidden, rows), head(other, rows))


@pytest.mark.parametrize("longest", [0, -1, 2.5, True])
def test_a_longest_answer_that_makes_no_sense_is_refused(longest: int) -> None:
    with pytest.raises(ConfigError, match="max_answer_tokens: a whole number from 1 up"):
        Span(3, max_answer_tokens=longest)
