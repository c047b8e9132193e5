"""Groups, decay and schedules."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import laws
from trunkline.errors import ConfigError
from trunkline.models.multitask import owner
from trunkline.training.optim import Schedule, parameter_groups, set_learning_rates
from trunkline.training.optimizers import AdamW


def groups() -> list[dict[str, Any]]:
    net = laws.model()
    return parameter_groups(net, owner, net.trunk.embeddings, lr=1e-3, head_lr=5e-3)


def test_every_parameter_is_in_one_group_and_every_head_and_the_embeddings_have_their_own() -> None:
    found = groups()
    ids = [id(p) for group in found for p in group["params"]]
    assert len(ids) == len(set(ids)) == len(list(laws.model().parameters()))
    rooms = {str(group["name"]).removesuffix(":plain") for group in found}
    assert rooms == {"trunk", "embeddings", *(f"head:{task}" for task in laws.TASKS)}


def test_matrices_decay_and_biases_and_norms_do_not() -> None:
    optimizer = AdamW(groups(), weight_decay=0.1)
    for group in optimizer.param_groups:
        assert group["weight_decay"] == (0.1 if all(p.ndim > 1 for p in group["params"]) else 0.0)


def test_heads_follow_the_schedule_from_their_own_peak() -> None:
    optimizer = AdamW(groups())
    rates = set_learning_rates(optimizer.param_groups, 0.5)
    assert rates["trunk"] == 5e-4 and rates["head:topic"] == 2.5e-3


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant", "constant_with_warmup", "inverse_sqrt", "wsd"])
def test_a_schedule_is_a_function_of_the_step_alone(kind: str) -> None:
    schedule = Schedule(kind, 0.1, 100)
    forwards = [schedule.factor(step) for step in range(1, 101)]
    backwards = [Schedule(kind, 0.1, 100).factor(step) for step in range(100, 0, -1)]
    assert forwards == backwards[::-1]
    assert max(forwards) == pytest.approx(1.0) and 0 < forwards[0] <= 1


def test_linear_by_hand() -> None:
    schedule = Schedule("linear", 0.1, 100)  # 10 steps up, 90 down
    assert [schedule.factor(step) for step in (1, 5, 10, 55, 100)] == pytest.approx([0.1, 0.5, 1.0, 0.5, 0.0])


def test_wsd_by_hand() -> None:
    schedule = Schedule("wsd", 0.1, 100, cooldown=0.4)  # 10 steps up, 50 at the peak, 40 down along half a cosine
    assert [schedule.factor(step) for step in (1, 10, 60, 80, 100)] == pytest.approx([0.1, 1.0, 1.0, 0.5, 0.0])


def test_embeddings_have_a_rate_of_their_own_and_hold_every_table_of_the_trunk() -> None:
    net = laws.model()
    found = parameter_groups(net, owner, net.trunk.embeddings, lr=1e-3, head_lr=5e-3, embedding_lr=2e-3)
    peaks = {group["name"]: group["peak_lr"] for group in found}
    assert (peaks["trunk"], peaks["embeddings"], peaks["head:topic"]) == (1e-3, 2e-3, 5e-3)
    tables = [module.weight for module in net.trunk.modules() if isinstance(module, torch.nn.Embedding)]
    assert len(tables) == 3  # words, positions, segments
    held = next(group["params"] for group in found if group["name"] == "embeddings")
    assert {id(table) for table in tables} == {id(parameter) for parameter in held}


def test_an_unknown_schedule_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'cosine'"):
        Schedule("cosin", 0.1, 100)


def test_the_optimizer_is_torch_s() -> None:
    assert isinstance(AdamW(groups()), torch.optim.AdamW)
