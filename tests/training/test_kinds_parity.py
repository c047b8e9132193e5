"""P1 and P2 for every loss and head of kinds.py, on real gloo ranks."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import kinds
import laws
from ranks import Ranks
from trunkline.data.packing import pack
from trunkline.losses import LOSSES

CLOSE = 2e-6


@pytest.mark.parametrize("name", sorted(kinds.CASES))
def test_two_ranks_and_micro_batches_give_the_gradient_written_out_row_by_row(two_ranks: Ranks, name: str) -> None:
    (first, micro), (second, _) = two_ranks(kinds.gradient, name, stage=1, tokens_per_pass=80)
    expected = kinds.reference(name)
    assert micro == 2
    assert all(float(value.abs().max()) > 0 for key, value in expected.items() if key.startswith("heads.subject_"))
    assert laws.furthest(first, expected) < CLOSE
    assert laws.furthest(second, expected) < CLOSE


@pytest.mark.parametrize("name", sorted(kinds.CASES))
def test_a_mean_of_means_is_rejected(two_ranks: Ranks, name: str) -> None:
    (first, _), _ = two_ranks(kinds.gradient, name, stage=1, tokens_per_pass=80, fault="mean of means")
    assert laws.furthest(first, kinds.reference(name)) > 100 * CLOSE


@pytest.mark.parametrize("name", ["causal_language", "bilm"])
def test_rows_read_whole_where_they_look_one_way_are_rejected(two_ranks: Ranks, name: str) -> None:
    (first, _), _ = two_ranks(kinds.gradient, name, stage=1, tokens_per_pass=80)
    assert laws.furthest(first, kinds.reference(name, whole=True)) > 100 * CLOSE


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_a_chains_parameters_are_sharded_with_their_head(two_ranks: Ranks, stage: int) -> None:
    (first, _), _ = two_ranks(kinds.gradient, "crf", stage=stage, tokens_per_pass=240)
    expected = kinds.reference("crf")
    assert {"heads.subject_.chain.start", "heads.subject_.chain.transitions", "heads.subject_.chain.end"} <= first.keys()
    assert laws.furthest(first, expected) < CLOSE


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_a_decoder_is_sharded_with_its_head(two_ranks: Ranks, stage: int) -> None:
    (first, _), _ = two_ranks(kinds.gradient, "generation", stage=stage, tokens_per_pass=240)
    assert "heads.subject_.decoder.embeddings" in first
    assert laws.furthest(first, kinds.reference("generation")) < CLOSE


@pytest.mark.parametrize("stage", [2, 3])
def test_ranks_that_write_texts_of_other_lengths_do_not_wait_for_each_other(two_ranks: Ranks, stage: int) -> None:
    alone, _ = kinds.writer()
    expected = [kinds.written(alone, rank) for rank in (0, 1)]
    steps = [int((answer[:, 1:7] >= 0).sum(1).max()) for answer in expected]
    assert steps[0] != steps[1]  # or the ranks would keep step by chance
    for found, wanted in zip(two_ranks(kinds.answers, stage), expected, strict=True):
        assert torch.allclose(found, wanted, atol=1e-5)


def test_every_loss_is_proved_here_or_in_the_small_world_of_laws() -> None:
    there = {"cross_entropy", "mse"}
    assert {case.loss for case in kinds.CASES.values()} | there == set(LOSSES)


@pytest.mark.parametrize("name", sorted(kinds.CASES))
def test_values_are_below_0_only_of_losses_that_say_so(name: str) -> None:
    case = kinds.CASES[name]
    model, losses = kinds.world(case)
    batch = pack(kinds.units(case), kinds.tables(case.rows or case.kind), seed=0)
    with torch.no_grad():
        outputs = model(batch)["subject"]
        given = [outputs + size * torch.randn_like(outputs) for size in (0.1, 1.0, 1.0, 3.0)]
        given = [F.normalize(vectors, dim=-1) for vectors in given] if case.kind == "contrastive" else given
        values = torch.cat([losses["subject"](one, batch.tasks["subject"].targets) for one in given])
    assert bool((values < -1e-5).any()) == losses["subject"].signed == (name == "heteroscedastic")
