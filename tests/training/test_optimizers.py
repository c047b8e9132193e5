"""Every optimizer by name: one step by hand, the same run on any ranks and ZeRO stages, state that resumes bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import laws
from ranks import RankError, Ranks
from small_project import write_project
from trunkline.build.prepare import prepare
from trunkline.config.recipe import load_recipe
from trunkline.errors import ConfigError
from trunkline.models.multitask import owner
from trunkline.registry import OPTIMIZERS
from trunkline.training.optim import parameter_groups, set_learning_rates

SHARDED = ("adam", "sgd", "adagrad", "lion")  # adamw is held by test_parity
WHOLE = ("lamb", "muon")
FEW = {("adam", 1), ("sgd", 0), ("sgd", 3), ("adagrad", 2), ("lion", 3), ("lamb", 0), ("muon", 0)}
GRID = [*((name, stage) for name in SHARDED for stage in range(4)), *((name, 0) for name in WHOLE)]
CASES = [case if case in FEW else pytest.param(*case, marks=pytest.mark.slow) for case in GRID]


def test_every_optimizer_is_tested_here_or_in_the_parity_suite() -> None:
    assert set(OPTIMIZERS.names()) == {"adamw", *SHARDED, *WHOLE}
    assert {name for name in OPTIMIZERS.names() if OPTIMIZERS.get(name).elementwise} == {"adamw", *SHARDED}


@pytest.mark.parametrize(("optimizer", "stage"), CASES)
def test_a_run_resumes_bit_for_bit_and_at_another_world_size_and_stage_sees_the_same_losses(
    two_ranks: Ranks, one_rank: Ranks, optimizer: str, stage: int
) -> None:
    settings = {"optimizer": optimizer, "tokens_per_pass": 120}
    straight, second = two_ranks(laws.train, 4, stage=stage, save_at=2, **settings)
    assert laws.bit_equal(straight.state, second.state)
    resumed, _ = two_ranks(laws.train, 4, stage=stage, resume=straight.saved, **settings)
    assert resumed.losses == straight.losses[2:]
    assert laws.bit_equal(resumed.state, straight.state)
    other = (stage + 1) % 4 if optimizer in SHARDED else 0
    (elsewhere,) = one_rank(laws.train, 4, stage=other, resume=straight.saved, **settings)
    # The orthogonal update is worked out in bfloat16, where another order of a sum shows sooner.
    close = 1e-5 if optimizer != "muon" else 1e-2
    assert torch.allclose(torch.tensor(elsewhere.losses), torch.tensor(straight.losses[2:]), atol=close)


@pytest.mark.parametrize("optimizer", (*SHARDED, *WHOLE))
def test_a_resume_without_the_moments_is_rejected(two_ranks: Ranks, optimizer: str) -> None:
    settings = {"stage": 1 if optimizer in SHARDED else 0, "tokens_per_pass": 120, "optimizer": optimizer}
    straight, _ = two_ranks(laws.train, 4, save_at=2, **settings)
    resumed, _ = two_ranks(laws.train, 4, resume=straight.saved, fault="moments forgotten", **settings)
    assert not laws.bit_equal(resumed.state, straight.state)


@pytest.mark.parametrize("optimizer", WHOLE)
def test_one_that_needs_whole_tensors_is_refused_where_zero_shards_them(two_ranks: Ranks, optimizer: str) -> None:
    with pytest.raises(RankError, match=rf"ConfigError: engine.zero_stage: optimizer '{optimizer}' steps by whole tensors"):
        two_ranks(laws.train, 1, stage=2, optimizer=optimizer)


def stepped(name: str, values: list[float], gradients: list[list[float]], **settings: Any) -> Tensor:
    """A vector [1, n] after one step for each gradient, at a learning rate of 0.1."""
    parameter = nn.Parameter(torch.tensor([values]))
    group = {"name": "trunk", "room": "trunk", "params": [parameter], "decays": True, "decay": None, "peak_lr": 0.1}
    optimizer = OPTIMIZERS.get(name)([group], **settings)
    set_learning_rates(optimizer.param_groups, 1.0)
    for gradient in gradients:
        parameter.grad = torch.tensor([gradient])
        optimizer.step()
    return parameter.detach()[0]


def test_lion_by_hand() -> None:
    # first: sign(0.1 g) = (1, -1); m = 0.01 g = (0.02, -0.01). Then 0.9 m + 0.1 g' = (0.018 - 0.01, -0.009 + 0.1) -> (1, 1).
    found = stepped("lion", [1.0, 2.0], [[2.0, -1.0]], weight_decay=0.5)
    assert found.tolist() == pytest.approx([1 * 0.95 - 0.1, 2 * 0.95 + 0.1])
    found = stepped("lion", [1.0, 2.0], [[2.0, -1.0], [-0.1, 1.0]], weight_decay=0.0)
    assert found.tolist() == pytest.approx([1 - 0.1 - 0.1, 2 + 0.1 - 0.1])


def test_lamb_by_hand() -> None:
    # Adam's first step is the sign of the gradient: u = (1, -1), |u| = sqrt(2); |p| = 5, so the step is 0.1 * 5 / sqrt(2) * u.
    found = stepped("lamb", [3.0, 4.0], [[2.0, -1.0]], weight_decay=0.0, eps=0.0)
    assert found.tolist() == pytest.approx([3 - 0.5 / 2**0.5, 4 + 0.5 / 2**0.5])


def test_sgd_and_adagrad_by_hand() -> None:
    # b = 2, then 0.5 * 2 + 2 = 3; adagrad: 2 / sqrt(4), then 2 / sqrt(8).
    assert stepped("sgd", [1.0], [[2.0], [2.0]], momentum=0.5).tolist() == pytest.approx([1 - 0.2 - 0.3])
    assert stepped("adagrad", [1.0], [[2.0], [2.0]]).tolist() == pytest.approx([1 - 0.1 - 0.1 / 2**0.5])


def groups(**settings: Any) -> list[dict[str, Any]]:
    net = laws.model()
    return parameter_groups(net, owner, net.trunk.embeddings, lr=1e-3, head_lr=5e-3, **settings)


def test_muon_takes_the_trunk_s_matrices_and_adamw_the_rest() -> None:
    optimizer = OPTIMIZERS.get("muon")(groups())
    rooms = {group["name"] for group in optimizer.param_groups if group.get("moments")}
    assert rooms == {"trunk"}
    assert all(parameter.ndim == 2 for parameter in optimizer.inner[0].param_groups[0]["params"])
    assert not any(group.get("moments") for group in optimizer.inner[1].param_groups)
    whole = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert len(whole) == len(list(laws.model().parameters()))


def test_muon_is_torch_s_muon_and_torch_s_adamw() -> None:
    torch.manual_seed(0)
    values, gradients = torch.randn(2, 6, 4), torch.randn(3, 2, 6, 4)
    ours, theirs = ([nn.Parameter(value.clone()) for value in values] for _ in range(2))
    made = [
        {"name": room, "room": room, "params": [p], "decays": True, "decay": None, "peak_lr": 0.01}
        for room, p in zip(("trunk", "head"), ours, strict=True)
    ]
    optimizer = OPTIMIZERS.get("muon")(made, weight_decay=0.1)
    set_learning_rates(optimizer.param_groups, 1.0)
    muon = torch.optim.Muon([theirs[0]], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW([theirs[1]], lr=0.01, weight_decay=0.1, fused=True)
    for gradient in gradients:
        for number in range(2):
            ours[number].grad, theirs[number].grad = gradient[number].clone(), gradient[number].clone()
        for each in (optimizer, muon, adamw):
            each.step()
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("optimizer", OPTIMIZERS.names())
def test_each_room_has_its_own_decay_and_norms_and_biases_have_none(optimizer: str) -> None:
    made = OPTIMIZERS.get(optimizer)(groups(head_decay=0.3, embedding_decay=0.0), weight_decay=0.1)
    decays = {str(group["name"]).removesuffix(":other"): group["weight_decay"] for group in made.param_groups}
    assert decays["trunk"] == 0.1 and decays["embeddings"] == 0.0 and decays["head:topic"] == 0.3
    assert all(decay == 0 for name, decay in decays.items() if name.endswith(":plain"))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["optim.kind=lamb", "engine.zero_stage=1"], "engine.zero_stage=1: engine.zero_stage: optimizer 'lamb' steps by whole"),
        (["optim.kind=muon", "engine.zero_stage=3"], "Set engine.zero_stage to 0, or take adamw, adam, sgd, adagrad or lion"),
        (["optim.betas=[0.9, 1.5]"], r"optim: optimizer 'adamw' refuses its arguments: Invalid beta parameter at index 1: 1.5"),
        (["optim.kind=lion", "optim.betas=[0.9]"], r"betas: a list of a number each is needed, found \[0.9\]"),
        (["optim.kind=sgd", "optim.nesterov=true", "optim.momentum=0"], "Nesterov momentum requires a momentum"),
        (["optim.weight_decay=-1"], "weight_decay: a number from 0 up is needed, found -1"),
        (["optim.kind=sgd", "optim.betas=[0.9, 0.9]"], "optimizer 'sgd' takes no 'betas'"),
    ],
)
def test_what_an_optimizer_can_not_do_is_told_before_a_worker_starts(tmp_path: Path, overrides: list[str], said: str) -> None:
    recipe = load_recipe(write_project(tmp_path), overrides)
    with pytest.raises(ConfigError, match=said) as error:
        prepare(recipe, tmp_path / "run", tmp_path / "store", lambda _: None)
    assert error.value.exit_code == 3
    assert not (tmp_path / "run" / "prepared.json").exists()
