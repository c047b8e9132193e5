"""What a worker is said to hold is what it holds, at every ZeRO stage."""

from __future__ import annotations

import gc
from unittest.mock import patch

import pytest
import torch

import laws
from ranks import Ranks
from trunkline.data.dealing import build_step
from trunkline.models.multitask import owner
from trunkline.registry import OPTIMIZERS, WEIGHTINGS
from trunkline.training import engine as engines
from trunkline.training.objective import Objective
from trunkline.training.optim import parameter_groups
from trunkline.training.states import BUCKET, bucket, states
from trunkline.training.step import run_step


def live() -> dict[int, int]:
    """Bytes of every storage of floats that something holds."""
    gc.collect()
    tensors = [found for found in gc.get_objects() if isinstance(found, torch.Tensor)]
    tensors += [tensor.grad for tensor in tensors if tensor.is_leaf and tensor.grad is not None]
    return {own.untyped_storage().data_ptr(): own.untyped_storage().nbytes() for own in tensors if own.is_floating_point()}


def held(stage: int, *, fault: str = "") -> tuple[int, int]:
    """Parameters of the small world, and the bytes that a step's backward leaves behind."""
    rank, world, before = torch.distributed.get_rank(), torch.distributed.get_world_size(), live()
    net = laws.model()
    parameters = sum(parameter.numel() for parameter in net.parameters())
    groups = parameter_groups(net, owner, net.trunk.embeddings, lr=1e-2, head_lr=2e-2)
    with patch.object(engines, "bucket", (lambda _: 10 * parameters) if fault else bucket):
        engine = engines.Engine(Objective(net, laws.losses()), net, groups, OPTIMIZERS.get("adamw"), zero_stage=stage)
    packs = build_step(1, laws.stream().next_step(1), laws.tables(), seed=0, rank=rank, world=world, tokens_per_pass=240)
    found: list[int] = []
    plain = engine.squared_norm

    def looked() -> torch.Tensor:
        found.append(sum(size for place, size in live().items() if place not in before))
        return plain()

    with patch.object(engine, "squared_norm", looked):
        run_step(engine, packs, WEIGHTINGS.get("static")(laws.TASKS, laws.WEIGHTS), seed=9)
    engine.close()
    return parameters, found[0]


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_worker_holds_what_is_said(two_ranks: Ranks, stage: int) -> None:
    parameters, found = two_ranks(held, stage)[0]
    assert found == pytest.approx(states(parameters, stage, 2).total, rel=0.1)


def test_a_bucket_larger_than_the_model_is_seen(two_ranks: Ranks) -> None:
    parameters, found = two_ranks(held, 3, fault="a bucket for ten models")[0]
    assert found > 2 * states(parameters, 3, 2).total


def test_states_of_a_large_model_by_hand() -> None:
    whole, eight = states(2_000_000_000, 0, 8), states(2_000_000_000, 2, 8)
    assert (whole.weights, whole.gradients, whole.moments, whole.total) == (8e9, 8e9, 16e9, 32e9)
    assert (eight.weights, eight.gradients, eight.moments) == (9e9, 4 * BUCKET, 2e9)
    assert states(2_000_000_000, 3, 8).total == 2e9 + 1e9 + 4 * BUCKET + 2e9
