"""A trained state in a larger model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import laws
from trunkline.continual.expand import Growth, expanded
from trunkline.errors import IntegrityError
from trunkline.models.heads.classification import Classification
from trunkline.models.heads.tagging import Tagging
from trunkline.models.multitask import MultiTask


def world(labels: int, *, seed: int) -> MultiTask:
    torch.manual_seed(seed)
    heads = {
        "topic": Classification(laws.WIDTH, labels),
        "tags": Tagging(laws.WIDTH, labels, transitions=True),
    }
    return MultiTask(laws.model().trunk, heads)


def trained(labels: int = 3) -> dict[str, torch.Tensor]:
    net = world(labels, seed=1)
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    return dict(net.named_parameters())


def test_grown_labels_keep_the_old_rows_bit_for_bit_wherever_they_stand() -> None:
    old, net = trained(), world(5, seed=2)
    drawn = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    growth = Growth(["a", "b", "c"], ["x", "c", "a", "y", "b"])
    found = expanded(net, old, {}, {"topic": growth, "tags": growth})
    places = torch.tensor([2, 4, 1])
    for name in ("heads.topic_.out.weight", "heads.topic_.out.bias", "heads.tags_.chain.start"):
        assert torch.equal(found[name]["param"][places], old[name])
        assert torch.equal(found[name]["param"][[0, 3]], drawn[name][[0, 3]])
    table = found["heads.tags_.chain.transitions"]["param"]
    assert torch.equal(table[places][:, places], old["heads.tags_.chain.transitions"])
    assert torch.equal(table[[0, 3]], drawn["heads.tags_.chain.transitions"][[0, 3]])


def test_moments_come_along_where_the_shape_is_kept_and_a_grown_head_starts_its_own_count() -> None:
    old, growth = trained(), Growth(["a", "b", "c"], ["a", "b", "c", "d"])
    moments = {name: {"param": value, "exp_avg": value + 1, "step": torch.tensor(7.0)} for name, value in old.items()}
    wide = MultiTask(world(3, seed=2).trunk, {"topic": Classification(laws.WIDTH, 4), "new": Classification(laws.WIDTH, 2)})
    found = expanded(wide, {n: v for n, v in old.items() if "tags" not in n}, moments, {"topic": growth})
    for name, entry in found.items():
        assert ("step" in entry) == name.startswith("trunk."), name
        if "step" in entry:
            assert torch.equal(entry["param"], old[name]) and torch.equal(entry["exp_avg"], old[name] + 1)


def test_another_trunk_or_head_is_told_with_its_shapes() -> None:
    with pytest.raises(IntegrityError, match=r"heads.topic_.out.weight is \[3, 16\] in the model, \[4, 16\] here"):
        expanded(world(4, seed=2), trained(), {}, {})
    old = trained()
    old["trunk.encoder.embeddings.word_embeddings.weight"] = torch.zeros(50, laws.WIDTH)
    with pytest.raises(IntegrityError, match="another trunk, tokenizer or head"):
        expanded(world(3, seed=2), old, {}, {})
    del old["trunk.encoder.embeddings.word_embeddings.weight"]
    with pytest.raises(IntegrityError, match="is not in the model"):
        expanded(world(3, seed=2), old, {}, {})
