"""What a token costs is counted, not assumed: by hand for a small net, and one layer for all that are like it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from small_project import write_project
from trunkline.build.assemble import Assembly, assemble
from trunkline.build.prepare import prepare
from trunkline.config.recipe import load_recipe
from trunkline.planning import footprint
from trunkline.planning.footprint import Counting, Saved, measure, stack_of


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Assembly]:
    """The small project's topic and words under a trunk."""
    folder = tmp_path_factory.mktemp("footprint")
    recipe = write_project(folder)

    def of(trunk: str) -> Assembly:
        run = folder / f"run-{sum(path.is_dir() for path in folder.iterdir())}"
        run.mkdir()
        prepare(load_recipe(recipe, [f"trunk={trunk}", "tasks=[topic, words]"]), run, folder / "store", lambda _: None)
        return assemble(run)

    return of


def test_what_autograd_keeps_and_multiplies_is_counted_by_hand() -> None:
    net = nn.Sequential(nn.Linear(4, 6, bias=False), nn.Tanh(), nn.Linear(6, 2, bias=False))
    saved, mode = Saved(net), Counting()
    given = torch.ones(10, 4)
    with mode, saved_tensors_hooks(saved.pack, lambda tensor: tensor):
        net(given).sum().backward()
    # The input, and tanh's result, which the last layer keeps too: once.
    assert sorted(saved.sizes.values()) == [10 * 4 * 4, 10 * 6 * 4]
    # Each weight times each row, forward, for the weight's gradient, and for the input's where it has one.
    assert mode.flops == 2 * 10 * (4 * 6 * 2 + 6 * 2 * 3)


@pytest.mark.parametrize(
    "trunk", ["{kind: transformer, hidden_size: 16, layers: 5, heads: 2}", "{kind: gru, hidden_size: 16, layers: 4}"]
)
def test_two_layers_tell_what_all_of_them_keep(
    built: Callable[..., Assembly], trunk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = measure(built(trunk))
    monkeypatch.setattr(footprint, "FEWEST", 99)
    every = measure(built(trunk))
    assert few.counted == 2 and every.counted == every.layers == few.layers
    assert few.saved == pytest.approx(every.saved) and few.flops == pytest.approx(every.flops)
    assert few.kernels == pytest.approx(every.kernels, rel=0.02)


def test_layers_taken_for_half_as_many_are_told_apart(built: Callable[..., Assembly]) -> None:
    five, ten = (measure(built(f"{{kind: transformer, hidden_size: 16, layers: {layers}, heads: 2}}")) for layers in (5, 10))
    assert ten.saved > 1.5 * five.saved and ten.flops > 1.5 * five.flops


def test_a_trunk_that_is_no_list_of_layers_is_run_whole(built: Callable[..., Assembly]) -> None:
    one = built("{kind: static, hidden_size: 16}")
    assert stack_of(one.model.trunk) is None
    assert measure(one).counted == 0


def test_the_pack_is_as_small_as_it_is_asked_to_be(built: Callable[..., Assembly]) -> None:
    one = built("{kind: transformer, hidden_size: 16, layers: 1, heads: 2}")
    batch = footprint._batch(one, 64)
    dummies = sum(part.tokens.stop - part.tokens.start for part in batch.tasks.values() if part.dummy)
    assert 0 < batch.num_tokens - dummies <= 64


def test_half_precision_copies_of_weights_are_no_cost_of_a_token(built: Callable[..., Assembly]) -> None:
    few, many = (
        measure(built("{kind: transformer, hidden_size: 16, layers: 1, heads: 2}"), tokens=size, precision="bf16")
        for size in (64, 160)
    )
    assert few.saved == pytest.approx(many.saved, rel=0.15)
