"""An extension treats the trunk's table as the parent's recipe did: a frozen one stays frozen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import trunkline
from extended import extend, model_of
from small_project import write_project
from trunkline.config.recipe import load_recipe
from trunkline.workflows import extend as workflow
from trunkline.workflows.extend import Job, write_recipe
from trunkline.workflows.strategies import Settings, planned

TREATED = {"trained": False, "word_dropout": 0.1, "max_norm": 2.0}
TRUNK = "{kind: gru, hidden_size: 8, dropout: 0.2, embeddings: {dim: 6, trained: false, word_dropout: 0.1, max_norm: 2.0}}"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one task on a trunk whose table is frozen."""
    recipe = write_project(tmp_path_factory.mktemp("table"))
    trunkline.train(recipe, in_process=True, overrides=["tasks=[topic]", "train.steps=2", f"trunk={TRUNK}"])
    return recipe.parent.parent


def composed(project: Path, name: str) -> dict[str, Any]:
    """What the recipe of an extension says of its trunk."""
    model = model_of(project)
    plan = planned(["replay"], ["answer"], ["topic"], Settings())
    own = project / ".trunkline" / "extend" / name
    manifest = json.loads((model / "manifest.json").read_text())
    recipe = load_recipe(write_recipe(model, manifest, project / "tasks", plan, Job(model, ["answer"], "replay"), own))
    return dict(recipe.trunk.arguments)


def test_a_frozen_table_stays_bit_for_bit_through_replay(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert extend(project, "--task", "answer", "--strategy", "replay", "--protect", "*:-100", "--json") == 0
    new = Path(json.loads(capsys.readouterr().out)["model"])
    before, after = (dict(trunkline.load(model).network.trunk.named_parameters()) for model in (model_of(project), new))
    assert torch.equal(before["embed.table.weight"], after["embed.table.weight"])
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_the_recipe_carries_how_the_table_is_treated(project: Path) -> None:
    found = composed(project, "carried")
    assert found["embeddings"] == TREATED and found["dropout"] == 0.2


def test_a_recipe_that_carries_dropout_alone_is_caught(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "TREATED", ())
    assert "embeddings" not in composed(project, "dropped")
