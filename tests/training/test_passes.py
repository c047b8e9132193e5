"""Passes over moved embeddings: the papers' gradients, the same on any ranks, micro-batches and ZeRO stages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import laws
import moved
from ranks import Ranks
from small_project import write_project
from trunkline.build.prepare import prepare
from trunkline.config.recipe import load_recipe
from trunkline.data.packing import pack
from trunkline.errors import ConfigError
from trunkline.models.transformer import Transformer
from trunkline.registry import PASSES
from trunkline.training.perturbation import Rows, Shift
from trunkline.training.step import keyed

KINDS = sorted(moved.SETTINGS)
STILL = {"fgm": {"epsilon": 0}, "pgd": {"epsilon": 0}, "freelb": {"epsilon": 0, "steps": 2}, "smart": {"epsilon": 0}, "rdrop": {}}
CLOSE = 1e-5  # a direction is a quotient of small numbers: it shows the rounding of the gradient ten times larger
FEW = [("fgm", 1), ("pgd", 3), ("freelb", 2), ("smart", 3)]
SHARDED = [
    case if case in FEW else pytest.param(*case, marks=pytest.mark.slow) for case in ((k, n) for k in KINDS for n in range(4))
]


@pytest.fixture(scope="module")
def plain() -> dict[str, torch.Tensor]:
    return laws.reference(laws.stream().next_step(1), clip=None)


@pytest.fixture(scope="module")
def alone(one_rank: Ranks) -> dict[str, moved.Moved]:
    return {kind: one_rank(moved.step, kind, settings)[0] for kind, settings in moved.SETTINGS.items()}


def test_every_pass_is_tested_here() -> None:
    assert set(PASSES.names()) == {"plain", *KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_with_epsilon_0_the_gradient_is_that_of_plain_training(
    one_rank: Ranks, plain: dict[str, torch.Tensor], kind: str
) -> None:
    (found,) = one_rank(moved.step, kind, STILL[kind], tokens_per_pass=120)
    times = 2 if kind == "fgm" else 1  # the paper's sum of two losses
    assert laws.furthest(found.gradient, {name: times * value for name, value in plain.items()}) < CLOSE


@pytest.mark.parametrize(("kind", "stage"), SHARDED)
def test_two_ranks_many_micro_batches_and_any_stage_give_the_gradient_of_one_rank(
    two_ranks: Ranks, alone: dict[str, moved.Moved], kind: str, stage: int
) -> None:
    first, second = two_ranks(moved.step, kind, moved.SETTINGS[kind], stage=stage, tokens_per_pass=80)
    assert first.micro_batches >= 2
    assert first.losses == second.losses == pytest.approx(alone[kind].losses, rel=1e-5)
    assert laws.furthest(first.gradient, alone[kind].gradient) < CLOSE


@pytest.mark.parametrize(
    ("kind", "fault"),
    [("fgm", "length of the whole pack"), ("smart", "length of the whole pack"), ("freelb", "noise of the pack")],
)
def test_a_perturbation_that_knows_of_other_rows_is_rejected(
    two_ranks: Ranks, alone: dict[str, moved.Moved], kind: str, fault: str
) -> None:
    first, _ = two_ranks(moved.step, kind, moved.SETTINGS[kind], tokens_per_pass=80, fault=fault)
    assert laws.furthest(first.gradient, alone[kind].gradient) > 50 * CLOSE


@pytest.mark.parametrize("kind", ["fgm", "pgd"])
def test_the_gradient_is_the_paper_s_written_out_row_by_row(
    alone: dict[str, moved.Moved], plain: dict[str, torch.Tensor], kind: str
) -> None:
    expected = moved.by_autograd(kind, **moved.SETTINGS[kind])
    assert laws.furthest(alone[kind].gradient, expected) < CLOSE
    assert laws.furthest(expected, plain) > 100 * CLOSE


def test_smart_s_gradient_goes_through_both_sides(alone: dict[str, moved.Moved], plain: dict[str, torch.Tensor]) -> None:
    settings = moved.SETTINGS["smart"]
    batch = pack(laws.stream().next_step(1), laws.tables(), seed=0)
    noise = settings["sigma"] * Rows(batch, keyed(9, 1)).normal(laws.WIDTH)
    expected = moved.smart_by_autograd(noise, epsilon=settings["epsilon"], alpha=settings["alpha"], weight=settings["weight"])
    assert laws.furthest(alone["smart"].gradient, expected) < CLOSE
    assert laws.furthest(expected, plain) > 100 * CLOSE


@pytest.mark.parametrize("fault", ["", "the same dropout twice"])
def test_r_drop_s_gradient_is_that_of_two_draws_and_goes_through_both_sides(one_rank: Ranks, fault: str) -> None:
    (found,) = one_rank(moved.step, "rdrop", {"weight": 2.0}, dropout=0.2, fault=fault)
    expected = moved.rdrop_by_autograd(weight=2.0, dropout=0.2)
    assert (laws.furthest(found.gradient, expected) < CLOSE) == (not fault)


def test_with_dropout_all_passes_of_a_micro_batch_draw_the_same(one_rank: Ranks) -> None:
    (once,) = one_rank(moved.step, "plain", {}, dropout=0.2)
    (twice,) = one_rank(moved.step, "freelb", STILL["freelb"], dropout=0.2)
    assert laws.furthest(twice.gradient, once.gradient) < CLOSE


def test_only_the_own_row_s_tokens_move_and_padded_rows_move_alike() -> None:
    batch = pack(laws.stream().next_step(1), laws.tables(), seed=0)
    rows = Rows(batch)
    delta = torch.where(rows.row_of_token == 3, 1.0, 0.0).unsqueeze(1) * torch.linspace(-1, 1, laws.WIDTH)
    found = {}
    for packed in (True, False):
        torch.manual_seed(0)
        trunk = Transformer(laws.VOCAB, 0, 64, hidden_size=laws.WIDTH, layers=2, heads=2, dropout=0.0, packed=packed)
        before = trunk(batch)
        with Shift(rows, delta=delta).on(trunk.embeddings):
            found[packed] = (trunk(batch) - before).abs().amax(1)
        assert (found[packed][rows.row_of_token == 3] > 1e-3).all()
        assert found[packed][rows.row_of_token != 3].max() < 1e-5
    assert torch.allclose(found[True], found[False], atol=1e-5)


def test_directions_have_length_one_by_row_and_noise_is_the_row_s_own_in_any_pack() -> None:
    units = laws.stream().next_step(1)
    whole = Rows(pack(units, laws.tables(), seed=0), key=5)
    length = whole.directions(torch.randn(whole.batch.num_tokens, 4, generator=torch.Generator().manual_seed(0)))
    sizes = torch.zeros(len(whole.lengths)).index_add(0, whole.row_of_token, length.square().sum(1))
    assert torch.allclose(sizes, torch.ones_like(sizes), atol=1e-6)
    part = Rows(pack([unit for unit in units if unit.task == "tags"], laws.tables(), seed=0), key=5)
    own, other = (rows.batch.tasks["tags"].tokens for rows in (whole, part))
    assert torch.equal(whole.uniform(6)[own], part.uniform(6)[other])
    assert not torch.equal(whole.uniform(6)[own], Rows(whole.batch, key=6).uniform(6)[own])
    values = whole.normal(200).numpy()
    assert abs(values.mean()) < 0.02 and abs(values.std() - 1) < 0.02
    assert abs(np.corrcoef(values[0], values[1])[0, 1]) < 0.25


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["passes=fgm", "weighting=pcgrad"], "passes 'fgm' go over a micro-batch more than once, and weighting 'pcgrad' takes"),
        (
            ["passes=fgm", "train.watch_gradients=5"],
            "passes 'fgm' go over a micro-batch more than once, and train.watch_gradients",
        ),
        (["train.watch_gradients=0"], "train.watch_gradients: must be above 0, found 0"),
        (["train.watch_gradients=5", "trunk=static"], "train.watch_gradients compares the tasks' gradients on layers"),
        (
            ["weighting=pcgrad", "finetune=heads"],
            "weighting 'pcgrad' compares the tasks' gradients on layers that the trunk must",
        ),
        (["passes.kind=pgd", "passes.epsilon=-1"], "epsilon: a number from 0 up is needed, found -1"),
        (["passes.kind=freelb", "passes.steps=0"], "steps: a whole number from 1 up is needed, found 0"),
        (["passes=fgmm"], "passes: no pass named 'fgmm'. Did you mean 'fgm'"),
        (["passes.kind=smart", "passes.size=1"], "pass 'smart' takes no 'size'"),
    ],
)
def test_passes_and_looks_at_gradients_that_do_not_fit_are_told_before_a_worker_starts(
    tmp_path: Path, overrides: list[str], said: str
) -> None:
    path = write_project(tmp_path)
    with pytest.raises(ConfigError) as error:
        prepare(load_recipe(path, overrides), tmp_path / "run", tmp_path / "store", lambda _: None)
    assert said in str(error.value) and error.value.exit_code == 3


def test_a_loss_worked_out_ahead_is_refused_with_moved_embeddings(tmp_path: Path) -> None:
    path = write_project(tmp_path)
    card = tmp_path / "tasks" / "answer" / "card.yaml"
    card.write_text(card.read_text().replace("group: 4", "group: 4, cached: true"))
    with pytest.raises(ConfigError, match="that of 'answer' is worked out ahead"):
        prepare(load_recipe(path, ["passes=fgm"]), tmp_path / "run", tmp_path / "store", lambda _: None)
