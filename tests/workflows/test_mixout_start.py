"""Mixout in a run with `start:` puts weights back to the model it starts from, whatever the recipe's trunk began with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import trunkline
from extended import model_of
from trunkline.build import finetune
from trunkline.build.finetune import hold_back
from trunkline.config.recipe import load_recipe
from trunkline.models.base import Trunk
from trunkline.models.mixout import START


def held(project: Path, *more: str) -> Trunk:
    """A trunk of the model's shape with other weights, as `trunk.pretrained` may bring, held back by mixout."""
    trunk = trunkline.load(model_of(project)).network.trunk
    for parameter in trunk.parameters():
        torch.nn.init.constant_(parameter, 0.25)
    stated = [f"start={{model: {model_of(project)}}}", "finetune.mixout=0.5", *more]
    hold_back(load_recipe(project / "recipes" / "small.yaml", stated), trunk)
    return trunk


def parent_law(project: Path, trunk: Trunk) -> bool:
    trained = trunkline.load(model_of(project)).network.trunk.adaptable
    return bool(trained) and all(
        torch.equal(layer.get_buffer(START), trained[name].weight) for name, layer in trunk.adaptable.items()
    )


def test_what_mixout_puts_back_is_the_model_the_run_starts_from(trained: Path) -> None:
    assert parent_law(trained, held(trained))


def test_putting_back_what_the_trunk_brought_is_caught(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetune, "_start_at_parent", lambda *_: None)
    assert not parent_law(trained, held(trained))


def test_layers_drawn_anew_are_put_back_to_how_they_were_drawn(trained: Path) -> None:
    trunk = held(trained, "finetune.fresh_layers=1")  # its only one
    assert all(bool((layer.get_buffer(START) == 0.25).all()) for layer in trunk.adaptable.values())
